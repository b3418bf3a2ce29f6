"""The thread governor against simulated machines: no clock, no native code.

What a machine does in a step was measured on two cores with a small model: the shapes, not the
speed, are what is tested.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from corral.engine.governor import Setting, ThreadGovernor

Machine = Callable[[Setting, float], float]
"""Seconds of a step with a setting at a time."""


def run(
    governor: ThreadGovernor,
    machine: Machine,
    seconds: float,
    *,
    room: Callable[[Setting, float], float] | None = None,
) -> tuple[int, list[Setting]]:
    """Tokens computed in the given time, and the setting of every step."""
    clock, looked, used = 0.0, 0.0, list[Setting]()
    while clock < seconds:
        setting, limit = governor.setting, governor.limit()
        used.append(setting)
        cost = machine(setting, clock)
        if limit is not None and cost > limit and governor_waits(governor):
            # The guard shortens the waits, and the step ends as one with short waits would.
            cost = min(cost, limit + machine(Setting(setting.threads, True), clock))
        clock += cost
        if room is not None and clock > looked + 0.5:
            looked = clock
            governor.hint(room(setting, clock))
        governor.note(cost)
    return len(used), used


def governor_waits(governor: ThreadGovernor) -> bool:
    return governor._waits


class Two:
    """Two cores, without and with neighbours; the costs are seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def _tail(self, least: float, mean: float) -> float:
        return least + self.random.expovariate(1 / (mean - least))

    def idle(self, setting: Setting, _now: float) -> float:
        base = 0.0115 if setting.threads == 1 else 0.0165 if setting.short else 0.0083
        hiccup = self.random.uniform(0.003, 0.02) if self.random.random() < 0.02 else 0.0
        return base * self.random.uniform(0.97, 1.05) + hiccup

    def one(self, setting: Setting, _now: float) -> float:
        """One of the cores is taken: the second thread holds up the first."""
        if setting.threads == 1:
            return 0.0113 * self.random.uniform(0.98, 1.1)
        if setting.short:
            return self._tail(0.012, 0.027)
        return 0.3 if self.random.random() < 0.05 else self._tail(0.014, 0.034)

    def full(self, setting: Setting, _now: float) -> float:
        """Eight processes: two threads that sleep get two shares, and spinning ones collapse."""
        if setting.threads == 1:
            return self._tail(0.03, 0.085)
        return self._tail(0.015, 0.045) if setting.short else self._tail(0.2, 2.0)


def idle_room(setting: Setting, _now: float) -> float:
    return 0.9 if setting.threads == 1 else 0.6 if setting.short else 0.0


