"""Which exchanges the model still sees when a conversation outgrows its context window."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple, get_args

from corral.chat.conversation import Message
from corral.chat.formats import Turn

Policy = Literal["drop", "stop", "ends", "summarise"]
"""What happens at the limit: the oldest exchanges go, nothing more is sent, the middle goes, or
the model condenses what goes."""

POLICIES: tuple[Policy, ...] = get_args(Policy)
USUAL: Policy = "drop"

TITLES: dict[Policy, str] = {
    "drop": "drop oldest turns",
    "stop": "stop at the limit",
    "ends": "keep the ends",
    "summarise": "summarise",
}

EXPLAINED: dict[Policy, str] = {
    "drop": "The oldest exchanges go; the system prompt and pinned messages stay",
    "stop": "Nothing is left out: a message that no longer fits is not sent",
    "ends": "The first exchange and the last ones stay, the middle goes",
    "summarise": "The model condenses what goes; you can read and edit the summary",
}

Gap = tuple[int, int]
"""Messages that the model does not see: from the first one up to, without, the second one."""

SUMMARY_INTRO = "Summary of our conversation so far:"
"""Stands before a summary in what the model sees."""


class Seen(NamedTuple):
    """What a model sees of a path."""

    gaps: tuple[Gap, ...] = ()
    summary_at: int | None = None
    """The message before which a summary stands for what is above."""


def always_kept(policy: Policy, dialogue: Sequence[Turn]) -> frozenset[int]:
    """The exchanges, by number, that no policy leaves out by itself."""
    kept = {number for number, turn in enumerate(dialogue) if turn.pinned}
    if policy == "ends" and dialogue:
        kept.add(0)
    return frozenset(kept)


def seen(count: int, start: int, kept: Collection[int]) -> list[int]:
    """The exchanges that are seen where those before ``start`` go, but for the kept ones."""
    return [number for number in range(count) if number >= start or number in kept]


def gaps(dialogue: Sequence[Turn], numbers: Sequence[int]) -> tuple[Gap, ...]:
    """What is left out of a dialogue of which the exchanges ``numbers`` are seen, the last one
    among them."""
    found: list[Gap] = []
    expected = 0
    for number in numbers:
        if number > expected:
            found.append((dialogue[expected].first_message, dialogue[number].first_message))
        expected = number + 1
    return tuple(found)


def summary_start(dialogue: Sequence[Turn]) -> int:
    """The last exchange that has a summary of what is above it; 0 where none has."""
    numbers = (number for number in reversed(range(len(dialogue))) if dialogue[number].summary)
    return next(numbers, 0)


def with_summary(turn: Turn) -> Turn:
    """The exchange with its summary in front of what the person said: every format knows that
    place, and what was evaluated before it stays of use."""
    if not turn.summary.strip():
        return turn
    return turn._replace(user=f"{SUMMARY_INTRO}\n{turn.summary.strip()}\n\n{turn.user}")


def recorded(path: Sequence[Message]) -> Seen:
    """What the model saw when it wrote the last answer of a path.

    Only an answer that got as far as its prompt knows what was left out.
    """
    for message in reversed(path):
        if message.role == "assistant" and message.model:
            return _recorded(message.parameters or {}, path)
    return Seen()


def _recorded(parameters: dict[str, Any], path: Sequence[Message]) -> Seen:
    summary = parameters.get("window_summary")
    at = summary if isinstance(summary, int) else None
    stored = parameters.get("window_gaps")
    if isinstance(stored, list):
        found = [
            (gap[0], gap[1])
            for gap in stored
            if isinstance(gap, list) and len(gap) == 2 and all(isinstance(id, int) for id in gap)
        ]
        return Seen(tuple(found), at)
    first = parameters.get("window_from")
    return Seen(((path[0].id, first),), at) if isinstance(first, int) and path else Seen((), at)


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
