"""With how many threads, how waiting and how politely a context computes; one governor for
generation and one for prompts, whose operations are larger and suffer less from neighbours.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.governor import ThreadGovernor
from corral.engine.llama.by_row import ByRow
from corral.engine.llama.waiting import Guard, Waits
from corral.engine.params import LoadSpec
from corral.engine.threads import IdleMeter, usable_cores

NICE = 10
"""What a quiet worker adds to its niceness."""

SHORT_PIECE = 32
"""Tokens."""

PAUSE_SECONDS = 0.5
"""Without a step for so long everything begins cold."""

LOOK_SECONDS = 0.5
"""How often the machine is asked for idle cores, while computing."""


class Computing:
    """The settings of one context, changed between steps.

    Args:
        suspicious: there were busy neighbours while the model was loaded.
    """

    def __init__(self, spec: LoadSpec, *, suspicious: bool) -> None:
        cores = usable_cores()
        if spec.pace == "quiet":
            cores = max(1, cores // 2)
            be_nice()
        self._waits = Waits(Path(L._lib._name).parent)
        self._guard = Guard(self._waits)
        waits = self._waits.switchable
        self.generation = ThreadGovernor(
            spec.threads or cores, fixed=bool(spec.threads), suspicious=suspicious, waits=waits
        )
        self.prompt = ThreadGovernor(
            spec.threads_batch or spec.threads or cores,
            fixed=bool(spec.threads_batch or spec.threads),
            suspicious=suspicious,
            waits=waits,
        )
        self._context: Any = None
        self._by_row = ByRow()
        self._applied: tuple[int, int] | None = None
        self._now = (self.generation, 1, 1)
        self._asynchronous = bool(L.llama_supports_gpu_offload())
        """A card is only told what to do: it may still be at it when a call comes back."""
        self._began = self._ended = 0.0
        self._idle = IdleMeter()
        self._looked = time.perf_counter()

    def attach(self, context: Any, by_row: ByRow) -> None:
        """Say which llama_context this is about; it has the governors' numbers already.

        Args:
            by_row: on for answers, off for prompts.
        """
        self._context, self._by_row = context, by_row
        self._applied = self.generation.threads, self.prompt.threads

    def begin_prompt(self, tokens: int) -> None:
        """So many tokens of a prompt are decoded next."""
        self._begin(self.prompt, tokens, 1)

    def begin_step(self, rows: int) -> None:
        """A step of generation is next, with 1 row, or more where guesses are checked."""
        now, allowed = time.perf_counter(), self.generation.allowed
        from_prompt = self._now[0] is not self.generation
        pause = now - self._ended > PAUSE_SECONDS
        if rows > 1 or not allowed or from_prompt or self._waits.short or pause:
            self._begin(self.generation, 1, rows)
            return
        self._now = self.generation, 1, 1
        self._guard.go_on(allowed, now)
        self._began = now

    def end(self) -> float:
        """It is done; gives its seconds. Not called where it failed."""
        if self._asynchronous:
            L.llama_synchronize(self._context)
        self._ended = now = time.perf_counter()
        seconds = now - self._began
        self._guard.end()
        governor, work, rows = self._now
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            governor.hint(self._idle.cores())
        if self._tells(governor, work):
            governor.note(seconds, work, rows)
        return seconds

    def _tells(self, governor: ThreadGovernor, work: int) -> bool:
        """A short piece of a prompt spends its time on reading the weights: no comparison."""
        return governor is self.generation or work >= SHORT_PIECE

    def _begin(self, governor: ThreadGovernor, work: int, rows: int) -> None:
        self._now = governor, work, rows
        wanted = self.generation.threads, self.prompt.threads
        if wanted != self._applied:
            self._applied = wanted
            L.llama_set_n_threads(self._context, *wanted)
        self._by_row.set(governor is self.generation)
        if governor.short != self._waits.short:
            self._waits.set_short(governor.short)
        limit = governor.limit(work, rows) if self._tells(governor, work) else None
        self._began = time.perf_counter()
        self._guard.begin(limit, self._began, calm=governor.calm)
        if self._began - self._ended > PAUSE_SECONDS:
            self.generation.resume()
            self._idle.cores()  # Who was busy meanwhile says nothing about now.
            self._looked = self._began = time.perf_counter()


def be_nice() -> None:
    """Lower the priority, so that what a person does goes first.

    On Linux it is that of the calling thread and of those it starts, which are all that compute:
    what listens for a stop stays quick. Elsewhere it is that of the process.
    """
    with contextlib.suppress(OSError):
        if hasattr(os, "nice"):
            os.nice(NICE)
            return
    with contextlib.suppress(Exception):  # psutil's errors are many, and this is a courtesy.
        import psutil

        psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
