"""Stopping a command from outside: the first signal ends it in order, the second one at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


class Signals:
    """Ctrl+C, a request to end, and a terminal that went away, for the running event loop.

    Args:
        stop: ends the work and keeps what there is; called at the first of them.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self.number = 0
        """Which one came; 0 for none."""
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if number := getattr(signal, name, None):
                try:
                    self._loop.add_signal_handler(number, self._came, number)
                except (NotImplementedError, RuntimeError, ValueError):
                    return

    def _came(self, number: int) -> None:
        self.number = number
        self._loop.remove_signal_handler(number)  # The next one is the system's.
        self._stop()
