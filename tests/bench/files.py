"""The model files that subjects run on, and how much of each is affordable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.engines import starter
from tests.support.gguf_files import LLAMA_7B, sparse_llama
from tests.support.quantizing import quantize

WANTED = os.environ.get("CORRAL_BENCH_MODELS", "Q4_1,Q8_0,7B").split(",")
"""Which of them; the 7B takes minutes on a processor."""


@dataclass(frozen=True)
class Case:
    """A file, and the lengths that are measured with it."""

    name: str
    path: Path
    prompt: int = 512
    generate: int = 128
    n_ctx: int = 1024
    large: bool = False


@contextmanager
def cases(*, large: bool = True) -> Iterator[list[Case]]:
    """SmolLM2 Q4_1 and Q8_0, and a file of zeros in the shape of Llama 2 7B Q4_K_M.

    Zeros are computed as fast as anything else. The 7B gets a shorter prompt and answer, so that
    five pairs take minutes on two cores and not an hour.
    """
    with TemporaryDirectory(prefix="corral-bench-") as name:
        folder = Path(name)
        found = []
        if "Q4_1" in WANTED:
            found.append(Case("SmolLM2 135M Q4_1", starter()))
        if "Q8_0" in WANTED:
            path = quantize(starter(), folder / "smollm2.Q8_0.gguf", "Q8_0")
            found.append(Case("SmolLM2 135M Q8_0", path))
        if "7B" in WANTED and large:
            path = sparse_llama(folder / "zeros-7b.Q4_K_M.gguf", LLAMA_7B, "Q4_K_M")
            found.append(Case("7B-shaped Q4_K_M", path, 64, 48, 512, large=True))
        yield found
