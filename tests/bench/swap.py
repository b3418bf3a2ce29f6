"""Another model in the middle of a conversation, from a cached file, against llama-bench's load.

Ours is from the wish to the model that can answer: planning, the worker, the load, a warm-up token.
llama-bench's is the whole program with one token, in the smallest context there is. Once with the
same small context, and once with the one that people get.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.figures import Pairs, alternate
from tests.bench.files import Case, cases
from tests.bench.reference import LlamaBench
from tests.support.gguf_files import tiny_llama

from corral.chatting import Swapped
from corral.engine.threads import usable_cores
from corral.parts import Parts, build
from corral.paths import Paths

LOOKING = 1.5
"""Seconds that a person looks at the models before choosing one."""
SMALL, USUAL = 256, 4096


def run() -> dict[str, Any]:
    reference = LlamaBench.find()
    rows, samples = [], {}
    with cases() as found:
        for case in found:
            for n_ctx, announced in ((SMALL, True), (SMALL, False), (USUAL, True)):
                pairs = asyncio.run(_case(reference, case, n_ctx, announced))
                how = "from the models screen" if announced else "unannounced"
                rows.append(
                    {
                        "to": case.name,
                        "context": n_ctx,
                        "how": how,
                        "ms": round(1e3 * median(pairs.ours)),
                        "llama-bench ms": round(1e3 * median(pairs.theirs)),
                        "ratio": round(pairs.ratio, 2),
                        "pairs": pairs.spread,
                    }
                )
                samples[f"{case.name}, {n_ctx}, {how}"] = pairs.samples()
    return {"rows": rows, "samples": samples, "llama.cpp": reference.build}


async def _case(reference: LlamaBench, case: Case, n_ctx: int, announced: bool) -> Pairs:
    """Away from a small model, so that nothing but the new one takes time."""
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        home = Path(name)
        settings = home / "config" / "config.toml"
        settings.parent.mkdir()
        settings.write_text(f"[engine]\nn_ctx = {n_ctx}\nkeep_warm = false\npace = 'full'\n")
        parts = build(
            Paths(settings.parent, home / "data", home / "cache", home / "logs"), save=False
        )
        library = parts.library
        tiny = tiny_llama(home / "tiny.gguf", context=USUAL)
        other = library.import_file(tiny, format="llama-2", name="tiny").name
        installed = library.starter()
        if installed is not None and installed.path == str(case.path):
            target = installed.name
        else:
            target = library.import_file(case.path, format="llama-2", name="target").name

        async def ours() -> float:
            await _swap(parts, other)
            if announced:
                parts.engine.prepare()
                await asyncio.sleep(LOOKING)
            return await _swap(parts, target)

        def theirs() -> float:
            return reference.load(case.path, threads=usable_cores())

        try:
            return await alternate(ours, theirs)
        finally:
            await parts.close()


async def _swap(parts: Parts, name: str) -> float:
    started, took = time.perf_counter(), 0.0
    async for event in parts.chatting.swap(name, None):
        if isinstance(event, Swapped):
            took = time.perf_counter() - started
            assert not event.warm
    assert took
    return took
