"""The queue with a real store, real transfers, and a hub on the loopback."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.hub import (
    ALWAYS,
    COMMIT,
    Fault,
    HubServer,
    busy,
    flip,
    hub_server,
    reset_after,
    stall_after,
    status,
)

from corral.errors import CorralError, DoesNotFit, NotFound, Refused, UsageError
from corral.models.catalog import Catalog
from corral.models.downloads import files as download_files
from corral.models.downloads import queue as download_queue
from corral.models.downloads.downloads import Download, Downloads, NotAccepted
from corral.models.downloads.licences import lay_beside
from corral.models.hub.client import Hub
from corral.models.hub.types import HubError
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.models.transfer.pieces import PIECE, damaged
from corral.models.transfer.transfer import Control, Tuning
from corral.settings import DownloadSettings
from corral.store.store import Store

REPOSITORY = "somebody/tiny-GGUF"
FILE = "tiny.Q8_0.gguf"
TEXTS = {"LICENSE.txt": b"You may.\n", "USE_POLICY.md": b"Be good.\n"}

CATALOGUE = """
[licence.llama2]
title = "Llama 2 Community License"
accept = true
repository = "somebody/tiny-GGUF"
revision = "{commit}"
files = ["LICENSE.txt", "USE_POLICY.md", "Notice"]

[licence.llama1]
title = "LLaMA licence"
download = false

[licence.mit]
title = "MIT License"

[family.tiny-chat]
title = "Tiny Chat"
size = "4M"
kind = "chat"
licence = "llama2"
format = "llama-2"
repository = "somebody/tiny-GGUF"
revision = "{commit}"
n_layer = 1
n_embd = 512
n_head = 4
n_head_kv = 4
n_ff = 2048
recommended = "Q8_0"
files = [
  {{ quant = "Q8_0", file = "tiny.Q8_0.gguf", bytes = {bytes}, sha256 = "{sha256}" }},
  {{ quant = "Q4_0", file = "tiny.Q4_0.gguf", bytes = {bytes}, sha256 = "{other}" }},
  {{ quant = "Q6_K", file = "tiny.Q6_K.gguf", gigabytes = 0.001, parts = [{parts}] }},
]

[family.old]
title = "Old"
size = "7B"
kind = "base"
licence = "llama1"
format = "completion"
repository = "somebody/old-GGUF"
revision = "{commit}"
n_layer = 1
n_embd = 512
n_head = 4
n_head_kv = 4
n_ff = 2048
recommended = "F16"
files = [{{ quant = "F16", file = "old.F16.gguf", gigabytes = 13.0 }}]
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model of three pieces."""
    path = tmp_path_factory.mktemp("model") / FILE
    return tiny_llama(path, n_layer=1, n_embd=512, n_head=4, n_head_kv=4, n_ff=2048)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def catalog(model: Path, tmp_path: Path, hub: HubServer) -> Catalog:
    """Knows what is on the hub, and one file whose pin is wrong."""
    data = model.read_bytes()
    half = len(data) // 2
    files: dict[str, bytes | Path] = {
        **TEXTS,
        FILE: model,
        "tiny.Q4_0.gguf": model,
        "tiny.Q6_K.gguf-split-a": data[:half],
        "tiny.Q6_K.gguf-split-b": data[half:],
    }
    hub.add(REPOSITORY, files, licence="llama2")
    path = tmp_path / "models.toml"
    sha256 = hashlib.sha256(data).hexdigest()
    parts = '"tiny.Q6_K.gguf-split-a", "tiny.Q6_K.gguf-split-b"'
    path.write_text(
        CATALOGUE.format(commit=COMMIT, bytes=len(data), sha256=sha256, other="0" * 64, parts=parts)
    )
    return Catalog.load(path)


class Shelf:
    """A library that remembers what it was given."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Path, str]] = []

    def installed(self, download: Download, path: Path, sha256: str) -> None:
        assert path.stat().st_size == download.targets[0].size
        self.found.append((download.name, path, sha256))


