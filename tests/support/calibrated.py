"""A machine that was measured already: doing it takes seconds, of a busy one many."""

from __future__ import annotations

from corral.engine.protocol import Probed, Rates
from corral.parts import Parts


def calibrate(parts: Parts) -> None:
    """Let the predictions know some speed, so that nobody measures one."""
    rate = {"F16": 4e9}
    rates = Rates(
        device="CPU", kind="cpu", threads=1, decode=rate, cached=rate, prompt=rate, overhead=1e-6
    )
    parts.fitter.calibrate(Probed(id=1, rates=(rates,)))
