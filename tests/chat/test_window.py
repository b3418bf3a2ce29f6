"""The window: the fewest of the oldest exchanges are left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.chat.window import answer_reserve, first_that_fits


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
