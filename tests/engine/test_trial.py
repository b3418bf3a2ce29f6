"""Every device computes a little before an engine counts as one that works."""

from __future__ import annotations

import pytest
from tests.support.native import log

from corral.engine.engine import Engine
from corral.engine.llama import trial
from corral.engine.llama.library import NativeLog
from corral.engine.llama.probe import TYPES, Ggml
from corral.engine.llama.trial import TrialError, attempt


@pytest.fixture(autouse=True)
def native() -> NativeLog:
    """The library is up; it goes on writing to its log as long as a test runs."""
    return log()


def test_every_device_multiplies_with_every_type(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied = []
    real = trial._multiply

    def multiply(library: Ggml, *rest: object) -> None:
        multiplied.append(rest[2])
        real(library, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "_multiply", multiply)
    devices = attempt()
    assert [device.kind for device in devices] == ["cpu"]
    assert multiplied == ["F32", *TYPES]


def test_a_device_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_EXPECTED", trial._EXPECTED * 1.05)
    with pytest.raises(TrialError, match="CPU computes wrong results with F32"):
        attempt()


def test_a_device_that_fails_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ggml.__init__

    def broken(self: Ggml) -> None:
        real(self)
        self.compute = lambda *_: 1

    monkeypatch.setattr(Ggml, "__init__", broken)
    with pytest.raises(TrialError, match="CPU could not multiply F32"):
        attempt()


async def test_a_worker_says_what_its_library_is(engine: Engine) -> None:
    ready = await engine.ready()
    assert ready.commit.startswith("0c1e570") and ready.ggml == "0.25.3"
