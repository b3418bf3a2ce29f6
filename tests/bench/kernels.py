"""Flash attention, batch sizes, KV cache types and load modes: what each is worth on this machine.

Through our engine alone; every choice against the default, in turn in one run.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from tests.bench.engines import answer, load, make, words
from tests.bench.figures import ROUNDS, quiet
from tests.bench.files import Case, cases

from corral.engine.engine import Engine
from corral.engine.protocol import Loaded

CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "flash attention off": {"flash_attn": "off"},
    "flash attention on": {"flash_attn": "on"},
    "n_ubatch 64": {"n_ubatch": 64},
    "n_ubatch 128": {"n_ubatch": 128},
    "n_ubatch 256": {"n_ubatch": 256},
    "n_batch 2048": {"n_batch": 2048},
    "n_batch and n_ubatch 1024": {"n_batch": 1024, "n_ubatch": 1024},
    "KV q8_0": {"type_k": "q8_0", "type_v": "q8_0"},
    "KV q4_0": {"type_k": "q4_0", "type_v": "q4_0"},
    "K q8_0, V f16": {"type_k": "q8_0"},
    "load read": {"load_mode": "read"},
    "load mlock": {"load_mode": "mmap+mlock"},
}
LONG = 1024
"""Tokens in the cache while it generates: so the cache type and attention count."""


def run() -> dict[str, Any]:
    rows, samples = [], {}
    with cases() as found:
        for case in found:
            measured = asyncio.run(_case(case))
            rows += _rows(case, measured)
            samples[case.name] = measured
    return {"rows": rows, "samples": samples}


async def _case(case: Case) -> dict[str, dict[str, list[float]]]:
    """Seconds and rates by choice; a fresh worker for each, which loads a cached file."""
    found: dict[str, dict[str, list[float]]] = {}
    rounds = 2 if case.large else ROUNDS
    for _ in range(rounds):
        for name, choice in CHOICES.items():
            await asyncio.to_thread(quiet)
            for what, value in (await _measure(case, choice)).items():
                found.setdefault(name, {}).setdefault(what, []).append(value)
    return found


async def _measure(case: Case, choice: dict[str, Any]) -> dict[str, float]:
    engine = make()
    long, count = (case.prompt, case.generate) if case.large else (LONG, 96)
    n_ctx = case.n_ctx if case.large else 2048
    try:
        await engine.ready()
        started = time.perf_counter()
        loaded = await load(engine, case.path, n_ctx=n_ctx, **choice)
        loading = time.perf_counter() - started
        await answer(engine, words(32), 4)
        prompt = words(long)
        first = await answer(engine, prompt, count)
        return {
            "load s": loading,
            "prompt tok/s": long / first.first,
            "tok/s": first.generation,
            "resident MB": _resident(engine, loaded) / 1e6,
        }
    finally:
        await engine.close()


def _resident(engine: Engine, loaded: Loaded) -> float:
    held = engine.held()
    kv = sum(loaded.memory.kv.values()) if loaded.memory else 0
    return float(sum(one.private + one.mapped for one in held)) or float(kv)


def _rows(case: Case, measured: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    usual = measured["default"]
    rows = []
    for name, values in measured.items():
        row: dict[str, Any] = {"model": case.name, "choice": name}
        for what in values:
            middle = median(values[what])
            ratio = median(a / b for a, b in zip(values[what], usual[what], strict=True))
            row[what] = (
                f"{middle:.2f} ({ratio:.2f})" if middle < 100 else f"{middle:.0f} ({ratio:.2f})"
            )
        rows.append(row)
    return rows
