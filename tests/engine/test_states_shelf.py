"""The shelf of kept states: what it tells, what goes by itself, and what a person clears."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.states import KEY, OTHER_KEY, files_of, write

from corral.engine.states.shelf import Card, Shelf

CARD = Card(name="llama", file="/models/llama.gguf", fingerprint="a", engine="0.3.36")


def fill(root: Path, *conversations: str, tokens: int = 100, key: str = KEY) -> Shelf:
    """One file each, the first one used longest ago."""
    for age, conversation in enumerate(reversed(conversations), 1):
        written = write(root, range(tokens), conversation=conversation, key=key)
        os.utime(written.path.parent, (time.time() - 100 * age,) * 2)
    return Shelf(root)


def kept(shelf: Shelf) -> list[str]:
    return [one.conversation for one in shelf.entries()]


def test_it_tells_what_is_kept(tmp_path: Path) -> None:
    shelf = fill(tmp_path, "1", "2")
    shelf.label(KEY, CARD)
    write(tmp_path, range(150), 100, conversation="1")
    write(tmp_path, range(30), conversation="1", key=OTHER_KEY)
    (tmp_path / KEY / "1" / "notes.txt").write_text("a person's own")
    (tmp_path / "not a key").mkdir()
    found = {(one.model, one.conversation): one for one in shelf.entries()}
    assert set(found) == {("llama", "1"), ("llama", "2"), (OTHER_KEY, "1")}
    one = found["llama", "1"]
    assert one.tokens == 150
    assert one.bytes == sum(path.stat().st_size for path in one.folder.glob("*.kv"))
    assert abs(one.used - time.time()) < 60
    assert shelf.total() == sum(path.stat().st_size for path in files_of(tmp_path))


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        shelf = Shelf(folder)
        assert shelf.entries() == [] and shelf.total() == 0
        assert shelf.clear() == 0 and shelf.forget("1") == 0 and shelf.trim(0) == 0


def test_one_conversation_is_cleared_in_all_models(tmp_path: Path) -> None:
    shelf = fill(tmp_path, "1", "2")
    fill(tmp_path, "1", key=OTHER_KEY)
    shelf.label(OTHER_KEY, CARD)
    size = shelf.total()
    assert shelf.clear("1") == size * 2 // 3
    assert kept(shelf) == ["2"]
    assert not (tmp_path / OTHER_KEY).exists()
    shelf.clear()
    assert files_of(tmp_path) == []


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    shelf = fill(tmp_path / "kv", "1")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "0-5-0123456789abcdef.kv").write_text("somebody's")
    (tmp_path / "kv" / KEY / "link").symlink_to(victim, target_is_directory=True)
    (tmp_path / "kv" / ("e" * 32)).symlink_to(victim, target_is_directory=True)
    for name in ("../../victim", "..", "", "a/b", "link"):
        shelf.forget(name)
    shelf.clear()
    assert (victim / "0-5-0123456789abcdef.kv").read_text() == "somebody's"
    assert not shelf.entries()


def test_a_persons_own_files_stay(tmp_path: Path) -> None:
    shelf = fill(tmp_path, "1")
    (tmp_path / KEY / "1" / "notes.txt").write_text("mine")
    shelf.clear()
    assert (tmp_path / KEY / "1" / "notes.txt").read_text() == "mine"
    assert files_of(tmp_path) == []


def test_what_was_cleared_is_known_to_a_worker_that_still_has_it(tmp_path: Path) -> None:
    shelf = fill(tmp_path, "1", "2")
    before = time.time()
    shelf.forget("1")
    assert shelf.cleared_since("1", before)
    assert not shelf.cleared_since("1", time.time() + 0.001), "it went on after that"
    assert not shelf.cleared_since("2", before)
    shelf.clear()
    assert shelf.cleared_since("2", before)


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    shelf = fill(tmp_path, "old", "mid", "new")
    each = shelf.total() // 3
    assert shelf.trim(3 * each) == 3 * each
    assert shelf.trim(3 * each - 1, keep=tmp_path / KEY / "old") == 2 * each
    assert kept(shelf) == ["new", "old"]
    shelf.touch(KEY, "old", time.time())
    assert shelf.trim(0, used_before=time.time() - 150) == 2 * each
    assert shelf.trim(each) == each
    assert kept(shelf) == ["old"]
    assert shelf.trim(0) == 0 and not shelf.entries()


def test_what_nobody_can_use_any_more_goes(tmp_path: Path) -> None:
    keys = {name: name * 32 for name in "abcd"}
    shelf = Shelf(tmp_path)
    cards = {
        "a": CARD,
        "b": CARD.model_copy(update={"fingerprint": "replaced"}),
        "c": CARD.model_copy(update={"engine": "0.3.35", "file": "/models/other.gguf"}),
        "d": CARD.model_copy(update={"file": "/models/other.gguf", "fingerprint": "z"}),
    }
    for name, key in keys.items():
        fill(tmp_path, "1", key=key)
        shelf.label(key, cards[name])
    left = tmp_path / keys["a"] / "1" / "99999999-abcdef01.tmp"
    running = tmp_path / keys["a"] / "1" / f"{os.getppid()}-abcdef01.tmp"
    for path in (left, running, tmp_path / "99999999-abcdef01.tmp"):
        path.write_text("half")
    foreign = tmp_path / f"{'9' * 30}-abcdef01.tmp"
    foreign.touch()
    shelf.tidy(CARD)
    foreign.unlink()
    assert sorted(path.parent.parent.name[0] for path in files_of(tmp_path)) == ["a", "d"]
    assert [path.name for path in sorted(tmp_path.rglob("*.tmp"))] == [running.name]
    assert not (tmp_path / keys["b"]).exists()


def test_the_default_limit_follows_the_free_disk() -> None:
    assert Shelf.default_limit(50 * 10**9) == 5 * 10**9
    assert Shelf.default_limit(10**13) == 20 * 10**9
    assert Shelf.default_limit(0) == Shelf.default_limit(-1) == 0
