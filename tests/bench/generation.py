"""Generation through worker and pipe, against llama-bench tg128; and what samplers cost."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

from tests.bench.engines import PROMPT, answer, load, make, starter, tokens_per_second
from tests.bench.figures import ROUNDS, Pairs, alternate
from tests.bench.files import Case, cases
from tests.bench.reference import LlamaBench

from corral.engine.protocol import Sampling
from corral.engine.threads import usable_cores

TOKENS = 200
WARM = 3
SETS = {
    "greedy": Sampling(temperature=0),
    "Meta's (temperature 0.6, top-p 0.9)": Sampling(seed=1),
    "top-k 40, top-p 0.9": Sampling(top_k=40, seed=1),
    "repeat penalty 1.1": Sampling(repeat_penalty=1.1, seed=1),
    "mirostat 2": Sampling(mirostat=2, seed=1),
}


def run() -> dict[str, Any]:
    reference = LlamaBench.find()
    rows, samples = [], {}
    with cases() as found:
        for case in found:
            # As delivered, with threads that follow the machine; and with their number fixed.
            for threads in (0, usable_cores()):
                pairs = asyncio.run(against(reference, case, threads))
                row = _row(case, threads, pairs)
                rows.append(row)
                samples[f"{row['model']}, threads {row['threads']}"] = pairs.samples()
    return {
        "rows": rows + asyncio.run(_samplers()),
        "samples": samples,
        "llama.cpp": reference.build,
    }


async def against(reference: LlamaBench, case: Case, threads: int) -> Pairs:
    """One token of prompt, then as many as llama-bench generates; the first one is not timed."""
    engine = make()
    # llama-bench begins with an empty cache each time: nothing stays warm beside the answer here.
    await load(engine, case.path, n_ctx=case.n_ctx, threads=threads, n_seq_max=1)

    async def ours() -> float:
        await answer(engine, [1], WARM)  # llama-bench warms up, too.
        return (await answer(engine, [1], case.generate + 1)).generation

    def theirs() -> float:
        return reference.generation(case.path, case.generate, threads=usable_cores())

    try:
        return await alternate(ours, theirs)
    finally:
        await engine.close()


def _row(case: Case, threads: int, pairs: Pairs) -> dict[str, Any]:
    return {
        "model": case.name,
        "threads": threads or "adaptive",
        "tokens": case.generate,
        "tok/s": round(median(pairs.ours), 2),
        "llama-bench": round(median(pairs.theirs), 2),
        "ratio": round(pairs.ratio, 3),
        "pairs": pairs.spread,
    }


async def _samplers() -> list[dict[str, Any]]:
    engine = make()
    speeds: dict[str, list[float]] = {name: [] for name in SETS}
    await load(engine, starter())
    await answer(engine, PROMPT, TOKENS)
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
