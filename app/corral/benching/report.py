"""What a run of the bench found out, as people and programs read it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from corral.errors import StoreError
from corral.units import duration

KEY = "bench"
"""Under which the last results are remembered."""
KEPT = 8


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, beside what it is compared with."""

    name: str
    title: str
    value: float
    unit: str
    """``s``, ``ms`` or ``tok/s``."""
    reference: float | None = None
    """The middle of what was predicted, or the same without reuse; None where there is neither."""
    note: str = ""
    """What the reference is, for people."""

    @property
    def ratio(self) -> float | None:
        """Value ÷ reference."""
        return self.value / self.reference if self.reference else None

    @property
    def shown(self) -> str:
        """``118 tok/s``, ``62 ms``, ``0.31 s``."""
        if self.unit == "s":
            return f"{self.value:.2f} s" if self.value < 10 else f"{self.value:.0f} s"
        if self.unit == "ms":
            return milliseconds(self.value)
        return f"{rounded(self.value)} {self.unit}"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run found out."""

    machine: dict[str, Any]
    engine: dict[str, Any]
    model: dict[str, Any]
    figures: tuple[Figure, ...]
    seconds: float

    @property
    def title(self) -> str:
        """The model, and how it was loaded: ``SmolLM2 135M Instruct · Q4_1 · CPU · 2 threads``."""
        model = self.model
        place = "CPU"
        if model["gpu_layers"]:
            place = f"{model['gpu_layers']} of {model['layers']} layers on a graphics card"
        threads = f"{model['threads']} thread" + ("s" if model["threads"] != 1 else "")
        parts = (model["title"], model["quant"], place, threads)
        return " · ".join(part for part in parts if part)

    def record(self) -> dict[str, Any]:
        """As ``corral bench --json`` prints it."""
        results = {
            figure.name: {
                "value": round(figure.value, 4),
                "unit": figure.unit,
                "reference": None if figure.reference is None else round(figure.reference, 4),
                "ratio": None if figure.ratio is None else round(figure.ratio, 4),
                "note": figure.note,
            }
            for figure in self.figures
        }
        return {
            "machine": self.machine,
            "engine": self.engine,
            "model": self.model,
            "results": results,
            "seconds": round(self.seconds, 1),
        }


class Memo(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    def remember(self, key: str, value: str) -> None: ...
    def recall(self, key: str) -> str | None: ...


def keep(memo: Memo, report: Report) -> None:
    """Remember a report; one that cannot be written is not remembered."""
    record = {"time": time.time(), **report.record()}
    with contextlib.suppress(StoreError):
        memo.remember(KEY, json.dumps([*last_results(memo), record][-KEPT:]))


def last_results(memo: Memo) -> list[dict[str, Any]]:
    """Records of the runs before, the latest last; each has a ``time``, seconds since the epoch."""
    with contextlib.suppress(StoreError, ValueError):
        found = json.loads(memo.recall(KEY) or "[]")
        if isinstance(found, list):
            return [one for one in found if isinstance(one, dict)]
    return []


def processor_name() -> str:
    """What the processor calls itself: ``AMD EPYC``, ``Apple M3 Pro``."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
            return done.stdout.strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    named = os.environ.get("PROCESSOR_IDENTIFIER", "") if sys.platform == "win32" else ""
    return named or platform.processor() or platform.machine()


def milliseconds(value: float) -> str:
    """``62 ms``, and seconds from one on: ``1.8 s``."""
    return f"{value:.0f} ms" if value < 999.5 else duration(value / 1e3)


def rounded(value: float) -> str:
    """A rate with as many digits as mean something: ``118``, ``41.2``, ``3.15``."""
    return (
        f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    )