class Desk:
    """One corral: its store, its downloads, its library."""

    def __init__(self, database: Path, catalog: Catalog, hub: HubServer, folder: Path) -> None:
        self.settings = DownloadSettings()
        self.store = Store.open(database)
        self.shelf = Shelf()
        self.hub = Hub(folder.parent / "cache", endpoint=hub.url, patience=2, stall=2)
        self.downloads = Downloads(
            self.store,
            catalog,
            self.shelf,
            lambda: self.hub,
            folder,
            self.settings,
            tuning=Tuning(first_wait=0.05, attempts=3, longest_request=60, stall=0.5),
        )

    def accept(self) -> None:
        self.store.accept_licence("llama2", "title", "text")

    def pull(self, name: str = "tiny-chat:Q8_0") -> Download:
        return self.downloads.add(self.downloads.plan(name))

    def until(self, id: int, wanted: Callable[[Download], bool]) -> Download:
        """The download as soon as it is as wanted."""
        deadline = time.monotonic() + 20
        while not wanted(found := self.downloads.get(id)):
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def state(self, id: int, state: str) -> Download:
        return self.until(id, lambda found: found.state == state)

    def under_way(self, id: int) -> Download:
        return self.until(id, lambda found: found.stage == "transfer" and found.fetched > 0)

    def close(self) -> None:
        self.downloads.close()
        self.hub.close()
        self.store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def desks(
    tmp_path: Path, catalog: Catalog, hub: HubServer, folder: Path
) -> Iterator[Callable[[], Desk]]:
    """Opens corrals on the same history and the same folder."""
    opened: list[Desk] = []

    def make() -> Desk:
        opened.append(Desk(tmp_path / "corral.db", catalog, hub, folder))
        return opened[-1]

    yield make
    hub.rate = 0
    for desk in opened:
        desk.close()


@pytest.fixture
def desk(desks: Callable[[], Desk]) -> Desk:
    """The only corral, with the licence accepted; its thread is not started yet."""
    desk = desks()
    desk.accept()
    return desk


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the plan -----------------------------------------------------------------------------------


def test_a_plan_says_what_comes_and_where_it_goes(desk: Desk, model: Path, folder: Path) -> None:
    plan = desk.downloads.plan("Tiny-Chat")
    assert (plan.name, plan.title) == ("tiny-chat:Q8_0", "Tiny Chat Q8_0")
    assert plan.folder == folder / "somebody--tiny-GGUF"
    assert plan.bytes == model.stat().st_size
    assert plan.targets[0].sha256 == sha256_of(model)
    assert plan.needed > plan.bytes
    assert (plan.licence, plan.warning, plan.here) == (None, "", False)
    assert not folder.exists()


def test_a_pin_that_does_not_match_is_refused_before_a_byte(desk: Desk, hub: HubServer) -> None:
    with pytest.raises(Refused, match="changed upstream"):
        desk.downloads.plan("tiny-chat:Q4_0")
    assert hub.sent() == 0


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("tiny-cat", "no model called", "tiny-chat"),
        ("tiny-chat:Q5_K_M", "no Q5_K_M of Tiny Chat", "Q8_0, Q4_0, Q6_K"),
        ("old", "downloads nothing under", "import"),
        ("no/such", "", ""),
        ("../x/y.gguf", "cannot be", ""),
        (f"{REPOSITORY}:Q2_K", "has no Q2_K", "Q4_0, Q6_K, Q8_0"),
        (REPOSITORY, "several", "Q6_K"),
    ],
)
def test_what_cannot_be_fetched_is_said_plainly(
    desk: Desk, hub: HubServer, name: str, said: str, hint: str
) -> None:
    with pytest.raises(CorralError) as caught:
        desk.downloads.plan(name)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert isinstance(caught.value, NotFound | UsageError | Refused)
    assert hub.sent() == 0


def test_the_catalogue_knows_files_that_are_named_by_their_repository(desk: Desk) -> None:
    for rest in (":q8_0", f"/{FILE}"):
        plan = desk.downloads.plan(f"{REPOSITORY}{rest}")
        assert (plan.name, plan.family) == ("tiny-chat:Q8_0", "tiny-chat")


def test_any_repository_of_the_hub_can_be_planned(desk: Desk, hub: HubServer, model: Path) -> None:
    hub.add("other/thing", {"sub/thing.Q8_0.gguf": model, "README.md": b"hi"}, licence="llama2")
    desk.store.accept_licence("llama2", "t", "t")
    plan = desk.downloads.plan("other/thing")
    assert (plan.name, plan.family, plan.revision) == ("other/thing:Q8_0", None, COMMIT)
    assert plan.folder.name == "sub"
    assert plan.targets[0].sha256 == sha256_of(model)
    assert plan.header is not None and plan.header.n_embd == 512
    assert "catalogue" in plan.warning


def test_a_file_that_is_no_model_is_refused_before_it_is_fetched(
    desk: Desk, hub: HubServer
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": os.urandom(20_000_000)})
    with pytest.raises(Refused, match="cannot be used"):
        desk.downloads.plan("other/thing")


def test_a_file_without_a_hash_fails_closed(desk: Desk, hub: HubServer, model: Path) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model.read_bytes()}, git=True)
    with pytest.raises(Refused, match="no sha256"):
        desk.downloads.plan("other/thing")


