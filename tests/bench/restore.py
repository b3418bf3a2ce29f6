"""Time to the first token of a conversation opened in a new process, against reading it again.

The model's load is reported beside, and does not count. The files are dropped from the page cache
before each opening: tomorrow they will not be there either.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.engines import answer, load, make, words
from tests.bench.figures import ROUNDS, alternate
from tests.bench.files import Case, cases

from corral.engine.protocol import States

SHORT = 8
SECONDS = 120.0
"""The longest that keeping a conversation may take before a pair is given up."""


def run() -> dict[str, Any]:
    rows, samples = [], {}
    with cases() as found:
        for case in found:
            row, measured = asyncio.run(_case(case))
            rows.append(row)
            samples[case.name] = measured
    return {"rows": rows, "samples": samples}


async def _case(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the large one 256 tokens, twice: reading them takes as long as all else together."""
    tokens, n_ctx, rounds = (256, 512, 2) if case.large else (2000, 4096, ROUNDS)
    loads: list[float] = []
    sizes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        states = States(folder=name, limit=20 << 30, idle_seconds=0.2)
        conversation: list[int] = []

        async def cold() -> float:
            """Read it, and leave; what is kept is on the disk afterwards."""
            nonlocal conversation
            conversation = words(tokens)
            engine = make(states)
            try:
                loads.append((await load(engine, case.path, n_ctx=n_ctx)).load_ms)
                first = (await answer(engine, conversation, 1, conversation="bench")).first
                await _on_disk(Path(name))
            finally:
                await engine.close()
            sizes.append(_drop(Path(name)))
            return first

        async def reopened() -> float:
            engine = make(states)
            try:
                loads.append((await load(engine, case.path, n_ctx=n_ctx)).load_ms)
                more = conversation + words(SHORT)
                done = await answer(engine, more, 1, conversation="bench")
                usage = done.finished.usage
                assert usage.reused_tokens >= tokens - 16, f"nothing was restored: {usage}"
                return done.first
            finally:
                await engine.close()

        ours: list[float] = []

        async def pair() -> float:
            first = await cold()
            ours.append(await reopened())
            return first

        async def nothing() -> float:
            return 1.0

        theirs = (await alternate(pair, nothing, rounds=rounds, warm=0)).ours
    ratios = [o / t for o, t in zip(ours, theirs, strict=True)]
    row = {
        "model": case.name,
        "tokens": tokens,
        "reopened ms": round(1e3 * median(ours)),
        "cold ms": round(1e3 * median(theirs)),
        "ratio": round(median(ratios), 3),
        "pairs": f"{min(ratios):.3f}–{max(ratios):.3f}",
        "load ms": round(median(loads)),
        "MB on disk": round(median(sizes) / 1e6, 1),
    }
    return row, {"reopened": ours, "cold": theirs, "load_ms": loads, "bytes": sizes}


async def _on_disk(folder: Path) -> None:
    """Wait until it is kept: it is written when nobody wants anything of the engine."""
    end = time.monotonic() + SECONDS
    before = -1
    while time.monotonic() < end:
        size = sum(path.stat().st_size for path in folder.rglob("*.kv"))
        if size and size == before and not list(folder.rglob("*.tmp")):
            return
        before = size
        await asyncio.sleep(0.5)
    raise AssertionError("nothing was kept on the disk")


def _drop(folder: Path) -> int:
    """Take what is kept out of the page cache; gives its bytes."""
    total = 0
    for path in folder.rglob("*.kv"):
        total += path.stat().st_size
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return total
