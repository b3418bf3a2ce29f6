"""Two spellings of one text: the longest beginning that says the same, whatever the ids."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engine.reuse import Match, align, common_prefix

PIECES: dict[int, bytes | None] = {
    0: None,  # Control tokens.
    1: None,
    2: b"a",
    3: b"b",
    4: b"ab",
    5: b"ba",
    6: b"aba",
    7: b" ",
    8: b" a",
    9: b"",  # A token without bytes.
}
TOKENS = st.lists(st.sampled_from(sorted(PIECES)), max_size=24)


def said(tokens: list[int]) -> list[bytes | int]:
    """What tokens say: runs of bytes, and what only itself can stand for."""
    out: list[bytes | int] = []
    for token in tokens:
        piece = PIECES[token]
        if not piece:
            out.append(token)
        elif out and isinstance(out[-1], bytes):
            out[-1] += piece
        else:
            out.append(piece)
    return out


@pytest.mark.parametrize(
    ("live", "prompt", "match"),
    [
        ([], [2], (0, 0)),
        ([0, 2, 3], [0, 2, 3], (3, 3)),
        ([0, 2, 3], [0, 4], (3, 2)),
        ([0, 4, 2], [0, 2, 5], (3, 3)),
        ([0, 2, 3, 1], [0, 4, 1], (4, 3)),
        ([0, 2, 3], [1, 2, 3], (0, 0)),
        ([2, 3, 0], [4, 1], (2, 1)),
        # The ends do not meet: back to where they last did.
        ([0, 2, 3, 2], [0, 2, 5, 7], (4, 3)),
        ([0, 2, 3, 3], [0, 2, 5, 7], (2, 2)),
        ([0, 4], [0, 2], (1, 1)),
        ([0, 4, 8], [0, 2, 3, 7, 3], (2, 3)),
        # A control token within a piece of the other side.
        ([2, 0, 3], [4], (0, 0)),
        ([9, 2], [2], (0, 0)),
    ],
)
def test_examples(live: list[int], prompt: list[int], match: tuple[int, int]) -> None:
    assert align(live, prompt, PIECES.__getitem__) == Match(*match)
    assert align(live, tuple(prompt), PIECES.__getitem__) == Match(*match)


@given(TOKENS, TOKENS)
def test_what_is_kept_says_what_is_wanted_and_nothing_longer_would(
    live: list[int], prompt: list[int]
) -> None:
    kept, taken = align(live, prompt, PIECES.__getitem__)
    assert said(live[:kept]) == said(prompt[:taken])
    longest = max(
        (j, i)
        for i, j in product(range(len(live) + 1), range(len(prompt) + 1))
        if said(live[:i]) == said(prompt[:j])
    )
    assert taken == longest[0]


@given(st.lists(st.integers(0, 3), max_size=200), st.lists(st.integers(0, 3), max_size=60))
def test_the_common_prefix_is_the_longest(base: list[int], tail: list[int]) -> None:
    other = base[: len(base) // 2] + tail
    same = common_prefix(base, other)
    assert same == common_prefix(base, tuple(other)) == common_prefix(tuple(base), tuple(other))
    assert base[:same] == other[:same]
    assert base[same : same + 1] != other[same : same + 1] or same in (len(base), len(other))
