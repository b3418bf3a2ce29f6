"""llama-bench, built from the same sources: what everything native is measured against.

``LLAMA_BENCH`` names the program; ``tests/bench/README.md`` says how to build it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

MISSING = "LLAMA_BENCH must name a llama-bench of the same llama.cpp: see tests/bench/README.md"


class LlamaBench:
    """Runs the program once a figure: a fresh process that loads, warms up and measures."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.build = ""
        """llama.cpp's commit, and what the processor is called; known after the first run."""

    @classmethod
    def find(cls) -> LlamaBench:
        """Raises ``SystemExit`` where nobody said where it is."""
        program = Path(os.environ.get("LLAMA_BENCH", "")).expanduser()
        if not program.is_file():
            raise SystemExit(MISSING)
        return cls(program)

    def generation(self, model: Path, tokens: int, **options: Any) -> float:
        """Tokens a second for so many tokens after an empty context, as ``tg128``."""
        return self._rate(model, "-p", "0", "-n", str(tokens), **options)

    def prompt(self, model: Path, tokens: int, **options: Any) -> float:
        """Tokens a second for a prompt of so many tokens, as ``pp512``."""
        return self._rate(model, "-p", str(tokens), "-n", "0", **options)

    def load(self, model: Path, **options: Any) -> float:
        """Seconds from the start of the program to its end, for a load and one token.

        It does nothing else but print a line: it is the shortest that llama.cpp can load in.
        """
        started = time.perf_counter()
        self._run(model, "-p", "1", "-n", "0", "-r", "1", "--no-warmup", **options)
        return time.perf_counter() - started

    def _rate(self, model: Path, *arguments: str, **options: Any) -> float:
        rows = self._run(model, *arguments, "-r", "1", **options)
        return float(rows[0]["avg_ts"])

    def _run(
        self,
        model: Path,
        *arguments: str,
        threads: int = 0,
        n_batch: int = 512,
        n_ubatch: int = 512,
        flash_attn: str = "auto",
        type_k: str = "f16",
        type_v: str = "f16",
    ) -> list[dict[str, Any]]:
        """One call with our engine's batch, flash attention and cache types; ``threads`` 0 leaves
        them to llama-bench, which takes every physical core."""
        command = [
            str(self._program), "-m", str(model), "-o", "json",
            "-b", str(n_batch), "-ub", str(n_ubatch), "-fa", flash_attn,
            "-ctk", type_k, "-ctv", type_v, *arguments,
        ]  # fmt: skip
        if threads:
            command += ["-t", str(threads)]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        self.build = str(rows[0]["build_commit"])
        return rows
