"""How far a load is and how long it still takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from corral.turn import Working

T = TypeVar("T")

TICK_SECONDS = 0.5
"""How often is told how long it still takes while llama.cpp says nothing."""
WORTH_MEASURING = 0.2
"""Seconds; what is quicker says nothing about the disk."""
_SURE = 0.05
"""Share of the file from which on the time it took tells something."""


class Pace:
    """One load.

    llama.cpp's fraction counts mapped tensors, whose pages are read later: it runs ahead, and the
    rate of the last load sees through that.

    Args:
        size: bytes of the file.
        rate: bytes a second of the last load, where it is known.
    """

    def __init__(self, clock: Callable[[], float], size: int, rate: float | None) -> None:
        self._clock = clock
        self._size = size
        self._started = clock()
        self._expected = size / rate if rate else None

    def working(self, fraction: float) -> Working:
        """What there is to tell at this fraction of 1."""
        elapsed = self._clock() - self._started
        by_rate = max(0.0, self._expected - elapsed) if self._expected is not None else None
        if fraction < _SURE:
            return Working("loading", fraction, 1.0, by_rate)
        by_fraction = elapsed * (1 - fraction) / fraction
        return Working("loading", fraction, 1.0, max(by_fraction, by_rate or 0.0))

    def rate(self) -> float | None:
        """Bytes a second up to now; None where it took no time."""
        elapsed = self._clock() - self._started
        return self._size / elapsed if elapsed > WORTH_MEASURING and self._size else None


async def ticking(
    events: AsyncGenerator[T, None], seconds: float = TICK_SECONDS
) -> AsyncGenerator[T | None, None]:
    """The events, and None where none came for some time. Closing it closes them."""
    task: asyncio.Future[T] | None = None
    try:
        while True:
            task = task or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait((task,), timeout=seconds)
            if not done:
                yield None
                continue
            try:
                event = task.result()
            except StopAsyncIteration:
                return
            finally:
                task = None
            yield event
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await events.aclose()
