"""Copying by two roads: the system's own clipboard, and the terminal's (OSC 52)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping

TIMEOUT = 3.0
"""How long a clipboard program of the system may take."""

LIMIT = 1_000_000
"""Longest text, in characters, that is sent through the terminal; many cut far earlier."""


def system_copy(text: str) -> None:
    """Put text on the system's clipboard; raises whatever stands in the way."""
    import pyperclip

    pyperclip.copy(text)


def osc52_understood(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal may understand OSC 52; those that surely do not say who they are."""
    return environment.get("TERM_PROGRAM") != "Apple_Terminal" and environment.get(
        "TERM", ""
    ) not in ("dumb", "linux", "vt100", "vt220")


async def copy_natively(text: str, copy: Callable[[str], None]) -> bool:
    """Run a copy that may block or fail in a thread that nothing waits for at the end.

    Returns:
        Whether it worked within :data:`TIMEOUT`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def tell(worked: bool) -> None:
        if not done.done():
            done.set_result(worked)

    def run() -> None:
        worked = True
        try:
            copy(text)
        except Exception:  # any of a dozen clipboard programs may be missing or broken
            worked = False
        with contextlib.suppress(RuntimeError):  # the program has ended meanwhile
            loop.call_soon_threadsafe(tell, worked)

    threading.Thread(target=run, name="clipboard", daemon=True).start()
    try:
        async with asyncio.timeout(TIMEOUT):
            return await done
    except TimeoutError:
        return False
