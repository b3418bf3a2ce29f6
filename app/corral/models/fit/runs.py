"""What the speed of this machine is known from: its probe, and every answer since."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from corral.engine.protocol import Rates
from corral.errors import StoreError

KEY = "speed"
RECENT = 8
"""Runs of one file that are remembered."""
FILES = 64
"""Files whose runs are remembered."""
WEIGHT = 0.25
"""The least a new run counts beside those before: what was long ago is forgotten."""
EVERY = "*"
FAR = 4.0
"""A single run changes a prediction by no more than this factor."""


class Memo(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    def remember(self, key: str, value: str) -> None: ...
    def recall(self, key: str) -> str | None: ...


class Factor(BaseModel):
    """Measured seconds over predicted ones, averaged."""

    value: FiniteFloat = Field(1.0, gt=0)
    off: FiniteFloat = Field(0.0, ge=0)
    """By how much single runs are off, as a logarithm, averaged."""
    runs: int = 0

    def with_run(self, ratio: float) -> Factor:
        ratio = min(FAR, max(1 / FAR, ratio))
        weight = max(WEIGHT, 1 / (self.runs + 1))
        off = (1 - weight) * self.off + weight * abs(math.log(ratio / self.value))
        value = math.exp((1 - weight) * math.log(self.value) + weight * math.log(ratio))
        return Factor(value=value, off=off if self.runs else 0.0, runs=self.runs + 1)


class Run(BaseModel):
    """The recent runs of one file with so many layers on cards."""

    layers: int
    rates: list[FiniteFloat] = Field(default_factory=list)
    """Tokens a second."""


class _Known(BaseModel):
    machine: str = ""
    probed: tuple[Rates, ...] = ()
    factors: dict[str, Factor] = Field(default_factory=dict)
    """By ``decode/QUANT``, ``prompt/QUANT``, and for all of them together."""
    threads: int = 0
    """The engine's choice in the last run; 0 before the first."""
    files: dict[str, Run] = Field(default_factory=dict)


class Runs:
    """Kept in the store; nothing of it is worth failing for.

    Args:
        fingerprint: of this machine and engine: what was measured with others is forgotten.
    """

    def __init__(self, memo: Memo, fingerprint: str) -> None:
        self._memo = memo
        self._known = _Known(machine=fingerprint)
        with contextlib.suppress(StoreError, ValidationError):
            known = _Known.model_validate_json(memo.recall(KEY) or "{}")
            if known.machine == fingerprint:
                self._known = known

    @property
    def probed(self) -> tuple[Rates, ...]:
        return self._known.probed

    @property
    def threads(self) -> int:
        """What the engine computed with last; 0 if nothing ran."""
        return self._known.threads

    def set_probed(self, rates: Sequence[Rates]) -> None:
        """What the factors corrected was another prediction, so they begin anew."""
        self._known = self._known.model_copy(update={"probed": tuple(rates), "factors": {}})
        self._keep()

    def factor(self, what: str, quant: str) -> tuple[float, float]:
        """By how much longer it takes than predicted, and how much wider a range this asks for.

        Runs of other quantizations count half, because they say as much about the neighbours of
        that moment as about the prediction.
        """
        factors = self._known.factors
        if own := factors.get(f"{what}/{quant}"):
            return own.value, own.off
        if other := factors.get(f"{what}/{EVERY}"):
            return math.sqrt(other.value), other.off + abs(math.log(other.value)) / 2
        return 1.0, 0.0

    def run(self, file: str, layers: int) -> list[float]:
        """Tokens a second of the recent runs of this file, with so many layers on cards."""
        found = self._known.files.get(file)
        return list(found.rates) if found and found.layers == layers else []

    def add(
        self,
        file: str,
        quant: str,
        layers: int,
        rate: float,
        ratios: dict[str, float],
        threads: int,
    ) -> None:
        """One more run.

        Args:
            rate: tokens a second.
            ratios: measured over predicted seconds, by ``decode`` and ``prompt``.
        """
        factors = dict(self._known.factors)
        for what, ratio in ratios.items():
            for key in (f"{what}/{quant}", f"{what}/{EVERY}"):
                factors[key] = factors.get(key, Factor()).with_run(ratio)
        files = dict(self._known.files)
        rates = [*self.run(file, layers), rate][-RECENT:]
        files.pop(file, None)  # The latest is the last.
        files[file] = Run(layers=layers, rates=rates)
        for old in list(files)[:-FILES]:
            del files[old]
        self._known = self._known.model_copy(
            update={"factors": factors, "files": files, "threads": threads}
        )
        self._keep()

    def _keep(self) -> None:
        with contextlib.suppress(StoreError):
            self._memo.remember(KEY, json.dumps(self._known.model_dump(mode="json")))
