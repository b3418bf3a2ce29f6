"""When an application under test has nothing left to do.

Textual's own answer compares clocks, 20 ms at a time and longer where a machine is busy, after
every key and every pause of a test. The event loop knows it exactly.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from textual import _wait, app, pilot

WAIT = _wait.SLEEP_GRANULARITY
"""Seconds after the last thing that happened for which timers and threads are waited for."""
LONG = 10 * WAIT
"""Seconds after which the clocks decide, as in Textual."""
ROUNDS = 3
"""Rounds of the loop in which nothing may turn up."""


async def wait_for_idle(min_sleep: float = WAIT, max_sleep: float = 1.0) -> None:
    """Wait until nothing is ready, no timer is about to ring and no thread is at work."""
    loop: Any = asyncio.get_running_loop()
    started = last = monotonic()
    quiet = 0
    while quiet < ROUNDS:
        await asyncio.sleep(0)
        now = monotonic()
        if loop._ready:
            quiet, last = 0, now
        elif now < last + WAIT and (_working(loop) or _rings(loop, last + WAIT)):
            quiet = 0
            await asyncio.sleep(0.001)
        elif _working(loop):
            break
        else:
            quiet += 1
        if now > started + LONG:
            break
    else:
        return
    await _wait.wait_for_idle(0, max_sleep)


def _working(loop: Any) -> bool:
    """Whether a thread of the loop's executor has something to do."""
    executor = loop._default_executor
    if executor is None:
        return False
    idle = executor._idle_semaphore._value
    return len(executor._threads) > idle or not executor._work_queue.empty()


def _rings(loop: Any, until: float) -> bool:
    """Whether a timer will, by then."""
    return any(timer._when < until and not timer._cancelled for timer in loop._scheduled)


def install() -> None:
    """Let Textual's pilots ask the loop."""
    for module in (app, pilot):
        module.wait_for_idle = wait_for_idle  # type: ignore[attr-defined]
