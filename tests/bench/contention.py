"""Generation beside busy processes: the adaptive thread policy against every fixed number."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from statistics import median
from typing import Any

from tests.bench.engines import make, tokens_per_second

ROUNDS = 5
TOKENS = 160


def run() -> dict[str, Any]:
    return {"rows": [row for busy in (0, 1, 2) for row in asyncio.run(_beside(busy))]}


async def _beside(busy: int) -> list[dict[str, Any]]:
    """Each setting has an engine of its own that stays loaded; they take turns."""
    cores = os.cpu_count() or 1
    settings = [0, *range(1, cores + 1)]
    engines = {threads: make() for threads in settings}
    speeds: dict[int, list[float]] = {threads: [] for threads in settings}
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        for _ in range(ROUNDS):
            for threads, engine in engines.items():
                speeds[threads].append(
                    await tokens_per_second(engine, threads=threads, count=TOKENS)
                )
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
        for engine in engines.values():
            await engine.close()
    medians = {threads: median(values) for threads, values in speeds.items()}
    best = max(medians[threads] for threads in settings if threads)
    return [
        {
            "busy": busy,
            "threads": threads or "adaptive",
            "tok/s": round(medians[threads], 1),
            "of the best fixed": round(medians[threads] / best, 2),
        }
        for threads in settings
    ]
