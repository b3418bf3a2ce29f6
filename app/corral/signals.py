"""What asks a program from outside to stop: Ctrl+C, a request to end, a terminal that went away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable
from types import FrameType

COMMAND = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Those that end a command in order. SIGBREAK is what Windows has for all but Ctrl+C."""
SCREEN = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGBREAK")
"""Those that a screen leaves by."""


def handle(names: Iterable[str], handler: Callable[[int], object]) -> None:
    """Call ``handler`` with the number of each of these signals, in the running event loop.

    Not every system has every signal, and threads other than the main one take no handlers: there
    the system's own way stays.
    """
    loop = asyncio.get_running_loop()
    for name in names:
        if (number := getattr(signal, name, None)) is not None:
            with contextlib.suppress(RuntimeError, ValueError):
                try:
                    loop.add_signal_handler(number, handler, number)
                except NotImplementedError:  # Windows' event loop
                    signal.signal(number, _into(loop, handler))


def release(number: int) -> None:
    """Leave a signal to the system again."""
    try:
        asyncio.get_running_loop().remove_signal_handler(number)
    except NotImplementedError:  # Windows' event loop
        _restore(number)


def _into(
    loop: asyncio.AbstractEventLoop, handler: Callable[[int], object]
) -> Callable[[int, FrameType | None], None]:
    """A handler for the system, which runs the other one in the loop as long as there is one."""

    def came(number: int, _frame: FrameType | None) -> None:
        try:
            loop.call_soon_threadsafe(handler, number)
        except RuntimeError:  # It is closed.
            _restore(number)
            signal.raise_signal(number)

    return came


def _restore(number: int) -> None:
    own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, own)


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
        release(number)  # The next one is the system's.
        self._stop()
