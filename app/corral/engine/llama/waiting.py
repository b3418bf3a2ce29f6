"""How ggml's threads wait for each other: in a loop, or asleep; changed while they compute.

With GNU OpenMP the number of loops before a waiting thread sleeps is fixed when the library is
loaded, but it has two of them: one (``GOMP_SPINCOUNT``) for ordinary times and a short one, 100,
for when more threads are managed than there are processors (libgomp's ``config/linux/wait.h`` and
``env.c``). Threads of another team that sleep count there, so such a team is kept while waits
shall be short. It takes effect at the next wait, also in the middle of a step. Where the library
is another one, nothing here does anything.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.engine.threads import allowed_processors

POLL_SECONDS = (0.03, 0.25)
"""How often the guard looks at the clock: a quarter of the time it allows, within these; in calm
times the longer one. Measured on two cores: to wake up thirty times a second costs a small model 2
to 4 % of its speed, because it takes a processor from a thread for which the others then wait."""

IDLE_SECONDS = 1.0
"""Without a step for so long the guard sleeps until there is one."""


class Waits:
    """The switch.

    Args:
        folder: where ggml's own libraries are.
        environment: of this process; who chose a policy there keeps it.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        chosen = {"OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY"} & set(environment)
        self._parallel: Any = None
        if not chosen:
            self._parallel, self._nothing = _openmp(folder)
        self._lock = threading.Lock()
        self._release: threading.Event | None = None

    @property
    def switchable(self) -> bool:
        return self._parallel is not None

    @property
    def short(self) -> bool:
        return self._release is not None

    def set_short(self, short: bool) -> None:
        """Change it, from any thread; takes some 0.1 ms. Does nothing where it cannot."""
        with self._lock:
            if self._parallel is None or short == self.short:
                return
            if self._release is not None:
                # The team ends with its thread.
                self._release.set()
                self._release = None
                return
            release, held = threading.Event(), threading.Event()
            thread = threading.Thread(
                target=self._hold, args=(release, held), name="short-waits", daemon=True
            )
            thread.start()
            held.wait(5.0)
            self._release = release

    def _hold(self, release: threading.Event, held: threading.Event) -> None:
        # free(NULL) has the right shape for the work of a team that has nothing to do.
        self._parallel(self._nothing, None, _processors() + 1, 0)
        held.set()
        release.wait()


class Guard:
    """Shortens the waits when a step takes longer than it may.

    A thread that spins for one that lost its processor keeps the system from moving either, and a
    step of 10 ms takes seconds. The governor could say so only after the step.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._wake = threading.Event()
        self._until: float | None = None
        self._poll = POLL_SECONDS[1]
        self._used = 0.0
        self._asleep = False
        self._thread: threading.Thread | None = None

    def begin(self, allowed: float | None, now: float, *, calm: bool = False) -> None:
        """A step begins that should be over in so many seconds; None is any time.

        Args:
            now: by ``time.perf_counter``.
            calm: nothing was held up of late: it may be noticed later.
        """
        if allowed is None or not self._waits.switchable:
            return
        low, high = POLL_SECONDS
        self._poll = high if calm else min(high, max(low, allowed / 4))
        self._used = now
        self._until = now + allowed
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)
                self._thread.start()

    def go_on(self, allowed: float, now: float) -> None:
        """Another step like the one before, in calm times."""
        self._poll = POLL_SECONDS[1]
        self._used = now
        self._until = now + allowed
        if self._asleep:
            self._wake.set()

    def end(self) -> None:
        """The step is over."""
        self._until = None

    def _watch(self) -> None:
        while True:
            now, until = time.perf_counter(), self._until
            if until is not None and now > until:
                self._waits.set_short(True)
                self._until = None
            if now - self._used > IDLE_SECONDS and self._until is None:
                self._asleep = True
                self._wake.clear()
                if now - self._used > IDLE_SECONDS:
                    self._wake.wait()
                self._asleep = False
            time.sleep(self._poll)


def _openmp(folder: Path) -> tuple[Any, Any]:
    """``GOMP_parallel`` of the very copy that ggml computes with, and C's ``free``; else None."""
    for library in sorted(folder.glob("libggml-cpu*.so")):
        try:
            # A symbol is looked up in what the library was linked with as well.
            parallel = ctypes.CDLL(str(library)).GOMP_parallel
            nothing = ctypes.CDLL(None).free
        except (OSError, AttributeError):
            continue
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        return parallel, ctypes.cast(nothing, ctypes.c_void_p)
    return None, None


def _processors() -> int:
    """As libgomp counts them."""
    return len(allowed_processors())
