"""The queue, the library at its end, and two corrals at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.desk import FILE, REPOSITORY, Desk, sha256_of
from tests.support.hub import (
    COMMIT,
    HubServer,
)

from corral.errors import NotFound
from corral.models.catalog import Catalog
from corral.models.downloads import files as download_files
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.models.transfer.pieces import PIECE

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
