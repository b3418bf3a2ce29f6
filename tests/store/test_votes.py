"""Votes: kept, counted, and saved out of a damaged file."""

from __future__ import annotations

from pathlib import Path

from corral.store.store import Store
from corral.store.votes import Tally


def test_votes_are_counted_over_a_start_and_saved_out_of_a_damaged_file(
    store: Store, path: Path
) -> None:
    assert store.votes() == []
    store.vote("7b:Q4", ["7b:Q8"])
    store.vote("7b:Q4", ["13b \ud800", "7b:Q8"])
    store.vote("7b:Q8", ["7b:Q4"])
    counted = [Tally("7b:Q4", 2, 3), Tally("7b:Q8", 1, 3), Tally("13b \ufffd", 0, 1)]
    assert store.votes() == counted
    store.close()
    again = Store.open(path)
    assert again.votes() == counted
    again.close()
    path.write_bytes(bytes(100) + path.read_bytes()[100:])
    mended = Store.open(path)
    assert mended.notices and mended.votes() == counted
    mended.vote("13b", ["7b:Q4"])
    assert Tally("13b", 1, 1) in mended.votes()
    mended.close()
