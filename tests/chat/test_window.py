"""The window: the fewest of the oldest exchanges are left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.chat.conversation import Message
from corral.chat.formats import Turn, turns
from corral.chat.window import (
    EXPLAINED,
    POLICIES,
    TITLES,
    Seen,
    always_kept,
    answer_reserve,
    first_that_fits,
    gaps,
    recorded,
    seen,
    summary_start,
    with_summary,
)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 400))
async def test_leaves_out_as_few_as_possible(sizes: list[int], budget: int) -> None:
    async def cost(start: int) -> int:
        return sum(sizes[start:])

    start, tokens = await first_that_fits(len(sizes), budget, cost)
    assert tokens == sum(sizes[start:])
    if tokens <= budget:
        assert start == 0 or sum(sizes[start - 1 :]) > budget
    else:
        assert start == len(sizes) - 1, "only a last message that is too long alone is over"


async def test_asks_little_where_everything_fits() -> None:
    asked = []

    async def cost(start: int) -> int:
        asked.append(start)
        return 10

    assert await first_that_fits(500, 10, cost) == (0, 10)
    assert asked == [0]


async def test_looks_at_little_more_than_fits() -> None:
    asked = []

    async def cost(start: int) -> int:
        asked.append(start)
        return 10 * (1500 - start)

    assert await first_that_fits(1500, 305, cost) == (1470, 300)
    assert asked[0] == 0 and min(asked[1:]) >= 1500 - 2 * 30 - 2 and len(asked) < 14


@pytest.mark.parametrize(
    ("n_ctx", "max_tokens", "reserve"),
    [(4096, 0, 512), (1024, 0, 256), (4096, 100, 100), (512, 9999, 256)],
)
def test_room_for_the_answer(n_ctx: int, max_tokens: int, reserve: int) -> None:
    assert answer_reserve(n_ctx, max_tokens) == reserve


def exchanges(count: int, **of: dict[str, Any]) -> list[Turn]:
    """Numbered from 0, with ids in steps of two; ``_3={...}`` changes the third one."""
    made = [Turn(f"question {n}", f"answer {n}", 2 * n + 1) for n in range(count)]
    for name, changes in of.items():
        made[int(name[1:])] = made[int(name[1:])]._replace(**changes)
    return made


def test_every_policy_has_a_title_and_is_explained() -> None:
    assert set(TITLES) == set(EXPLAINED) == set(POLICIES)


def test_pins_and_with_ends_the_first_exchange_are_always_kept() -> None:
    dialogue = exchanges(6, _2={"pinned": True})
    assert always_kept("drop", dialogue) == {2}
    assert always_kept("ends", dialogue) == {0, 2}
    assert seen(6, 4, always_kept("drop", dialogue)) == [2, 4, 5]


def test_gaps_say_where_the_model_sees_nothing() -> None:
    dialogue = exchanges(6)
    assert gaps(dialogue, [0, 1, 2, 3, 4, 5]) == ()
    assert gaps(dialogue, [4, 5]) == ((1, 9),)
    assert gaps(dialogue, [2, 4, 5]) == ((1, 5), (7, 9))
    assert gaps(dialogue, [0, 5]) == ((3, 11),)


@given(st.integers(1, 12), st.data())
def test_every_message_is_seen_or_in_one_gap(count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, count - 1))
    kept = data.draw(st.sets(st.integers(0, count - 1)))
    dialogue = exchanges(count)
    numbers = seen(count, start, kept)
    hidden = {
        turn.first_message
        for turn in dialogue
        for begin, end in gaps(dialogue, numbers)
        if begin <= turn.first_message < end
    }
    assert hidden == {dialogue[n].first_message for n in range(count) if n not in numbers}


def test_the_last_summary_counts() -> None:
    dialogue = exchanges(6, _2={"summary": "old"}, _4={"summary": "new"})
    assert summary_start(dialogue) == 4
    assert summary_start(exchanges(3)) == 0
    assert with_summary(dialogue[4]).user.endswith("new\n\nquestion 4")
    assert with_summary(dialogue[3]) == dialogue[3]


def message(id: int, role: str = "user", **changes: object) -> Message:
    values = {"parent": id - 1 or None, "text": "text", "status": "complete", "created": 0.0}
    return Message(id=id, conversation=1, role=role, **(values | changes))  # type: ignore[arg-type]


def test_pins_and_summaries_of_messages_belong_to_their_exchange() -> None:
    path = [
        message(1, summary="so far"),
        message(2),
        message(3, "assistant", pinned=True),
        message(4, pinned=True),
        message(5, "assistant", text=" "),
    ]
    first, last = turns(path)
    assert (first.pinned, first.summary, first.user) == (True, "so far", "text\n\ntext")
    assert (last.pinned, last.answer) == (True, None)


def test_the_latest_answer_that_had_a_prompt_says_what_was_seen() -> None:
    gap = {"window_from": 3, "window_gaps": [[1, 3]], "window_summary": 3}
    path = [
        message(1),
        message(2, "assistant", model={"name": "m"}, parameters={}),
        message(3),
        message(4, "assistant", model={"name": "m"}, parameters=gap),
        message(5),
        message(6, "assistant", status="failed"),
    ]
    assert recorded(path) == Seen(((1, 3),), 3)
    assert recorded(path[:3]) == Seen()
    older = message(7, "assistant", model={"name": "m"}, parameters={"window_from": 5})
    assert recorded([*path, older]) == Seen(((1, 5),))
    odd = message(
        7, "assistant", model={"name": "m"}, parameters={"window_gaps": [[1], "x", [2, 4]]}
    )
    assert recorded([*path, odd]) == Seen(((2, 4),))
