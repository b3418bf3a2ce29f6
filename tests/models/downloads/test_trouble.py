"""Downloads on a bad line, a full disk and a hub that changes its mind."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.desk import FILE, Desk, sha256_of
from tests.support.gguf_files import tiny_llama
from tests.support.hub import (
    ALWAYS,
    Fault,
    HubServer,
    busy,
    flip,
    reset_after,
    stall_after,
    status,
)

from corral.errors import NotFound, Refused
from corral.models.catalog import Catalog
from corral.models.downloads import files as download_files
from corral.models.downloads import queue as download_queue
from corral.models.hub.client import Hub
from corral.models.hub.types import HubError
from corral.models.library.library import Library
from corral.models.transfer.pieces import PIECE, damaged
from corral.models.transfer.transfer import Control
from corral.store.store import Store

# --- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [busy(3000), reset_after(0), stall_after(100)])
def test_a_network_that_stays_away_is_waited_for(
    desk: Desk, hub: HubServer, folder: Path, trouble: Fault
) -> None:
    hub.fault(trouble, times=ALWAYS)
    desk.downloads.start()
    id = desk.pull().id
    waiting = desk.until(id, lambda found: found.stage == "waiting" and found.state == "queued")
    assert "next attempt at" in waiting.note
    assert waiting.retry_at > time.time() + (1000 if trouble == busy(3000) else 5)
    assert desk.store.next_download(time.time(), folder) is None
    hub.faults.clear()
    desk.downloads.resume(id)  # the person knows better
    assert desk.state(id, "done").note == ""


def test_a_lost_file_fails_and_the_next_one_comes(desk: Desk, hub: HubServer) -> None:
    hub.fault(status(404, "EntryNotFound", "gone"), where="resolve", file=FILE, times=ALWAYS)
    first, second = desk.pull("tiny-chat:Q8_0"), desk.pull("tiny-chat:Q6_K")
    desk.downloads.start()
    failed = desk.state(first.id, "failed")
    assert failed.error
    desk.state(second.id, "done")
    hub.faults.clear()
    desk.downloads.resume(first.id)
    assert desk.state(first.id, "done").error == ""


def test_wrong_bytes_are_never_installed_and_are_repaired(
    desk: Desk, hub: HubServer, folder: Path
) -> None:
    hub.fault(flip(PIECE + 5), file=FILE, times=ALWAYS)
    desk.downloads.start()
    id = desk.pull().id
    failed = desk.state(id, "failed")
    path = failed.paths[0]
    assert "checksum" in failed.error
    assert desk.shelf.found == []
    assert not path.exists()
    assert path.with_name(f"{FILE}.bad").exists()
    hub.faults.clear()
    before = hub.sent(FILE)
    desk.downloads.resume(id)
    done = desk.state(id, "done")
    assert sha256_of(path) == done.targets[0].sha256
    assert hub.sent(FILE) - before <= done.bytes
    assert not path.with_name(f"{FILE}.bad").exists()


def test_a_mismatch_that_could_not_be_put_aside_is_repaired_as_well(
    desk: Desk, hub: HubServer
) -> None:
    """As after a kill between the two."""
    hub.fault(flip(PIECE + 5), file=FILE, times=ALWAYS)
    download = desk.pull()
    in_the_way = download_files.bad_of(download.paths[0])
    in_the_way.mkdir(parents=True)
    desk.downloads.start()
    desk.state(download.id, "failed")
    hub.faults.clear()
    in_the_way.rmdir()
    desk.downloads.resume(download.id)
    desk.until(download.id, lambda found: found.state in ("done", "failed"))
    assert sha256_of(download.paths[0]) == download.targets[0].sha256


def test_a_damaged_piece_of_an_installed_file_is_all_that_is_fetched(
    desk: Desk, hub: HubServer
) -> None:
    desk.downloads.start()
    done = desk.state(desk.pull().id, "done")
    path = done.paths[0]
    with path.open("r+b") as file:
        file.seek(PIECE + 77)
        file.write(b"\xff\x00\xff")
    sha256, numbers = damaged(path, desk.store.pieces(path), done.bytes)
    assert sha256 != done.targets[0].sha256
    assert numbers == [1]
    before = hub.sent(FILE)
    inode = path.stat().st_ino
    assert desk.downloads.repair(path, numbers).id == done.id
    repaired = desk.state(done.id, "done")
    assert sha256_of(path) == done.targets[0].sha256
    assert path.stat().st_ino == inode
    assert hub.sent(FILE) - before <= PIECE
    assert repaired.fetched <= PIECE
    with pytest.raises(NotFound):
        desk.downloads.repair(path.with_name("unknown.gguf"), [0])


def test_a_repair_that_is_cancelled_gives_the_file_back(
    desk: Desk, hub: HubServer, catalog: Catalog
) -> None:
    """Also of the last piece, where the part could have been cut off; nothing is ever shorter,
    because a worker may have the file in its memory."""
    desk.shelf.installed = Library(desk.store, catalog).installed  # type: ignore[method-assign,assignment]
    desk.downloads.start()
    done = desk.state(desk.pull().id, "done")
    path, last = done.paths[0], (done.bytes - 1) // PIECE
    hub.mute = True
    asked = len(hub.log)
    desk.downloads.repair(path, [last])
    desk.until(done.id, lambda found: found.state == "running" and len(hub.log) > asked)
    part = download_files.part_of(path)
    desk.until(done.id, lambda found: found.stage != "checking")
    assert part.stat().st_size == done.bytes
    desk.downloads.cancel(done.id)
    deadline = time.monotonic() + 5
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sha256_of(path) == done.targets[0].sha256
    assert not part.exists()


def test_a_file_that_was_renamed_but_not_noted_is_taken_as_it_is(
    desk: Desk, hub: HubServer, model: Path
) -> None:
    """Killed between the last two steps."""
    download = desk.pull()
    download.paths[0].parent.mkdir(parents=True)
    download.paths[0].write_bytes(model.read_bytes())
    desk.downloads.start()
    desk.state(download.id, "done")
    assert hub.sent(FILE) == 0
    assert len(desk.shelf.found) == 1


def test_a_link_in_the_way_is_refused_and_its_victim_untouched(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    download = desk.pull()
    path = download.paths[0]
    path.parent.mkdir(parents=True)
    path.symlink_to(victim)
    desk.downloads.start()
    failed = desk.state(download.id, "failed")
    assert "link" in failed.error
    path.unlink()
    download_files.part_of(path).symlink_to(victim)
    desk.downloads.resume(download.id)
    desk.until(download.id, lambda found: found.state == "failed" and ".part" in found.hint)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    desk.downloads.resume(download.id)
    desk.until(download.id, lambda found: "another folder" in found.error)
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_is_away_costs_nothing(desk: Desk, hub: HubServer, folder: Path) -> None:
    hub.rate = 12e6
    desk.downloads.start()
    id = desk.pull().id
    desk.until(id, lambda found: found.done > PIECE)
    desk.downloads.pause(id)
    assert desk.downloads.get(id).done
    while desk.downloads._queue._current:
        time.sleep(0.01)
    away = folder.rename(folder.with_name("unplugged"))
    desk.downloads.resume(id)
    assert "is gone" in desk.state(id, "failed").error
    (folder / ".lock").unlink()
    folder.rmdir()
    away.rename(folder)
    hub.rate = 0
    desk.downloads.resume(id)
    done = desk.state(id, "done")
    assert hub.sent(FILE) <= done.bytes + PIECE


def test_a_folder_that_cannot_be_used_is_said_plainly(desk: Desk, folder: Path) -> None:
    download = desk.pull()
    folder.write_bytes(b"a file")
    desk.downloads.start()
    failed = desk.state(download.id, "failed")
    assert str(folder) in failed.error
    assert failed.hint


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_fills_up_pauses_and_the_part_stays(
    desk: Desk, hub: HubServer, folder: Path
) -> None:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], check=False)
    if not folder.is_mount():
        pytest.skip("no tmpfs can be mounted here")
    try:
        hub.rate = 10e6
        desk.downloads.start()
        id = desk.pull().id
        desk.until(id, lambda found: found.done > PIECE)
        filler = folder / "filler"
        with pytest.raises(OSError, match="space"), filler.open("wb", buffering=0) as file:
            for _ in range(10_000):
                file.write(bytes(4096))
        hub.rate = 0
        paused = desk.state(id, "paused")
        assert "room" in paused.error or "full" in paused.error
        assert paused.hint
        assert download_files.part_of(paused.paths[0]).stat().st_size > PIECE
        filler.unlink()
        desk.downloads.resume(id)
        done = desk.state(id, "done")
        assert sha256_of(done.paths[0]) == done.targets[0].sha256
    finally:
        desk.close()
        subprocess.run(["umount", folder], check=True)


def test_without_a_network_everything_waits_and_no_socket_is_opened(
    desk: Desk, hub: HubServer, tmp_path: Path
) -> None:
    id = desk.pull().id
    asked = len(hub.log)
    desk.hub = Hub(tmp_path / "cache", endpoint=hub.url, offline=True)
    desk.downloads.start()
    waiting = desk.downloads.get(id)
    assert (waiting.state, waiting.stage) == ("queued", "waiting")
    assert "offline" in waiting.note
    with pytest.raises(HubError):
        desk.downloads.plan("tiny-chat")
    time.sleep(0.7)
    assert desk.downloads.all()[0].state == "queued"
    assert len(hub.log) == asked


def test_leftovers_are_listed_and_only_they_are_removed(desk: Desk, folder: Path) -> None:
    download = desk.pull()
    own = download_files.part_of(download.paths[0])
    own.parent.mkdir(parents=True)
    for path in (own, folder / "old.gguf.part", folder / "x" / "y.gguf.bad", folder / "kept.gguf"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    left = desk.downloads.leftovers()
    assert [found.path for found in left] == [folder / "old.gguf.part", folder / "x" / "y.gguf.bad"]
    assert {found.bytes for found in left} == {5}
    freed = desk.downloads.clean([*folder.rglob("*.*"), own])
    assert freed == 10
    assert own.exists()
    assert (folder / "kept.gguf").exists()


def test_leaving_is_quick_also_when_the_hub_does_not_answer(desk: Desk, hub: HubServer) -> None:
    id = desk.pull().id
    hub.mute = True
    asked = len(hub.log)
    desk.downloads.start()
    while len(hub.log) == asked:
        time.sleep(0.01)
    started = time.monotonic()
    desk.close()
    assert time.monotonic() - started < 5
    store = Store.open(desk.store._database.path)
    assert [(found.id, found.state) for found in store.downloads()] == [(id, "running")]
    store.close()


def test_a_new_version_takes_the_place_of_the_old_one(
    desk: Desk, hub: HubServer, model: Path, tmp_path: Path
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model})
    desk.downloads.start()
    old = desk.state(desk.pull("other/thing").id, "done")
    newer = tiny_llama(tmp_path / "newer", n_layer=1, seed=9)
    hub.add("other/thing", {"thing.Q8_0.gguf": newer}, revision="f" * 40)
    new = desk.state(desk.pull("other/thing").id, "done")
    assert new.id != old.id
    assert new.paths == old.paths
    assert new.revision == "f" * 40
    assert sha256_of(new.paths[0]) == sha256_of(newer)
    assert [left.path.suffix for left in desk.downloads.leftovers()] == [".bad"]


def test_the_old_version_stays_until_the_new_one_is_here(
    desk: Desk, hub: HubServer, model: Path, tmp_path: Path
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model})
    desk.downloads.start()
    path = desk.state(desk.pull("other/thing").id, "done").paths[0]
    part = download_files.part_of(path)
    newer = tiny_llama(
        tmp_path / "newer", n_layer=1, n_embd=512, n_head=4, n_head_kv=4, n_ff=2048, seed=9
    )
    hub.add("other/thing", {"thing.Q8_0.gguf": newer}, revision="f" * 40)
    hub.rate = 5e6
    id = desk.pull("other/thing").id
    desk.under_way(id)
    assert sha256_of(path) == sha256_of(model)
    desk.downloads.cancel(id)
    deadline = time.monotonic() + 5
    while part.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sha256_of(path) == sha256_of(model)
    hub.rate = 0
    hub.fault(flip(PIECE + 5), file="thing.Q8_0.gguf", times=ALWAYS)
    id = desk.pull("other/thing").id
    desk.state(id, "failed")
    assert sha256_of(path) == sha256_of(model)
    hub.faults.clear()
    desk.downloads.resume(id)
    desk.state(id, "done")
    assert sha256_of(path) == sha256_of(newer)


def test_a_cancel_at_the_very_start_leaves_nothing(desk: Desk) -> None:
    """The thread has chosen it, and has not said so in its row yet."""
    download = desk.pull()
    part = download_files.part_of(download.paths[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(b"from before")
    chosen = Control()
    desk.downloads._queue._current = (download.id, chosen)
    desk.downloads.cancel(download.id)
    assert chosen.stopped
    desk.store.put_pieces(download.paths[0], {0: b"late"})
    desk.downloads._queue._run(download, chosen)
    assert not part.exists()
    assert desk.store.pieces(download.paths[0]) == {}


def test_downloads_of_another_folder_wait_for_it(
    desk: Desk, hub: HubServer, catalog: Catalog, tmp_path: Path
) -> None:
    waiting = desk.pull("tiny-chat:Q6_K")
    desk.downloads.start()
    done = desk.state(desk.pull().id, "done")
    desk.state(waiting.id, "done")
    first = desk.store.update_download(waiting.id, state="queued")
    assert first
    desk.close()
    moved = Desk(desk.store._database.path, catalog, hub, tmp_path / "other")
    try:
        seen = moved.downloads.get(waiting.id)
        assert seen.state == "queued"
        assert str(done.paths[0].parent) in seen.note
        moved.store.update_download(waiting.id, state="running")  # by a corral with that folder
        moved.downloads.start()
        here = moved.state(moved.pull().id, "done")
        assert here.paths[0].is_relative_to(tmp_path / "other")
        assert moved.downloads.get(waiting.id).state == "running"
        with pytest.raises(Refused, match="not in the folder"):
            moved.downloads.repair(done.paths[0], [0])
        assert done.paths[0].exists()
    finally:
        moved.close()


def test_a_file_system_without_locks_loses_no_descriptor(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(download_queue, "_lock", refuse)
    lock = download_queue.FolderLock(folder)
    with pytest.raises(OSError, match="No locks"):
        lock.acquire()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    for _ in range(3):
        with pytest.raises(OSError, match="No locks"):
            lock.acquire()
    again = os.open(os.devnull, os.O_RDONLY)
    os.close(again)
    assert again == descriptor
