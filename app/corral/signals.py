"""What asks a program from outside to stop: Ctrl+C, a request to end, a terminal that went away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable

COMMAND = ("SIGINT", "SIGTERM", "SIGHUP")
"""Those that end a command in order."""
SCREEN = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")
"""Those that a screen leaves by."""


def handle(names: Iterable[str], handler: Callable[[int], object]) -> None:
    """Call ``handler`` with the number of each of these signals, in the running event loop.

    Not every system has every signal, and Windows' event loop and threads other than the main one
    take no handlers: there the system's own way stays.
    """
    loop = asyncio.get_running_loop()
    for name in names:
        if (number := getattr(signal, name, None)) is not None:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, handler, number)


class Signals:
    """The first signal ends a command in order, the second one at once.

    Args:
        stop: ends the work and keeps what there is; called at the first of them.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self.number = 0
        """Which one came; 0 for none."""
        self._stop = stop
        handle(COMMAND, self._came)

    def _came(self, number: int) -> None:
        self.number = number
        asyncio.get_running_loop().remove_signal_handler(number)  # The next one is the system's.
        self._stop()
