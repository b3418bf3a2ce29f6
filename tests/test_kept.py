"""What is kept on disk, by conversation; what goes, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.shelf import Entry, StuckShelf, TitleStore, fill, kept_prompts, left

from corral.errors import Refused
from corral.kept import KeptPrompts, kept_of
from corral.parts import build
from corral.paths import Paths


def test_one_line_a_conversation_the_latest_first(tmp_path: Path) -> None:
    entries = [
        Entry("7", "small.Q4", tokens=900, bytes=10, ago=50.0),
        Entry("9", "large.Q4", tokens=12, bytes=5, ago=40.0),
        Entry("7", "large.Q4", tokens=1204, bytes=30, ago=30.0),
        Entry("11", "large.Q4", ago=100.0),
        Entry("not-a-number", "large.Q4", ago=200.0),
    ]
    found = kept_prompts(tmp_path, entries, {7: "Cusco \x1b[2J", 9: ""}).all()
    first = found[0]
    assert (first.conversation, first.title) == ("7", "Cusco \x1b[2J")
    assert (first.models, first.tokens, first.bytes) == (("large.Q4", "small.Q4"), 1204, 40)
    assert [one.name for one in found] == [
        "Cusco ␛[2J",
        "Untitled",
        "deleted conversation 11",
        "deleted conversation not-a-number",
    ]


def test_a_cleared_one_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    kept = kept_prompts(tmp_path)
    first, *others = kept.all()
    kept.remove(first)
    assert kept.all() == others
    kept.remove(first)  # It is gone, which is what was wanted.


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    shelf = fill(tmp_path, [Entry("1"), Entry("2", ago=200.0)])
    assert isinstance(shelf, StuckShelf)
    shelf.stuck = "1"
    kept = KeptPrompts(shelf, TitleStore({1: "One", 2: "Two"}))
    with pytest.raises(Refused, match="“One” could not be removed"):
        kept.remove(kept.all()[0])
    assert left(shelf) == {"1", "2"}


def test_deleted_conversations_are_forgotten(tmp_path: Path) -> None:
    shelf = fill(tmp_path, [Entry("1"), Entry("2"), Entry("3")])
    store = TitleStore({1: "One", 2: "Two", 3: "Three"})
    kept = KeptPrompts(shelf, store)
    assert kept.sweep() == 0 and left(shelf) == {"1", "2", "3"}
    kept.forget([1])
    del store.known[3]
    assert kept.sweep() == 1
    assert left(shelf) == {"2"}


def test_the_limit_follows_the_disk_or_the_person(tmp_path: Path) -> None:
    kept = kept_prompts(tmp_path, ())
    assert kept.limit(-1, 50 * 10**9) == 5 * 10**9
    assert kept.limit(0, 50 * 10**9) == 0
    assert kept.limit(1.5, 0) == 1_500_000_000


def test_parts_that_save_nothing_keep_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("config", "data", "cache", "logs")]
    for save in (True, False):
        parts = build(Paths(*folders), save=save)
        kept = kept_of(parts)
        assert kept is None or (kept.all() == [] and kept.sweep() == 0)
        assert (kept is not None) == save
        parts.close_stores()