def no_room(_setting: Setting, _now: float) -> float:
    return 0.05


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_an_idle_machine_gets_all_its_cores(seed: int, waits: bool) -> None:
    machine = Two(seed)
    tokens, used = run(
        ThreadGovernor(2, suspicious=False, waits=waits), machine.idle, 30, room=idle_room
    )
    assert tokens > 0.97 * 30 / 0.0086
    assert used.count(Setting(2)) > 0.97 * len(used)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("suspicious", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_beside_one_neighbour_one_thread(seed: int, suspicious: bool, waits: bool) -> None:
    tokens, _ = run(
        ThreadGovernor(2, suspicious=suspicious, waits=waits), Two(seed).one, 30, room=no_room
    )
    assert tokens > 0.93 * 30 / 0.0118


@pytest.mark.parametrize("seed", range(3))
def test_on_a_full_machine_the_threads_sleep(seed: int) -> None:
    tokens, used = run(ThreadGovernor(2, waits=True), Two(seed).full, 60, room=no_room)
    assert tokens > 1.1 * 60 / 0.085
    assert used.count(Setting(2, True)) > 0.3 * len(used)
    assert used.count(Setting(2)) < 0.05 * len(used)


@pytest.mark.parametrize("seed", range(3))
def test_a_neighbour_that_comes_and_goes_is_followed(seed: int) -> None:
    machine = Two(seed)

    def busy(now: float) -> bool:
        return 5 < now % 20 < 15

    tokens, _ = run(
        ThreadGovernor(2, suspicious=False, waits=True),
        lambda s, now: machine.one(s, now) if busy(now) else machine.idle(s, now),
        60,
        room=lambda s, now: no_room(s, now) if busy(now) else idle_room(s, now),
    )
    assert tokens > 0.93 * (30 / 0.0086 + 30 / 0.0118)


def test_it_finds_back_where_nothing_tells_of_idle_cores() -> None:
    machine = Two(1)
    _, used = run(
        ThreadGovernor(2, suspicious=False, waits=True),
        lambda s, now: machine.one(s, now) if 1 < now < 6 else machine.idle(s, now),
        20,
    )
    assert used[-1] == Setting(2)


def test_a_collapse_is_left_after_two_steps() -> None:
    def machine(setting: Setting, now: float) -> float:
        return 0.012 if setting.threads == 1 else 2.0 if now > 1 else 0.008

    governor = ThreadGovernor(2, suspicious=False)
    _, used = run(governor, machine, 1.0)
    _, used = run(governor, lambda s, _: machine(s, 2.0), 60)
    assert used[2].threads == 1
    assert used.count(Setting(2)) < 20


def test_a_large_model_spends_little_on_trying() -> None:
    def machine(setting: Setting, _now: float) -> float:
        return 0.45 if setting.threads == 1 else 0.9

    tokens, _ = run(ThreadGovernor(2, waits=True), machine, 300, room=no_room)
    assert tokens > 0.93 * 300 / 0.45


def test_many_cores_with_neighbours_on_half_of_them() -> None:
    def machine(setting: Setting, _now: float) -> float:
        threads = setting.threads
        return 0.08 / threads * (1.1 if setting.short else 1) if threads <= 4 else 0.06

    _, used = run(ThreadGovernor(8, waits=True), machine, 60, room=no_room)
    assert 3 <= used[-1].threads <= 4 or used.count(Setting(4)) > 0.8 * len(used)


@pytest.mark.parametrize("cold", [2.0, 6.0, 40.0])
def test_a_first_step_after_a_pause_is_no_neighbour(cold: float) -> None:
    governor = ThreadGovernor(2, suspicious=False, waits=True)
    used = set[Setting]()
    for _ in range(8):
        governor.resume()
        for step in range(30):
            governor.note(0.12 * (cold if not step else 1.0))
            used.add(governor.setting)
    assert used == {Setting(2)}


def test_a_neighbour_that_came_in_a_pause_is_noticed_all_the_same() -> None:
    machine = Two(4)
    governor = ThreadGovernor(2, suspicious=False, waits=True)
    run(governor, machine.idle, 5.0)
    governor.resume()
    _, used = run(governor, machine.one, 8.0)
    assert sum(setting.threads == 1 for setting in used) > 0.8 * len(used)


def test_a_growing_context_is_no_neighbour() -> None:
    governor = ThreadGovernor(4, suspicious=False, waits=True)
    moves = 0
    for step in range(2000):
        before = governor.setting
        governor.note((0.01 + step * 0.00001) / governor.threads)
        moves += governor.setting != before
    assert moves < 12


def test_pieces_of_a_prompt_compare_by_their_tokens() -> None:
    governor = ThreadGovernor(2, suspicious=False)
    for size in (512, 256, 512, 300, 64, 512):
        governor.note(size * 0.004, size)
    assert governor.threads == 2
    limit = governor.limit(100)
    assert limit is not None and 0.8 < limit < 1.6


def test_steps_that_check_guesses_tell_of_neighbours_too() -> None:
    governor = ThreadGovernor(2, suspicious=False)
    for _ in range(40):
        governor.note(0.01)
        governor.note(0.03, rows=5)
    assert governor.threads == 2
    for _ in range(4):
        governor.note(0.3, rows=5)
    assert governor.threads == 1


def test_a_number_the_person_chose_is_kept() -> None:
    _, used = run(ThreadGovernor(2, fixed=True), Two(1).full, 30)
    assert set(used) == {Setting(2)}
    _, used = run(ThreadGovernor(2, fixed=True, waits=True), Two(1).full, 30)
    assert {setting.threads for setting in used} == {2}
    assert used[-1].short
    _, used = run(ThreadGovernor(1, waits=True), Two(1).full, 30, room=idle_room)
    assert set(used) == {Setting(1)}
