"""Several models in memory: which one answers, what is kept, and what is let go."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from tests.engine.conftest import load
from tests.support.gguf_files import LLAMA_7B, sparse_llama
from tests.support.limited import limited

from corral.engine.engine import Engine, EngineStopped, OutOfMemory
from corral.engine.process import WorkerEnded
from corral.engine.protocol import Delta, Finished, LoadSpec, Progress, Sampling
from corral.errors import EngineDied

GREEDY = Sampling(temperature=0)
PROMPT = list(range(5000, 5200))


async def say(engine: Engine, tokens: list[int]) -> Finished:
    last = None
    async for event in engine.generate(tokens, GREEDY, max_tokens=2):
        last = event
    assert isinstance(last, Finished)
    return last


async def test_a_warm_model_is_there_at_once_with_what_it_read(
    engine: Engine, starter: Path, q8: Path
) -> None:
    started = time.perf_counter()
    await load(engine, starter)
    await say(engine, PROMPT)
    begun = time.perf_counter()
    await load(engine, q8)
    cold = time.perf_counter() - begun
    await say(engine, PROMPT)
    pids = engine.pid
    begun = time.perf_counter()
    await load(engine, starter)
    warm = time.perf_counter() - begun
    assert engine.pid != pids
    again = await say(engine, PROMPT)
    assert again.usage.reused_tokens == len(PROMPT) - 1
    print(f"cold {cold * 1000:.0f} ms, warm {warm * 1000:.2f} ms, ratio {warm / cold:.5f}")
    assert warm < cold / 10
    assert [Path(spec.path) for spec in engine.loaded_specs] == [starter, q8]
    assert time.perf_counter() - started < 60


async def test_what_the_models_hold_is_known(engine: Engine, starter: Path, q8: Path) -> None:
    await load(engine, starter)
    await load(engine, q8)
    one, other = engine.held()
    assert (Path(one.spec.path), Path(other.spec.path)) == (q8, starter)
    # Weights are mapped or, where llama.cpp repacks them, private: together they are all there.
    for held in (one, other):
        assert held.private + held.mapped > 0.9 * Path(held.spec.path).stat().st_size
    assert engine.releasable() == pytest.approx(
        sum(held.private + held.mapped for held in (one, other)), rel=0.1
    )
    assert await engine.spare_bytes() >= 0.9 * (one.private + other.private)


async def test_a_discarded_model_is_gone_and_the_other_goes_on(
    engine: Engine, starter: Path, q8: Path
) -> None:
    await load(engine, starter)
    first = engine.pid
    await load(engine, q8)
    await engine.discard(LoadSpec(path=str(starter), n_ctx=1024))
    assert first is not None and not psutil.pid_exists(first)
    assert [Path(spec.path) for spec in engine.loaded_specs] == [q8]
    await say(engine, PROMPT)
    await engine.discard(LoadSpec(path=str(q8), n_ctx=1024))
    assert engine.loaded_spec is None
    with pytest.raises(EngineDied, match="No model"):
        await say(engine, PROMPT)


async def test_one_worker_a_file(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    await load(engine, starter, n_ctx=512)
    assert [spec.n_ctx for spec in engine.loaded_specs] == [512]


async def test_nothing_is_kept_where_that_is_not_wanted(
    tmp_path: Path, starter: Path, q8: Path
) -> None:
    engine = Engine(tmp_path / "engine.log", keep_warm=False)
    await load(engine, starter)
    await load(engine, q8)
    assert [Path(spec.path) for spec in engine.loaded_specs] == [q8]
    await engine.close()


async def test_who_is_not_used_is_let_go(tmp_path: Path, starter: Path, q8: Path) -> None:
    engine = Engine(tmp_path / "engine.log", idle_seconds=1.5)
    await load(engine, starter)
    await load(engine, q8)
    async with asyncio.timeout(20):
        async for event in engine.generate(PROMPT, Sampling(seed=1, temperature=1.5)):
            # The one that works is never idle; the other one is.
            if isinstance(event, Delta) and len(engine.loaded_specs) == 1:
                break
        assert [Path(spec.path) for spec in engine.loaded_specs] == [q8]
        while engine.loaded_specs:
            await asyncio.sleep(0.05)
    assert engine.pid is None
    await load(engine, q8)
    await say(engine, PROMPT)
    await engine.close()
    assert psutil.Process().children() == []


async def test_the_current_model_stays_when_another_one_fails(
    engine: Engine, starter: Path, tmp_path: Path
) -> None:
    await load(engine, starter)
    before = engine.loaded_spec, engine.pid
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + os.urandom(4096))
    with pytest.raises(Exception, match="could not be loaded"):
        await load(engine, junk)
    assert (engine.loaded_spec, engine.pid) == before
    await say(engine, PROMPT)


@pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, OutOfMemory), (signal.SIGSEGV, WorkerEnded)]
)
async def test_a_worker_that_dies_while_it_loads(
    engine: Engine, starter: Path, tmp_path: Path, number: signal.Signals, error: type[Exception]
) -> None:
    await load(engine, starter)
    keeps = engine.pid
    sparse = sparse_llama(tmp_path / "7b.gguf", LLAMA_7B, "Q4_0")
    spec = LoadSpec(path=str(sparse), n_ctx=256, load_mode="read")
    with pytest.raises(error):
        async for event in engine.load(spec):
            if isinstance(event, Progress) and event.done < 1:
                for child in psutil.Process().children():
                    if child.pid != keeps:
                        os.kill(child.pid, number)
    assert engine.pid == keeps
    await say(engine, PROMPT)


@pytest.mark.parametrize("how", ["stop", "leave", "cancel"])
async def test_the_load_of_a_big_file_is_stopped_within_a_second(
    engine: Engine, starter: Path, tmp_path: Path, how: str
) -> None:
    await load(engine, starter)
    sparse = sparse_llama(tmp_path / "7b.gguf", LLAMA_7B, "Q4_0")
    stopped = 0.0
    reading = asyncio.Event()

    async def read() -> None:
        nonlocal stopped
        spec = LoadSpec(path=str(sparse), n_ctx=256, load_mode="read")
        events = engine.load(spec)
        try:
            async for event in events:
                assert isinstance(event, Progress), "the load was not stopped"
                stopped = stopped or time.monotonic()
                reading.set()
                if how == "stop":
                    engine.stop()
                elif how == "leave":
                    break
        finally:
            await events.aclose()

    task = asyncio.create_task(read())
    async with asyncio.timeout(20):
        await reading.wait()
        if how == "cancel":
            task.cancel()
            stopped = time.monotonic()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
    assert time.monotonic() - stopped < 5
    if how == "stop":
        assert isinstance(result, EngineStopped)
    assert [Path(spec.path) for spec in engine.loaded_specs] == [starter]
    await say(engine, PROMPT)


async def test_an_answer_ends_a_probe_and_is_not_behind_it(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    answering = engine.pid
    probe = asyncio.create_task(engine.probe())
    while engine._probing is None or engine._probing._active is None:
        await asyncio.sleep(0.01)
    assert engine._probing.worker.pid != answering
    await say(engine, PROMPT)
    with pytest.raises(EngineStopped):
        await probe
    assert engine.pid == answering
    # A load does not wait for it either, and none of it counts as a stop of the load. A probe that
    # stops at once leaves a worker that may load it; a killed one does not.
    probe = asyncio.create_task(engine.probe())
    while engine._probing is None or engine._probing._active is None:
        await asyncio.sleep(0.01)
    await load(engine, starter, n_ctx=512)
    with pytest.raises(EngineStopped):
        await probe
    assert engine.loaded_spec is not None and engine.loaded_spec.n_ctx == 512
    await say(engine, PROMPT)


async def test_whoever_asks_for_the_devices_does_not_wait_for_an_answer(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter)
    pid = engine.pid
    answer = engine.generate(PROMPT, GREEDY, max_tokens=500)
    async with asyncio.timeout(30):
        assert isinstance(await anext(answer), Progress)
        assert engine.held()
        # Neither the list nor a caller that leaves early disturbs it.
        asking = asyncio.create_task(engine.devices())
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await engine.devices()
        assert engine._current is not None and engine._current.users == 1
        await answer.aclose()
    assert engine.pid == pid
    await say(engine, PROMPT)


async def test_counting_with_another_vocabulary_lets_no_model_go(
    tmp_path: Path, starter: Path, q8: Path
) -> None:
    engine = Engine(tmp_path / "engine.log", keep_warm=False)
    await load(engine, starter)
    await load(engine, q8, vocab_only=True)
    assert str(starter) in [spec.path for spec in engine.loaded_specs]
    await load(engine, q8)
    assert [spec.path for spec in engine.loaded_specs] == [str(q8)]
    await engine.close()


@pytest.fixture
async def poor_engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine.log", command=lambda: limited(1_500_000_000))
    yield engine
    await engine.close()


@pytest.mark.skipif(os.name != "posix", reason="limits are a POSIX matter")
async def test_too_little_memory_is_told_and_less_works(poor_engine: Engine, starter: Path) -> None:
    with pytest.raises(OutOfMemory, match="Memory ran out"):
        await load(poor_engine, starter, n_ctx=65536)
    await load(poor_engine, starter, n_ctx=1024)
    await say(poor_engine, PROMPT)
