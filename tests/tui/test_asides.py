"""Calls beside the loop that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from corral.errors import NetworkError
from corral.tui.asides import aside


async def test_it_gives_what_the_call_gives() -> None:
    assert await aside(lambda a, b: a + b, 2, 3) == 5


async def test_it_raises_what_the_call_raises() -> None:
    def call() -> None:
        raise NetworkError("The hub is away")

    with pytest.raises(NetworkError, match="The hub is away"):
        await aside(call)


async def test_whoever_leaves_is_not_told() -> None:
    go = threading.Event()
    task = asyncio.create_task(aside(go.wait, 10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await asyncio.sleep(0.05)


def test_the_end_of_the_program_does_not_wait() -> None:
    program = (
        "import asyncio, time\n"
        "from corral.tui.asides import aside\n"
        "async def main():\n"
        "    task = asyncio.create_task(aside(time.sleep, 60))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