def test_a_disk_that_is_too_small_is_said_first(
    desk: Desk, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = desk.downloads.plan("tiny-chat").bytes
    free = size * 3 // 2 + 5 * size
    monkeypatch.setattr("shutil.disk_usage", lambda _: (100 * size, 0, free))
    desk.pull()
    with pytest.raises(DoesNotFit, match="promised to other downloads") as caught:
        desk.downloads.plan("tiny-chat:Q6_K")
    assert "Free" in caught.value.hint
    assert hub.sent() == 0


# --- the licence --------------------------------------------------------------------------------


def test_the_licence_is_asked_for_once_and_lies_beside_the_weights(
    desks: Callable[[], Desk], folder: Path
) -> None:
    desk = desks()
    plan = desk.downloads.plan("tiny-chat")
    assert plan.licence is not None
    with pytest.raises(NotAccepted, match="not accepted"):
        desk.downloads.add(plan)
    text = desk.downloads.licence_text(plan.licence)
    assert "You may." in text
    assert "Be good." in text
    assert "Meta Platforms" in text  # the hub has no Notice
    desk.downloads.accept(plan.licence, text)
    assert desk.downloads.accepted(plan.licence)
    assert desk.downloads.plan("tiny-chat").licence is None
    assert desk.downloads.licence_text(plan.licence) == text
    desk.downloads.start()
    desk.state(desk.downloads.add(plan).id, "done")
    beside = folder / "somebody--tiny-GGUF"
    assert sorted(path.name for path in beside.iterdir()) == [
        "LICENSE.txt",
        "Notice",
        "USE_POLICY.md",
        FILE,
    ]
    assert (beside / "LICENSE.txt").read_bytes() == TEXTS["LICENSE.txt"]


def test_the_catalogues_licence_holds_for_all_of_a_repository(
    desks: Callable[[], Desk], hub: HubServer, model: Path
) -> None:
    """For files that the catalogue does not list, and whatever the hub says."""
    desk = desks()
    hub.add(REPOSITORY, {"tiny.Q2_K.gguf": model}, licence="other")
    hub.add("somebody/old-GGUF", {"old.Q2_K.gguf": model}, licence="other")
    plan = desk.downloads.plan(f"{REPOSITORY}:Q2_K")
    assert plan.licence is not None
    with pytest.raises(NotAccepted):
        desk.downloads.add(plan)
    for name in ("somebody/old-GGUF:Q2_K", "somebody/old-GGUF"):
        with pytest.raises(Refused, match="downloads nothing under"):
            desk.downloads.plan(name)


def test_the_texts_are_written_through_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("LICENSE.txt", "LICENSE.txt.part"):
        (folder / name).symlink_to(victim)
    lay_beside(folder, {"LICENSE.txt": b"You may."})
    assert not victim.exists()
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("LICENSE.txt", b"You may.")]


def test_a_licence_that_the_hub_names_counts_too(
    desks: Callable[[], Desk], hub: HubServer, model: Path
) -> None:
    hub.add("other/thing", {"thing.Q8_0.gguf": model}, licence="llama2")
    desk = desks()
    plan = desk.downloads.plan("other/thing")
    with pytest.raises(NotAccepted):
        desk.downloads.add(plan)


# --- the queue ----------------------------------------------------------------------------------


def test_a_model_comes_whole_and_is_installed(desk: Desk, model: Path, hub: HubServer) -> None:
    desk.downloads.start()
    done = desk.state(desk.pull().id, "done")
    assert (done.done, done.rate, done.error) == (done.bytes, 0.0, "")
    assert done.fetched == model.stat().st_size == hub.sent(FILE)
    assert sha256_of(done.paths[0]) == sha256_of(model)
    assert desk.shelf.found == [("tiny-chat:Q8_0", done.paths[0], sha256_of(model))]
    assert len(desk.store.pieces(done.paths[0])) == 3
    assert desk.downloads.all() == []
    assert desk.downloads.all(done=True) == [done]


def test_what_is_here_is_not_fetched_again_and_taken_in_where_it_was_forgotten(
    desk: Desk, hub: HubServer, catalog: Catalog
) -> None:
    library = Library(desk.store, catalog)
    desk.shelf.installed = library.installed  # type: ignore[method-assign,assignment]
    desk.downloads.start()
    done = desk.state(desk.pull().id, "done")
    assert desk.pull() == done
    library.forget(done.paths[0])
    desk.state(desk.pull().id, "done")
    assert [model.name for model in here(library)] == ["tiny-chat:Q8_0"]
    assert hub.sent(FILE) == done.bytes


