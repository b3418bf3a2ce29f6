"""Methods that move children wait for one another."""

from __future__ import annotations

import asyncio

import pytest

from corral.tui.widgets.alone import alone


class Shelf:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @alone
    async def put(self, name: str) -> str:
        self.seen.append(f"{name} begins")
        await asyncio.sleep(0.01)
        self.seen.append(f"{name} ends")
        return name

    @alone
    async def put_two(self) -> None:
        await self.put("a")
        await self.put("b")

    @alone
    async def fail(self) -> None:
        raise ValueError


async def test_one_runs_at_a_time_and_may_call_the_others() -> None:
    shelf = Shelf()
    await asyncio.gather(shelf.put_two(), shelf.put("c"))
    names = ("a", "b", "c")
    assert shelf.seen == [f"{name} {what}" for name in names for what in ("begins", "ends")]


async def test_a_failure_lets_the_next_one_run() -> None:
    shelf = Shelf()
    with pytest.raises(ValueError):
        await shelf.fail()
    assert await shelf.put("d") == "d"
