"""What of an evaluated sequence serves a new prompt: the longest prefix that says the same.

The ids a model generated are seldom those its own text gets from the tokenizer: ``" walk", "ing"``
against ``" walking"``, or a lone ``▁`` that only the template wrote. Where both spell the same
bytes the evaluated ids stay, so that a following turn evaluates what is new and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Match(NamedTuple):
    """``live[:kept]`` stands for ``prompt[:taken]``."""

    kept: int
    taken: int


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens at the beginning are the same."""
    if type(a) is not type(b):  # A list never equals a tuple.
        a, b = list(a), list(b)
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    # Slices are compared in C: a loop over thousands of tokens costs a hundred times as much.
    while high - low > 16:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    while low < high and a[low] == b[low]:
        low += 1
    return low


def align(
    live: Sequence[int], prompt: Sequence[int], spell: Callable[[int], bytes | None]
) -> Match:
    """The longest beginnings of both that say the same and end together.

    Args:
        live: what was evaluated.
        prompt: what is wanted.
        spell: the bytes of an ordinary token; None for one with a meaning of its own (control and
            user-defined tokens), which nothing but itself can stand for.
    """
    live, prompt = list(live), list(prompt)
    kept = taken = common_prefix(live, prompt)
    while kept < len(live) and taken < len(prompt):
        met = _meet(live, kept, prompt, taken, spell)
        if met is None:
            break
        kept, taken = met
        same = common_prefix(live[kept:], prompt[taken:])
        kept += same
        taken += same
    return Match(kept, taken)


def _meet(
    live: Sequence[int],
    kept: int,
    prompt: Sequence[int],
    taken: int,
    spell: Callable[[int], bytes | None],
) -> tuple[int, int] | None:
    """Where the two spellings end together the next time; None where they differ first."""
    ahead = 0
    """How many bytes the live side has spelled more, below 0 fewer; they are in ``pending``."""
    pending = b""
    while True:
        if ahead <= 0:
            if kept >= len(live):
                return None
            more = spell(live[kept])
            kept += 1
        else:
            if taken >= len(prompt):
                return None
            more = spell(prompt[taken])
            taken += 1
        if not more:  # None, or no bytes at all: nothing to go by.
            return None
        live_side = ahead <= 0
        if not pending:
            pending, ahead = more, len(more) if live_side else -len(more)
            continue
        shared = min(len(pending), len(more))
        if pending[:shared] != more[:shared]:
            return None
        if len(more) == len(pending):
            return kept, taken
        if len(more) < len(pending):
            pending = pending[shared:]
            ahead = len(pending) if ahead > 0 else -len(pending)
        else:
            pending = more[shared:]
            ahead = len(pending) if live_side else -len(pending)
