"""Prompt evaluation through worker and pipe, against llama-bench pp512."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

from tests.bench.engines import answer, load, make, words
from tests.bench.figures import Pairs, alternate
from tests.bench.files import Case, cases
from tests.bench.reference import LlamaBench

from corral.engine.threads import usable_cores


def run() -> dict[str, Any]:
    reference = LlamaBench.find()
    rows, samples = [], {}
    with cases() as found:
        for case in found:
            for threads in (0, usable_cores()):
                pairs = asyncio.run(against(reference, case, threads))
                rows.append(
                    {
                        "model": case.name,
                        "threads": threads or "adaptive",
                        "tokens": case.prompt,
                        "tok/s": round(median(pairs.ours), 1),
                        "llama-bench": round(median(pairs.theirs), 1),
                        "ratio": round(pairs.ratio, 3),
                        "pairs": pairs.spread,
                    }
                )
                samples[f"{case.name}, threads {threads or 'adaptive'}"] = pairs.samples()
    return {"rows": rows, "samples": samples, "llama.cpp": reference.build}


async def against(reference: LlamaBench, case: Case, threads: int) -> Pairs:
    """From the request to the first token, which is sampled too: so a person waits for it."""
    engine = make()
    # llama-bench begins with an empty cache each time: nothing stays warm beside the answer here.
    await load(engine, case.path, n_ctx=case.n_ctx, threads=threads, n_seq_max=1)

    async def ours() -> float:
        # As llama-bench does before it measures: what lay idle while the other one ran is cold.
        await answer(engine, words(case.prompt + 1)[1:], 1)
        # Nothing stays from the prompt before, so that no token lies at a place beyond those of
        # llama-bench: attention goes over whole blocks of 256.
        done = await answer(engine, words(case.prompt + 1)[1:], 1)
        evaluated = done.finished.usage.evaluated_tokens
        assert case.prompt - 1 <= evaluated <= case.prompt
        return evaluated / done.wall

    def theirs() -> float:
        return reference.prompt(case.path, case.prompt, threads=usable_cores())

    try:
        return await alternate(ours, theirs)
    finally:
        await engine.close()
