"""Which exchanges the model still sees when a conversation outgrows its context window."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


def answer_reserve(n_ctx: int, max_tokens: int) -> int:
    """Tokens kept free for the answer: as asked for, else a quarter of the window up to 512."""
    usual = min(512, n_ctx // 4)
    return min(max_tokens, n_ctx // 2) if max_tokens else usual


async def first_that_fits(
    count: int, budget: int, cost: Callable[[int], Awaitable[int]]
) -> tuple[int, int]:
    """The smallest number of oldest exchanges to leave out, and the tokens of what stays.

    Args:
        count: exchanges in the dialogue, at least one.
        budget: tokens the prompt may have.
        cost: tokens of the prompt that starts at exchange ``i``; falls as ``i`` grows.

    Returns:
        ``(i, tokens)``. ``tokens`` is over the budget only where not even the last one fits alone.
    """
    tokens = await cost(0)
    if tokens <= budget or count == 1:
        return 0, tokens
    # From the end, twice as many each time: what has no chance is large, and costs the most.
    low, high = 1, count - 1
    best = tokens = await cost(high)
    if tokens > budget:
        return high, tokens
    kept = 2
    while tokens <= budget and low < high:
        start = max(low, count - kept)
        tokens = await cost(start)
        if tokens <= budget:
            high, best = start, tokens
            kept *= 2
        else:
            low = start + 1
    while low < high:
        middle = (low + high) // 2
        tokens = await cost(middle)
        if tokens <= budget:
            high, best = middle, tokens
        else:
            low = middle + 1
    return high, best
