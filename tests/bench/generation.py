"""Generation through the worker and the pipe, by sampler set, against greedy."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

from tests.bench.engines import make, tokens_per_second

from corral.engine.protocol import Sampling

ROUNDS = 5
TOKENS = 200
SETS = {
    "greedy": Sampling(temperature=0),
    "Meta's (temperature 0.6, top-p 0.9)": Sampling(seed=1),
    "top-k 40, top-p 0.9": Sampling(top_k=40, seed=1),
    "repeat penalty 1.1": Sampling(repeat_penalty=1.1, seed=1),
    "mirostat 2": Sampling(mirostat=2, seed=1),
}


def run() -> dict[str, Any]:
    return {"rows": asyncio.run(_measure())}


async def _measure() -> list[dict[str, Any]]:
    engine = make()
    speeds: dict[str, list[float]] = {name: [] for name in SETS}
    await tokens_per_second(engine, threads=0, count=TOKENS)
    for _ in range(ROUNDS):
        for name, sampling in SETS.items():
            speeds[name].append(
                await tokens_per_second(engine, threads=0, count=TOKENS, sampling=sampling)
            )
    await engine.close()
    best = median(speeds["greedy"])
    return [
        {
            "samplers": name,
            "tok/s": round(median(values), 1),
            "of greedy": round(median(values) / best, 2),
        }
        for name, values in speeds.items()
    ]
