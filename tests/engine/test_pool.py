"""Workers that are started ahead, and those that end while nobody waits for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import psutil
import pytest
from tests.engine.conftest import load

from corral.engine import pool
from corral.engine.engine import Engine, EngineStopped
from corral.engine.host import Host
from corral.engine.protocol import LoadSpec, Progress
from corral.errors import CorralError, EngineError


def workers() -> set[int]:
    """Process ids of the living ones."""
    me = psutil.Process()
    return {c.pid for c in me.children() if c.status() != psutil.STATUS_ZOMBIE}


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.02)


def spares(engine: Engine) -> list[int]:
    return [host.worker.pid for host in engine._pool.hosts if host.alive and host.spec is None]


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine that has a spare worker as soon as nobody asks for anything."""
    engine = Engine(tmp_path / "engine.log")
    engine._pool._spare_after = 0.05
    yield engine
    await engine.close()
    assert not workers()


async def test_what_was_started_ahead_is_what_loads(engine: Engine, starter: Path) -> None:
    engine.prepare()
    engine.prepare()
    await until(lambda: spares(engine))
    engine.prepare()
    (spare,) = spares(engine)
    await load(engine, starter)
    assert engine.pid == spare and workers() == {spare}


async def test_a_load_that_begins_at_once_uses_it_too(engine: Engine, starter: Path) -> None:
    engine.prepare()
    await load(engine, starter)
    assert len(workers()) == 1 and not spares(engine)


async def test_all_who_ask_at_once_share_one(engine: Engine) -> None:
    engine.prepare()
    ready, devices = await asyncio.gather(engine.ready(), engine.devices())
    assert {ready.pid} == workers() and devices


async def test_after_a_while_one_waits_for_the_next_model(
    impatient: Engine, starter: Path, q8: Path
) -> None:
    await load(impatient, starter)
    await until(lambda: spares(impatient))
    (spare,) = spares(impatient)
    await load(impatient, q8)
    assert impatient.pid == spare
    # The next wish is prepared for as well.
    await until(lambda: spares(impatient))


async def test_none_waits_where_memory_is_short_or_no_model_is_there(
    impatient: Engine, starter: Path
) -> None:
    impatient._pool._available = lambda: pool.SPARE_MEMORY - 1
    await load(impatient, starter)
    await until(lambda: impatient._pool._calm is None)
    assert impatient._pool._preparing is None and not spares(impatient)
    # It was memory alone.
    impatient._pool._available = lambda: pool.SPARE_MEMORY
    impatient._pool._is_calm()
    assert impatient._pool._preparing is not None
    await until(lambda: spares(impatient))
    for spec in impatient.loaded_specs:
        await impatient.discard(spec)
    await impatient.close()
    impatient._pool._is_calm()
    assert impatient._pool._preparing is None


async def test_it_ends_where_nobody_needs_it(
    engine: Engine, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(engine, starter)
    answers = engine.pid
    monkeypatch.setattr(pool, "SPARE_SECONDS", 0.2)
    engine.prepare()
    await until(lambda: engine._pool._preparing is None)
    await until(lambda: workers() == {answers})
    assert not spares(engine)


async def test_one_that_was_asked_something_ends_too(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine.log", idle_seconds=0)  # Models are kept for ever.
    assert await engine.devices()
    (host,) = engine._pool.hosts
    assert host.timer is not None
    await engine.close()


async def test_all_end_at_the_same_time(engine: Engine) -> None:
    both = asyncio.Barrier(2)

    class Ending:
        async def close(self) -> None:
            await both.wait()

    engine._pool.hosts = [cast("Host", Ending()), cast("Host", Ending())]
    async with asyncio.timeout(60):
        await engine.close()


async def test_asking_again_lets_it_stay(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(pool, "SPARE_SECONDS", 60.0)
    await engine.ready()
    for seconds, at_least in ((60.0, 55), (120.0, 115), (30.0, 110)):
        monkeypatch.setattr(pool, "SPARE_SECONDS", seconds)
        engine.prepare()
        (host,) = engine._pool.hosts
        assert host.timer is not None and host.timer.when() > loop.time() + at_least


async def test_closing_in_the_middle_of_it_leaves_nothing(tmp_path: Path) -> None:
    for turns_of_the_loop in (0, 1, 5, 50):
        engine = Engine(tmp_path / "engine.log")
        engine.prepare()
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        await engine.close()
        assert not workers() and not engine._pool.hosts


async def test_one_that_cannot_start_is_told_to_who_loads(tmp_path: Path, starter: Path) -> None:
    engine = Engine(tmp_path / "engine.log", command=lambda: (str(tmp_path / "nothing"),))
    engine.prepare()
    await until(lambda: engine._pool._preparing is None)
    with pytest.raises(EngineError, match="could not be started"):
        await load(engine, starter)
    await engine.close()


async def test_one_that_ends_by_itself_is_replaced(tmp_path: Path, starter: Path) -> None:
    engine = Engine(tmp_path / "engine.log")
    engine.prepare()
    await until(lambda: spares(engine))
    await engine.ready()
    (spare,) = spares(engine)
    psutil.Process(spare).kill()
    await until(lambda: not spares(engine))
    await load(engine, starter)
    assert engine.pid != spare
    await engine.close()


async def test_without_keeping_warm_the_old_model_stays_until_the_new_one_is_there(
    tmp_path: Path, starter: Path, q8: Path
) -> None:
    engine = Engine(tmp_path / "engine.log", keep_warm=False)
    await load(engine, starter)
    old = engine.pid
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + bytes(4096))
    with pytest.raises(CorralError, match="could not be loaded"):
        await load(engine, junk)
    assert engine.pid == old
    async for event in engine.load(LoadSpec(path=str(q8), n_ctx=1024)):
        if isinstance(event, Progress):
            assert old in workers()
    assert [Path(spec.path) for spec in engine.loaded_specs] == [q8]
    await until(lambda: old not in workers())
    await engine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process has mapped")
async def test_a_worker_brings_nothing_along_that_it_does_not_use(engine: Engine) -> None:
    ready = await engine.ready()
    assert ready.binding.count(".") == 2
    maps = Path(f"/proc/{ready.pid}/maps").read_text()
    assert "libllama" in maps and "numpy" not in maps


async def test_measuring_and_loading_never_meet_in_one_worker(
    engine: Engine, starter: Path
) -> None:
    probe = asyncio.create_task(engine.probe())
    await until(lambda: engine._probing is not None)
    probing = engine._probing
    # The load begins while the worker still gets ready: the measurement gives way.
    assert probing is not None and not probing.worker.ready.done()
    await load(engine, starter)
    with pytest.raises(EngineStopped):
        await probe
    assert engine._current is not probing and engine.loaded_spec is not None


async def test_who_no_longer_asks_for_devices_harms_no_load(engine: Engine, starter: Path) -> None:
    asking = asyncio.create_task(engine.devices())
    await until(lambda: engine._pool.hosts)
    loading = asyncio.create_task(load(engine, starter))
    await asyncio.sleep(0)
    asking.cancel()
    await loading
    assert engine.loaded_spec is not None


async def test_how_long_models_stay_may_change_at_any_time(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    engine.idle_after(0.1)
    await engine.tokenize([("text", "hello")])
    await until(lambda: not engine.loaded_specs)
