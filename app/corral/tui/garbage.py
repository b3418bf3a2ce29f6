"""Python looks for garbage when nobody waits for the screen.

A look through all objects of a conversation of 3,000 messages takes a tenth of a second, in which
no key is echoed; by itself Python takes one every few seconds while an answer is written. What has
no cycles is freed at once, as ever.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

THRESHOLDS = (2_000, 10, 1_000_000)
"""Of Python's three generations. The young ones are looked through by themselves, the old one
almost never. A look at the second takes up to 5 ms; with ten times as many objects, which were no
fewer in all, it took 60 while an answer was painted, and a key waited for it."""
QUIET_SECONDS = 3.0
"""After a key or an answer, before the old ones are looked through."""
MOST = 5_000
"""Looks at the middle generation after which nobody's patience counts any more: some hundred
million objects were made since the last time."""


class Garbage:
    """Settles when it is looked for.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._disturbed = clock()

    def begin(self) -> None:
        """The program is there: what it consists of stays, and is never looked through."""
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()

    def disturb(self) -> None:
        """The person did something, or something is written before their eyes."""
        self._disturbed = self._clock()

    def tidy(self) -> bool:
        """Look through everything if it is time; says whether it did."""
        looks = gc.get_count()[2]
        quiet = self._clock() - self._disturbed > QUIET_SECONDS
        if looks == 0 or not (quiet or looks > MOST):
            return False
        gc.collect()
        return True
