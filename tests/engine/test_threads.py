"""The thread governor against simulated machines: no clock, no native code."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from corral.engine.threads import NeighbourMeter, ThreadGovernor, usable_cores


def run(
    governor: ThreadGovernor, machine: Callable[[int, float], float], seconds: float
) -> tuple[int, list[int]]:
    """Tokens computed in the given time on a machine, and the threads of every step."""
    clock, tokens, used = 0.0, 0, []
    while clock < seconds:
        used.append(governor.threads)
        cost = machine(governor.threads, clock)
        clock += cost
        tokens += 1
        governor.note(cost)
    return tokens, used


def idle(threads: int, _now: float) -> float:
    return 0.012 / threads


def busy(threads: int, _now: float) -> float:
    """Two cores, one of them taken: the second thread holds up the first."""
    return 0.012 if threads == 1 else 0.025


def test_an_idle_machine_gets_all_its_cores() -> None:
    tokens, used = run(ThreadGovernor(2), idle, 10)
    assert tokens > 0.97 * 10 / idle(2, 0)
    assert used[-1] == 2


def test_a_busy_machine_gets_what_is_fastest() -> None:
    tokens, used = run(ThreadGovernor(2), busy, 10)
    assert tokens > 0.9 * 10 / busy(1, 0)
    assert used[-1] == 1 or used.count(1) > 0.9 * len(used)


def test_a_neighbour_that_comes_and_goes_is_followed() -> None:
    def machine(threads: int, now: float) -> float:
        return busy(threads, now) if 5 < now < 15 else idle(threads, now)

    tokens, used = run(ThreadGovernor(2), machine, 30)
    best = 5 / idle(2, 0) + 10 / busy(1, 0) + 15 / idle(2, 0)
    assert tokens > 0.85 * best
    assert used[-1] == 2


def test_a_collapse_is_left_after_one_step() -> None:
    def machine(threads: int, _now: float) -> float:
        return 0.012 if threads == 1 else 2.0

    _, used = run(ThreadGovernor(2), machine, 60)
    assert used.count(2) < 12


def test_an_unsuspicious_start_wastes_no_step() -> None:
    _, used = run(ThreadGovernor(2, suspicious=False), idle, 5)
    assert set(used) == {2}
    _, used = run(
        ThreadGovernor(2, suspicious=False), lambda t, now: (idle if now < 1 else busy)(t, now), 10
    )
    assert used[-1] == 1


def test_a_neighbour_is_measured() -> None:
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = NeighbourMeter()
        time.sleep(0.5)
        assert meter.cores() > 0.25
    finally:
        spinner.kill()
        spinner.wait()


def test_many_cores_with_one_neighbour() -> None:
    def machine(threads: int, _now: float) -> float:
        return 0.08 / threads if threads <= 7 else 0.04

    tokens, _ = run(ThreadGovernor(8), machine, 20)
    assert tokens > 0.8 * 20 / machine(7, 0)


def test_a_growing_context_is_no_neighbour() -> None:
    governor = ThreadGovernor(4)
    moves = 0
    for step in range(2000):
        before = governor.threads
        governor.note((0.01 + step * 0.00001) / governor.threads)
        moves += governor.threads != before
    assert moves < 8


def test_a_number_the_person_chose_is_kept() -> None:
    _, used = run(ThreadGovernor(2, fixed=True), busy, 3)
    assert set(used) == {2}


@pytest.mark.parametrize(
    ("quota", "period", "cores"), [("200000", "100000", 2), ("50000", "100000", 1)]
)
def test_a_cgroup_quota_counts(
    quota: str, period: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corral.engine import threads

    monkeypatch.setattr(threads, "_cgroup_quota", lambda: float(quota) / float(period))
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8)
    assert usable_cores() == cores
