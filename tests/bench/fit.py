"""Predicted against measured: memory of full-sized files, speed of four quantizations."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.engines import PROMPT, make, starter
from tests.support.gguf_files import LLAMA_7B, LLAMA_13B, TINYLLAMA, Shape, sparse_llama
from tests.support.quantizing import quantize

from corral.engine.engine import Engine
from corral.engine.protocol import Finished, KvType, Loaded, LoadSpec, Sampling
from corral.models.catalog import Catalog, find_catalogue
from corral.models.fit import machine
from corral.models.fit.fitter import Fitter
from corral.models.gguf.header import read_header
from corral.models.library.library import Library
from corral.store.store import Store

SIZES: dict[str, Shape] = {"1.1B": TINYLLAMA, "7B": LLAMA_7B, "13B": LLAMA_13B}
QUANTS = ("Q8_0", "Q4_0", "Q2_K", "Q6_K")
CONTEXTS = (1024, 2048)
CACHES: tuple[KvType, ...] = ("f16", "q8_0")
TOKENS = 128


def run() -> dict[str, Any]:
    return {"rows": asyncio.run(_measure())}


async def _measure() -> list[dict[str, Any]]:
    engine = make()
    try:
        with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
            rows = await speeds(engine, Path(folder), QUANTS)
            for size, shape in SIZES.items():
                path = sparse_llama(Path(folder) / f"{size}.gguf", shape, "Q4_K_M")
                for n_ctx in CONTEXTS:
                    rows += [await memory(engine, path, size, n_ctx, kv) for kv in CACHES]
                path.unlink()
    finally:
        await engine.close()
    return rows


async def memory(engine: Engine, path: Path, size: str, n_ctx: int, kv: KvType) -> dict[str, Any]:
    """What one file takes, beside what was said before."""
    store = Store.open(None)
    library = Library(store, Catalog.load(find_catalogue()))
    fitter = Fitter(library.catalog, store)
    model = library.resolve(str(path))
    fit = fitter.fit(model, read_header(path), n_ctx=n_ctx, type_k=kv, type_v=kv)
    store.close()
    loaded = await load(engine, LoadSpec(path=str(path), n_ctx=n_ctx, type_k=kv, type_v=kv))
    await engine.close()
    assert loaded.memory is not None
    return {
        "memory of": f"{size} Q4_K_M, {n_ctx} tokens, {kv}",
        "predicted": fit.bytes.total,
        "measured": loaded.memory.resident,
        "ratio": round(fit.bytes.total / loaded.memory.resident, 3),
    }


async def speeds(engine: Engine, folder: Path, quants: tuple[str, ...]) -> list[dict[str, Any]]:
    """One run of the starter calibrates; then each quantization is predicted before it runs."""
    store = Store.open(None)
    library = Library(store, Catalog.load(find_catalogue()))
    fitter = Fitter(library.catalog, store)
    fitter.calibrate(await engine.probe())
    rows = []
    for quant in ("Q4_1", *quants):
        path = starter()
        if quant != "Q4_1":
            path = quantize(starter(), folder / f"smollm2.{quant}.gguf", quant)
        model, header = library.resolve(str(path)), read_header(path)
        fit = fitter.fit(model, header, n_ctx=1024, machine=machine.look())
        loaded = await load(engine, LoadSpec(path=str(path), n_ctx=1024))
        answers = [await answer(engine) for _ in range(3)]
        finished = sorted(answers, key=lambda one: one.timings.tokens_per_second)[1]
        fitter.learn(model, header, loaded, finished)
        assert fit.tokens_per_second is not None and fit.first_token_ms is not None
        low, high = fit.tokens_per_second
        rate = finished.timings.tokens_per_second
        rows.append(
            {
                "speed of": quant + (" (calibrates)" if quant == "Q4_1" else ""),
                "predicted": f"{low:.0f}–{high:.0f} tok/s",
                "measured": round(rate, 1),
                "threads": finished.threads,
                "within": low <= rate <= high,
                "first": "–".join(f"{value:.0f}" for value in fit.first_token_ms) + " ms",
                "measured first": round(finished.timings.first_token_ms),
            }
        )
    store.close()
    return rows


async def load(engine: Engine, spec: LoadSpec) -> Loaded:
    loaded = None
    async for event in engine.load(spec):
        if isinstance(event, Loaded):
            loaded = event
    assert loaded is not None
    return loaded


async def answer(engine: Engine) -> Finished:
    """One answer to 512 tokens, end-of-answer tokens forbidden so that it runs its length."""
    sampling = Sampling(temperature=0, logit_bias={0: -1e9, 2: -1e9})
    prompt = [*PROMPT, *range(start := random.randrange(2000, 20_000), start + 512 - len(PROMPT))]
    async for event in engine.generate(prompt, sampling, max_tokens=TOKENS):
        if isinstance(event, Finished):
            return event
    raise AssertionError("no answer")
