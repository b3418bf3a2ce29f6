"""Garbage is looked for in quiet moments, and not for ever put off."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from corral.tui.garbage import MOST, QUIET_SECONDS, THRESHOLDS, Garbage


class Cycle:
    """Something that only a look for garbage frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def pythons_own() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.enable()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_waits_until_nobody_does_anything() -> None:
    clock = Clock()
    garbage = Garbage(clock)
    garbage.begin()
    assert gc.isenabled() and gc.get_threshold() == THRESHOLDS
    gc.collect(1)
    garbage.disturb()
    clock.now += QUIET_SECONDS / 2
    assert not garbage.tidy()
    clock.now += QUIET_SECONDS
    assert garbage.tidy()
    assert not garbage.tidy(), "nothing came since"


def test_old_garbage_goes() -> None:
    clock = Clock()
    garbage = Garbage(clock)
    garbage.begin()
    cycle = Cycle()
    gc.collect(0)
    gc.collect(1)  # now it is an old one
    gone = weakref.ref(cycle)
    del cycle
    gc.collect(1)
    assert gone() is not None
    clock.now += 2 * QUIET_SECONDS
    assert garbage.tidy() and gone() is None


def test_it_is_not_put_off_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = Garbage(Clock())
    monkeypatch.setattr(gc, "get_count", lambda: (0, 0, MOST + 1))
    assert garbage.tidy()
