"""This machine as the engine sees it, for commands that say what it can run."""

from __future__ import annotations

import asyncio
import contextlib

from corral.cli.output import StatusLine
from corral.errors import EngineError
from corral.parts import Parts


def look(parts: Parts) -> None:
    """Have the parts know the graphics cards, and how fast it all is; measured once."""
    asyncio.run(_look(parts))


async def _look(parts: Parts) -> None:
    status = StatusLine()
    status.show("Looking at this machine …")
    try:
        # Without an engine there are no graphics cards; the rest is known all the same.
        with contextlib.suppress(EngineError):
            await parts.calibrate()
    finally:
        status.clear()
        await parts.engine.close()
