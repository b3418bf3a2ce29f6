from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from corral.store.downloads import Download, RemoteSegment, Target
from corral.store.store import Store

SHA = "08a5566d61d7cb6b420c3e4387a39e0078e1f2fe5f055f3a03887385304d4bfa"


def download(name: str = "a", **changes: object) -> Download:
    segments = tuple(RemoteSegment(f"{name}.gguf-split-{part}", 50, SHA) for part in "ab")
    new = Download(
        id=0,
        name=f"family:{name}",
        title="Family 7B",
        family="family",
        quant="Q4_K_M",
        repository="owner/name",
        revision="0" * 40,
        licence="llama2",
        folder="/models/owner--name",
        targets=(Target(f"{name}.gguf", segments, 100, None),),
        bytes=100,
    )
    return replace(new, **changes)  # type: ignore[arg-type]


def test_a_download_comes_back_as_it_was(store: Store, path: Path) -> None:
    new = download(done=7, eta=1.5, note="waits", repair=True, retry_at=9.0)
    added = store.add_download(new)
    assert added == replace(new, id=added.id, position=1, created=added.created)
    assert added.created > 1_600_000_000
    store.close()
    again = Store.open(path)
    assert again.downloads() == [added]
    assert again.download(added.id) == added
    assert again.download(99) is None
    assert added.paths == (Path("/models/owner--name/a.gguf"),)
    again.close()


def test_the_same_file_twice_is_one_download(store: Store) -> None:
    first = store.add_download(download())
    assert store.add_download(download(title="again")) == first
    assert store.add_download(download(folder="/elsewhere")) != first


def test_a_change_can_depend_on_the_state(store: Store) -> None:
    id = store.add_download(download()).id
    assert store.update_download(id, only=["queued"], state="running", done=50)
    assert not store.update_download(id, only=["queued"], state="paused")
    assert store.update_download(id, error="\ud800 lone", eta=None)
    changed = store.download(id)
    assert changed is not None
    assert (changed.state, changed.done, changed.error) == ("running", 50, "\ufffd lone")
    assert not store.update_download(99, done=1)


def test_moving_changes_the_order_and_stops_at_the_ends(store: Store) -> None:
    a, b, c = (store.add_download(download(name)).id for name in "abc")
    order = []
    for id, step in ((c, -1), (c, -5), (a, 1), (b, 9), (99, 1)):
        store.move_download(id, step)
        order.append([d.id for d in store.downloads()])
    assert order == [[a, c, b], [c, a, b], [c, b, a], [c, a, b], [c, a, b]]


def test_pieces_are_kept_by_the_path_of_the_finished_file(store: Store) -> None:
    a, b = "/models/a.gguf", os.fsdecode(b"/models/\xff.gguf")
    store.put_pieces(a, {2: b"two", 0: b"zero"})
    store.put_pieces(b, {0: b"other"})
    store.put_pieces(a, {2: b"TWO", 5: b"five"})
    assert store.pieces(a) == {0: b"zero", 2: b"TWO", 5: b"five"}
    store.drop_pieces(a, [5, 6])
    assert store.pieces(a) == {0: b"zero", 2: b"TWO"}
    store.drop_pieces(a)
    assert (store.pieces(a), store.pieces(b)) == ({}, {0: b"other"})


def test_removing_a_download_takes_its_pieces_along(store: Store) -> None:
    added = store.add_download(download())
    store.put_pieces(added.paths[0], {0: b"zero"})
    store.put_pieces("/other", {0: b"zero"})
    assert store.remove_download(added.id)
    assert not store.remove_download(added.id)
    assert store.downloads() == []
    assert (store.pieces(added.paths[0]), store.pieces("/other")) == ({}, {0: b"zero"})


@pytest.mark.parametrize("column", ["targets", "state"])
def test_a_damaged_row_can_still_be_listed_and_removed(store: Store, column: str) -> None:
    id = store.add_download(download()).id
    with store._database.write() as connection:
        connection.execute(f"UPDATE download SET {column} = '[{{'")
    (found,) = store.downloads()
    assert found.state == "failed"
    assert found.error
    assert store.remove_download(id)


def test_an_accepted_licence_is_kept_with_its_text_and_hash(store: Store, path: Path) -> None:
    assert store.licence("llama2") is None
    store.accept_licence("llama2", "Llama 2 Community License", "You agree …")
    store.close()
    again = Store.open(path)
    accepted = again.licence("llama2")
    assert accepted is not None
    assert (accepted.title, accepted.text) == ("Llama 2 Community License", "You agree …")
    assert accepted.sha256 == hashlib.sha256("You agree …".encode()).hexdigest()
    assert accepted.accepted > 1_600_000_000
    again.close()


def test_downloads_pieces_and_licences_are_salvaged(store: Store, path: Path) -> None:
    added = store.add_download(download())
    store.put_pieces(added.paths[0], {0: b"zero", 1: b"one"})
    store.accept_licence("llama2", "title", "text")
    licence = store.licence("llama2")
    store.close()
    path.write_bytes(bytes(100) + path.read_bytes()[100:])
    again = Store.open(path)
    assert again.notices
    assert again.downloads() == [added]
    assert again.pieces(added.paths[0]) == {0: b"zero", 1: b"one"}
    assert again.licence("llama2") == licence
    again.close()