def test_cuts_are_joined_and_shards_come_together(
    desk: Desk, hub: HubServer, model: Path, tmp_path: Path
) -> None:
    desk.downloads.start()
    joined = desk.state(desk.pull("tiny-chat:Q6_K").id, "done")
    assert sha256_of(joined.paths[0]) == sha256_of(model)
    shards = split(model, tmp_path)
    hub.add("other/shards", {path.name: path for path in shards})
    done = desk.state(desk.pull("other/shards").id, "done")
    assert [path.name for path in done.paths] == [path.name for path in shards]
    assert [sha256_of(path) for path in done.paths] == [sha256_of(path) for path in shards]
    assert len(desk.shelf.found) == 2


def split(model: Path, folder: Path) -> list[Path]:
    """The same model as two shards, made by llama.cpp's own writer of keys."""
    import gguf

    reader = gguf.GGUFReader(model)
    half = len(reader.tensors) // 2
    paths = []
    for number, tensors in enumerate((reader.tensors[:half], reader.tensors[half:])):
        path = folder / f"tiny.Q8_0-{number + 1:05d}-of-00002.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for key, entry in reader.fields.items() if number == 0 else ():
            if not key.startswith("GGUF.") and key != "general.architecture":
                kinds = entry.types
                writer.add_key_value(
                    key, entry.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None
                )
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


def test_one_after_the_other_in_the_order_that_was_chosen(desk: Desk, hub: HubServer) -> None:
    first = desk.pull("tiny-chat:Q8_0")
    second = desk.pull("tiny-chat:Q6_K")
    assert desk.pull("tiny-chat:Q8_0").id == first.id
    desk.downloads.move(second.id, -1)
    assert [found.id for found in desk.downloads.all()] == [second.id, first.id]
    desk.downloads.start()
    desk.state(first.id, "done")
    desk.state(second.id, "done")
    files = [request.file for request in hub.requests("cdn")]
    assert files == sorted(files)  # Q6_K before Q8_0
    assert [name for name, *_ in desk.shelf.found] == ["tiny-chat:Q6_K", "tiny-chat:Q8_0"]


def test_pausing_keeps_what_is_here_and_resuming_goes_on(desk: Desk, hub: HubServer) -> None:
    hub.rate = 12e6
    desk.downloads.start()
    id = desk.pull().id
    desk.until(id, lambda found: found.done > PIECE)
    desk.downloads.pause(id)
    paused = desk.downloads.get(id)
    assert (paused.state, paused.rate, paused.stage) == ("paused", 0.0, "")
    hub.settle()
    sent = hub.sent(FILE)
    assert download_files.part_of(paused.paths[0]).exists()
    hub.rate = 0
    desk.downloads.resume(id)
    done = desk.state(id, "done")
    assert sha256_of(done.paths[0]) == done.targets[0].sha256
    assert hub.sent(FILE) <= done.bytes + PIECE
    assert sent < done.bytes


def test_a_paused_download_stays_paused_and_a_running_one_goes_on_after_a_restart(
    desks: Callable[[], Desk], hub: HubServer
) -> None:
    hub.rate = 12e6
    first = desks()
    first.accept()
    first.downloads.start()
    running = first.pull("tiny-chat:Q8_0").id
    paused = first.pull("tiny-chat:Q6_K").id
    first.downloads.pause(paused)
    first.until(running, lambda found: found.done > PIECE)
    started = time.monotonic()
    first.downloads.close()
    assert time.monotonic() - started < 5
    assert first.downloads.get(running).state == "queued"
    first.close()
    hub.rate = 0
    second = desks()
    assert second.downloads.get(running).done > 0
    second.downloads.start()
    second.state(running, "done")
    assert second.downloads.get(paused).state == "paused"
    assert hub.sent(FILE) <= second.downloads.get(running).bytes + PIECE


def test_what_a_killed_corral_left_running_waits_for_its_turn(desk: Desk, hub: HubServer) -> None:
    hub.rate = 10e6
    first, left = desk.pull("tiny-chat:Q8_0"), desk.pull("tiny-chat:Q6_K")
    desk.store.update_download(left.id, state="running", rate=5e6)
    desk.downloads.start()
    desk.under_way(first.id)
    waiting = desk.downloads.get(left.id)
    assert (waiting.state, waiting.rate) == ("queued", 0.0)


