"""Generation beside busy processes: adaptive threads and waiting against every fixed setting."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.engines import ON, PROMPT, load, starter

from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Sampling
from corral.engine.threads import usable_cores

ROUNDS = 5
SECONDS = 3.0
"""Of one answer; a setting that collapses writes a token or two in that time."""

WAITING = {
    "spins as by default": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"},
    "spins 1,000 times": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "1000"},
    "sleeps": {"OMP_WAIT_POLICY": "passive"},
}
"""A policy in the environment is kept; the engine changes only what nobody has chosen."""


def run() -> dict[str, Any]:
    return {"rows": [row for busy in (0, 1, 2) for row in asyncio.run(_beside(busy))]}


def _settings() -> dict[tuple[int, str], dict[str, str]]:
    """Threads, where 0 adapts, and what waiting is called, with its environment."""
    cores = usable_cores()
    several = sorted({cores, max(2, cores * 3 // 4), max(2, cores // 2)} - {1}) if cores > 1 else []
    found: dict[tuple[int, str], dict[str, str]] = {(0, "adaptive"): {}, (1, "alone"): {}}
    for threads in several:
        found |= {(threads, name): environment for name, environment in WAITING.items()}
    return found


async def _beside(busy: int) -> list[dict[str, Any]]:
    """Each setting has an engine of its own that stays loaded; they take turns in any order."""
    engines: dict[tuple[int, str], Engine] = {}
    speeds: dict[tuple[int, str], list[float]] = {}
    spinners: list[subprocess.Popen[bytes]] = []
    try:
        for setting, environment in _settings().items():
            log = Path(tempfile.mkdtemp(prefix="corral-bench-")) / "engine.log"
            engines[setting] = Engine(log, environment={**os.environ, **environment})
            speeds[setting] = []
            await load(engines[setting], starter(), threads=setting[0])
        command = [sys.executable, "-c", "while True: pass"]
        spinners = [subprocess.Popen(command) for _ in range(busy)]
        for _ in range(ROUNDS):
            for setting in random.sample(list(engines), len(engines)):
                speeds[setting].append(await _speed(engines[setting]))
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
        for engine in engines.values():
            await engine.close()
    medians = {setting: median(values) for setting, values in speeds.items()}
    best = max(rate for setting, rate in medians.items() if setting[0])
    return [
        {
            "busy": busy,
            "threads": setting[0] or "adaptive",
            "waiting": setting[1],
            "tok/s": round(rate, 1),
            "of the best fixed": round(rate / best, 2),
        }
        for setting, rate in medians.items()
    ]


async def _speed(engine: Engine) -> float:
    """Tokens a second from the first token to the end of the time."""
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    sampling = Sampling(temperature=0, logit_bias=ON)
    stream = engine.generate(PROMPT, sampling, max_tokens=900, lookup=False)
    try:
        async with asyncio.timeout(SECONDS):
            async for event in stream:
                if isinstance(event, Delta):
                    last = (time.perf_counter(), event.tokens)
                    first = first or last
    except TimeoutError:
        # A token that was still being computed counts as none, and its time as spent.
        last = (time.perf_counter(), last[1])
    finally:
        await stream.aclose()
    return (last[1] - first[1]) / (last[0] - first[0]) if first is not None else 0.0
