"""How threads wait, with the real library: the switch, the guard, and a quiet worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import llama_cpp.llama_cpp as L
import psutil
import pytest
from tests.engine.conftest import load

from corral.engine.engine import Engine
from corral.engine.llama.computing import NICE
from corral.engine.llama.waiting import Guard, Waits
from corral.engine.process import worker_environment
from corral.engine.protocol import Delta, Sampling
from corral.engine.threads import usable_cores

FOLDER = Path(L._lib._name).parent


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end and not condition():
        time.sleep(0.01)
    return condition()


@pytest.fixture
def waits() -> Waits:
    """Of a build with GNU OpenMP, the usual one on Linux."""
    found = Waits(FOLDER, {})
    if not found.switchable:
        pytest.skip("ggml was built without GNU OpenMP")
    return found


def test_short_waits_are_a_team_that_sleeps(waits: Waits) -> None:
    own = psutil.Process()
    before = own.num_threads()
    waits.set_short(True)
    assert waits.short
    # More threads than processors are what makes libgomp wait shortly.
    assert own.num_threads() >= before + len(own.cpu_affinity())
    waits.set_short(True)
    waits.set_short(False)
    assert not waits.short
    assert eventually(lambda: own.num_threads() <= before)


def test_who_chose_a_policy_keeps_it() -> None:
    assert not Waits(FOLDER, {"OMP_WAIT_POLICY": "passive"}).switchable
    chosen = worker_environment({"OMP_WAIT_POLICY": "active"})
    assert "GOMP_SPINCOUNT" not in chosen
    assert worker_environment({"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"
    assert int(worker_environment({})["GOMP_SPINCOUNT"]) > 1000
    others = "glibc.malloc.arena_max=2"
    assert worker_environment({"GLIBC_TUNABLES": others})["GLIBC_TUNABLES"].startswith(others + ":")
    off = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert worker_environment(off)["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=0"


def huge_pages_are_given() -> bool:
    """To who asks: the system knows them, and glibc is new enough to ask."""
    try:
        enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        return False
    return "[never]" not in enabled and name == "glibc" and float(version) >= 2.35


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
async def test_the_cache_lies_in_huge_pages(engine: Engine, starter: Path) -> None:
    if not huge_pages_are_given():
        pytest.skip("this system gives no huge pages")
    await load(engine, starter, n_ctx=2048)
    rollup = Path(f"/proc/{engine.pid}/smaps_rollup").read_text()
    (line,) = (line for line in rollup.splitlines() if line.startswith("AnonHugePages"))
    assert int(line.split()[1]) > 16 * 1024  # kB, of 45 MB for the cells


def test_another_library_has_no_switch(tmp_path: Path) -> None:
    for found in (Waits(tmp_path, {}), Waits(tmp_path / "missing", {})):
        found.set_short(True)
        assert not found.switchable and not found.short


def test_a_step_that_takes_too_long_gets_short_waits(waits: Waits) -> None:
    guard = Guard(waits)
    guard.begin(60.0, time.perf_counter())
    guard.end()
    assert not waits.short
    for _ in range(2):  # The guard is still there for the next one.
        guard.begin(0.02, time.perf_counter())
        assert eventually(lambda: waits.short)
        guard.end()
        waits.set_short(False)
    assert not waits.short


async def test_a_quiet_worker_is_polite_and_uses_fewer_threads(
    engine: Engine, starter: Path
) -> None:
    loaded = await load(engine, starter, pace="quiet")
    assert engine.pid is not None
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [thread.id for thread in psutil.Process(engine.pid).threads()]
    polite = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
    assert max(polite) == min(19, usual + NICE)
    assert loaded.threads == max(1, usable_cores() // 2)


async def test_neither_threads_nor_waits_change_the_text(engine: Engine, starter: Path) -> None:
    texts = []
    for threads in (0, 1, 2):
        await load(engine, starter, threads=threads, flash_attn="on")
        text = ""
        async for event in engine.generate(
            [1, 4093, 198, *range(1000, 1024)], Sampling(temperature=0), max_tokens=24
        ):
            text += event.text if isinstance(event, Delta) else ""
        texts.append(text)
    assert len(texts[0]) > 20 and texts == [texts[0]] * 3