def test_cancelling_removes_everything(desk: Desk, hub: HubServer, folder: Path) -> None:
    hub.rate = 5e6
    desk.downloads.start()
    running, queued = desk.pull("tiny-chat:Q8_0"), desk.pull("tiny-chat:Q6_K")
    desk.under_way(running.id)
    desk.downloads.cancel(queued.id)
    desk.downloads.cancel(running.id)
    deadline = time.monotonic() + 5
    while any(path.name != ".lock" for path in folder.rglob("*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert desk.downloads.all(done=True) == []
    assert desk.store.pieces(running.paths[0]) == {}
    with pytest.raises(NotFound):
        desk.downloads.get(running.id)


def test_the_limit_holds_and_can_be_changed_while_it_runs(desk: Desk, hub: HubServer) -> None:
    desk.settings.limit = 4.0
    desk.downloads.start()
    id = desk.pull().id
    desk.until(id, lambda found: found.fetched > 4_000_000)
    assert desk.downloads.get(id).rate < 8e6
    desk.settings.limit = 0.0
    started = time.monotonic()
    desk.state(id, "done")
    assert time.monotonic() - started < 10


def test_nothing_is_written_while_nothing_happens(desk: Desk) -> None:
    def changes() -> int:
        with desk.store._database.read() as connection:
            return connection.total_changes()

    desk.downloads.start()
    desk.state(desk.pull().id, "done")
    before = changes()
    time.sleep(1.2)
    assert changes() == before


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


# --- the library --------------------------------------------------------------------------------


def test_the_library_shows_it_coming_and_then_has_it(
    desk: Desk, hub: HubServer, catalog: Catalog
) -> None:
    library = Library(desk.store, catalog)
    desk.shelf.installed = library.installed  # type: ignore[method-assign,assignment]
    hub.rate = 8e6
    desk.downloads.start()
    id = desk.pull().id
    desk.under_way(id)
    assert [(m.name, m.state) for m in here(library)] == [("tiny-chat:Q8_0", "downloading")]
    desk.downloads.pause(id)
    assert [(m.name, m.state) for m in here(library)] == [("tiny-chat:Q8_0", "paused")]
    desk.downloads.resume(id)
    hub.rate = 0
    path = desk.state(id, "done").paths[0]
    (model,) = here(library)
    assert (model.name, model.state, model.path) == ("tiny-chat:Q8_0", "installed", str(path))
    assert (model.repository, model.revision) == (REPOSITORY, COMMIT)
    hub.rate = 1e6
    desk.downloads.repair(path, [0])
    assert [(m.name, m.state) for m in here(library)] == [("tiny-chat:Q8_0", "downloading")]
    desk.under_way(id)
    desk.downloads.cancel(id)  # damaged as it was, but not thrown away
    while not path.exists():
        time.sleep(0.01)
    assert len(here(library)) == 1


def here(library: Library) -> list[LocalModel]:
    return [model for model in library.models() if model.source == "download"]


# --- two corrals --------------------------------------------------------------------------------


def test_two_corrals_fetch_once_and_the_second_commands_the_first(
    desks: Callable[[], Desk], hub: HubServer
) -> None:
    hub.rate = 6e6
    one, two = desks(), desks()
    one.accept()
    one.downloads.start()
    two.downloads.start()
    id = one.pull().id
    assert two.pull().id == id
    one.under_way(id)
    two.downloads.pause(id)
    started = time.monotonic()
    hub.settle()
    assert time.monotonic() - started < 8
    sent = hub.sent(FILE)
    time.sleep(0.6)
    assert hub.sent(FILE) == sent
    two.downloads.resume(id)
    one.until(id, lambda found: found.state == "running")
    hub.rate = 0
    done = two.state(id, "done")
    assert hub.sent(FILE) <= done.bytes + PIECE
    assert len(one.shelf.found) + len(two.shelf.found) == 1


def test_the_second_corral_takes_over_when_the_first_ends(
    desks: Callable[[], Desk], hub: HubServer
) -> None:
    hub.rate = 6e6
    one, two = desks(), desks()
    one.accept()
    one.downloads.start()
    id = one.pull().id
    one.until(id, lambda found: found.done > PIECE // 2)
    two.downloads.start()
    one.close()
    two.until(id, lambda found: found.state == "running")
    hub.rate = 0
    two.state(id, "done")
    assert len(two.shelf.found) == 1


def test_a_cancel_from_the_second_corral_removes_what_the_first_wrote(
    desks: Callable[[], Desk], hub: HubServer, folder: Path
) -> None:
    hub.rate = 6e6
    one, two = desks(), desks()
    one.accept()
    one.downloads.start()
    download = one.pull()
    one.under_way(download.id)
    two.downloads.cancel(download.id)
    part = download_files.part_of(download.paths[0])
    deadline = time.monotonic() + 5
    while part.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert one.downloads.all() == []
