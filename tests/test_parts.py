"""What is known of the machine's speed belongs to the engine that it was measured with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.calibrated import calibrate

from corral.engine.protocol import Probed
from corral.errors import EngineError
from corral.parts import MEASURED_WITH, Parts, build
from corral.paths import Paths


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    made = build(Paths.from_environment())
    calibrate(made)
    yield made
    made.close_stores()


async def test_another_engine_is_measured_anew(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = []

    async def probe() -> Probed:
        probes.append("x")
        return Probed(id=1, rates=parts.fitter._runs.probed)

    monkeypatch.setattr(parts.engine, "probe", probe)
    assert parts.disk is not None
    await parts.calibrate()
    known = parts.disk.recall(MEASURED_WITH)
    assert not probes and known, "what was measured before there was a choice counts"
    parts.disk.remember(MEASURED_WITH, "another engine")
    await parts.calibrate()
    await parts.calibrate()
    assert probes == ["x"] and parts.disk.recall(MEASURED_WITH) == known

    async def stopped() -> Probed:
        raise EngineError("no")

    monkeypatch.setattr(parts.engine, "probe", stopped)
    parts.disk.remember(MEASURED_WITH, "another engine")
    with pytest.raises(EngineError):
        await parts.calibrate()
    assert parts.disk.recall(MEASURED_WITH) == "another engine"
    await parts.engine.close()
