"""Pairs of measurements that take turns, and what is said about them."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median
from typing import Any

import psutil

from corral.benching.report import processor_name

ROUNDS = int(os.environ.get("CORRAL_BENCH_ROUNDS", "5"))
"""Pairs a figure; five are the least that a median means something of."""
QUIET_SHARE = 8.0
QUIET_SECONDS = float(os.environ.get("CORRAL_BENCH_QUIET", "3"))
"""How long to wait before a pair until the machine does nothing else; it is measured anyway."""


@dataclass
class Pairs:
    """Two things measured in turn; ``ours`` and ``theirs`` are in the same unit."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """Percent of the machine that others used just before each pair."""

    @property
    def ratio(self) -> float:
        """Median of ours ÷ theirs, pair by pair: what slowed both counts in neither."""
        return median(o / t for o, t in zip(self.ours, self.theirs, strict=True))

    @property
    def spread(self) -> str:
        """Lowest and highest ratio of a pair."""
        ratios = [o / t for o, t in zip(self.ours, self.theirs, strict=True)]
        return f"{min(ratios):.2f}–{max(ratios):.2f}"

    def samples(self) -> dict[str, list[float]]:
        """For the JSON."""
        return {"ours": self.ours, "theirs": self.theirs, "busy": self.busy}


async def alternate(
    ours: Callable[[], Awaitable[float]],
    theirs: Callable[[], float] | Callable[[], Awaitable[float]],
    *,
    rounds: int = ROUNDS,
    warm: int = 1,
) -> Pairs:
    """Measure both in turn, each first in every second round.

    Args:
        theirs: blocking, then it runs in a thread; or a coroutine function.
        warm: rounds before, that do not count: files come into the page cache, threads settle.
    """
    pairs = Pairs()

    async def other() -> float:
        if asyncio.iscoroutinefunction(theirs):
            return float(await theirs())
        return float(await asyncio.to_thread(theirs))  # type: ignore[arg-type]

    for number in range(-warm, rounds):
        busy = await asyncio.to_thread(quiet)
        if number % 2:
            second = await other()
            first = await ours()
        else:
            first = await ours()
            second = await other()
        if number >= 0:
            pairs.ours.append(first)
            pairs.theirs.append(second)
            pairs.busy.append(busy)
    return pairs


def quiet() -> float:
    """Wait, not for long, until nothing else is busy. Gives the percentage that still is."""
    end = time.monotonic() + QUIET_SECONDS
    while (share := psutil.cpu_percent(0.15)) > QUIET_SHARE and time.monotonic() < end:
        pass
    return share


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with which versions."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "load": [round(value, 2) for value in psutil.getloadavg()],
        "python": platform.python_version(),
        "llama-cpp-python": metadata.version("llama-cpp-python"),
        "textual": metadata.version("textual"),
        "corral": metadata.version("corral"),
    }
