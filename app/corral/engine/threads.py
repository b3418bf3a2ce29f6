"""How many threads to compute with, while neighbours come and go.

ggml's threads wait for each other after every operation, so one thread that shares its core with a
busy neighbour holds up all of them: on two cores with one busy process, one thread is twice as fast
as two. No fixed number is right, so the time per token decides. The governor is told each measured
step and answers with the number for the next one; it knows no clock and no native code.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

PROBE_STEPS = 3
"""Steps measured before a number of threads is judged."""

SLOWER = 1.3
"""A step this much slower than the best known one makes the governor look around."""

SETTLE_SECONDS = 0.3
"""Computing time a choice gets before it is doubted."""

RETRY_SECONDS = 2.0
"""Computing time spent on fewer threads before more are tried again; doubles while that fails."""

MOST_PATIENCE = 10.0
"""Where that doubling ends."""


def usable_cores() -> int:
    """Physical cores this process may use: affinity, cgroup quota and SMT counted in.

    A source for the cgroup files: the kernel's cgroup-v2 and cfs-bandwidth documentation.
    """
    import psutil

    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:
        allowed = os.cpu_count() or 1
    logical = psutil.cpu_count(logical=True) or allowed
    physical = psutil.cpu_count(logical=False) or logical
    cores = max(1, allowed * physical // logical)
    quota = _cgroup_quota()
    return max(1, min(cores, round(quota))) if quota else cores


def _cgroup_quota() -> float | None:
    """Cores' worth of time this control group may use; None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


class NeighbourMeter:
    """How many cores other processes keep busy, since it was made."""

    def __init__(self) -> None:
        self._start = self._read()

    def cores(self) -> float:
        """Cores' worth of computing that was not ours; 0.0 before anything could be measured."""
        others, now = self._read()
        elapsed = now - self._start[1]
        return max(0.0, (others - self._start[0]) / elapsed) if elapsed > 0.02 else 0.0

    @staticmethod
    def _read() -> tuple[float, float]:
        import psutil

        times = psutil.cpu_times()
        busy = times.user + times.system + getattr(times, "nice", 0.0)
        own = psutil.Process().cpu_times()
        return busy - own.user - own.system, time.monotonic()


class ThreadGovernor:
    """Finds the number of threads that is fastest now.

    Args:
        most: the number an idle machine should use.
        fixed: never change; the person chose the number.
        suspicious: look around at once, because there are neighbours already.
    """

    def __init__(self, most: int, *, fixed: bool = False, suspicious: bool = True) -> None:
        self.threads = most
        self._most = most
        self._fixed = fixed or most == 1
        self._yardstick: float | None = None
        """Seconds per unit of work that are usual for the number in use."""
        self._trial: dict[int, float] = {}
        """While looking around: what each number tried so far costs."""
        self._untried = self._neighbours(most) if suspicious and not self._fixed else []
        self._home = most
        """The number in use before looking around."""
        self._steps: list[float] = []
        self._patience = RETRY_SECONDS
        self._since_choice = 0.0

    def note(self, seconds: float, work: int = 1) -> int:
        """Tell how long ``work`` units took; gives the number of threads for the next step."""
        if self._fixed:
            return self.threads
        self._since_choice += seconds
        self._steps = [*self._steps[1 - PROBE_STEPS :], seconds / max(1, work)]
        hopeless = self._trial and self._steps[-1] > 2 * min(self._trial.values())
        if len(self._steps) == PROBE_STEPS or hopeless:
            self._judge(median(self._steps))
        return self.threads

    def _judge(self, now: float) -> None:
        if self._yardstick is None:
            self._trial[self.threads] = now
            if self._untried:
                self._switch(self._untried.pop(0))
            else:
                self._choose()
            return
        slower = now > SLOWER * self._yardstick
        # An answer slows down as its context grows, so the yardstick may rise, but slowly: what
        # comes at once is a neighbour. A single lucky step must not lower it either.
        if now > self._yardstick:
            self._yardstick = min(now, 1.01 * self._yardstick)
        else:
            self._yardstick += 0.1 * (now - self._yardstick)
        # Fewer threads are tried as soon as it gets slower, more only now and then: beside a busy
        # neighbour one step with too many costs as much as several with the right number.
        fewer = slower and self.threads > 1 and self._since_choice > SETTLE_SECONDS
        more = self.threads < self._most and self._since_choice > self._patience
        if fewer or more:
            self._home = self.threads
            self._trial = {self.threads: now}
            self._untried = self._neighbours(self.threads)
            self._yardstick = None
            self._switch(self._untried.pop(0))

    def _choose(self) -> None:
        """Settle on the best of what was tried; the figures go stale and are not kept."""
        best = min(self._trial, key=lambda threads: self._trial[threads])
        failed = best == self._home < self._most
        self._patience = min(2 * self._patience, MOST_PATIENCE) if failed else RETRY_SECONDS
        self._yardstick = self._trial[best]
        self._trial = {}
        self._since_choice = 0.0
        self._switch(best)

    def _switch(self, threads: int) -> None:
        self.threads = threads
        self._steps = []

    def _neighbours(self, threads: int) -> list[int]:
        fewer = max(1, threads - max(1, threads // 4))
        more = min(self._most, threads + max(1, threads // 3))
        return [n for n in dict.fromkeys((fewer, more)) if n != threads]
