"""How many cores this process may compute with, who else uses them, and the person's own pace."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple


class Cores(NamedTuple):
    """What :func:`count_cores` found."""

    usable: int
    """Threads to compute with on an idle machine."""
    physical: int
    reason: str
    """Why so many, as one sentence."""


def usable_cores() -> int:
    """Threads to compute with while nobody else wants the machine."""
    return machine_cores().usable


def thread_reason() -> str:
    """Why :func:`usable_cores` are so many, as one sentence."""
    return machine_cores().reason


def pace_for(
    setting: Literal["auto", "full", "quiet"], on_battery: bool
) -> Literal["full", "quiet"]:
    """The pace to load a model with: ``auto`` is quiet on battery."""
    if setting == "auto":
        return "quiet" if on_battery else "full"
    return setting


def machine_cores() -> Cores:
    """Counts of this machine, for this process."""
    import psutil

    allowed = allowed_processors()
    logical = psutil.cpu_count(logical=True) or len(allowed)
    return count_cores(
        allowed=allowed,
        logical=logical,
        physical=psutil.cpu_count(logical=False) or logical,
        fast=fast_processors(),
        quota=cgroup_quota(),
    )


def count_cores(
    *,
    allowed: Collection[int],
    logical: int,
    physical: int,
    fast: Collection[int] = (),
    quota: float | None = None,
) -> Cores:
    """How many threads to compute with.

    One a physical core: two threads on one core share its arithmetic. On a processor with two
    kinds of cores the fast ones alone, because all threads wait for the slowest. No more than the
    time a control group gives: beyond it all threads are stopped until the next period.

    Args:
        allowed: numbers of the processors this process may run on.
        logical: processors of the machine.
        physical: cores of the machine.
        fast: numbers of the processors of the fast kind; empty where there is one kind.
        quota: cores' worth of time the control group may use.
    """
    chosen, kind = set(allowed), "core"
    if fast and chosen & set(fast) and chosen - set(fast):
        chosen, kind = chosen & set(fast), "fast core"
        # Of two kinds only the fast one has two processors a core.
        slow = logical - len(fast)
        share = max(1, physical - slow) / max(1, len(fast)) if physical > slow else 1.0
    else:
        share = min(1.0, physical / max(1, logical))
    cores = max(1, round(len(chosen) * share))
    usable = cores if quota is None else max(1, min(cores, round(quota)))
    count = "1 thread" if usable == 1 else f"{usable} threads"
    if quota is not None and (usable < cores or quota < 1):
        reason = f"{count}: the control group allows {quota:g} of {cores} cores' time"
    elif len(set(allowed)) < logical:
        reason = f"{count}: one a {kind}, of {len(set(allowed))} of {logical} processors it may use"
    else:
        reason = f"{count}: one a {kind}, of {physical} cores with {logical} processors"
    return Cores(usable, physical, reason)


def allowed_processors() -> set[int]:
    """The numbers of the processors this process may run on."""
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def fast_processors(root: Path = Path("/")) -> set[int]:
    """The processors of the fast kind where there are two kinds; else empty.

    Linux lists them for Intel's hybrids in ``/sys/devices/cpu_core/cpus``, and tells the capacity
    of every processor on Arm. macOS numbers nothing: the first ``hw.perflevel0.logicalcpu``.
    """
    if sys.platform == "darwin" and root == Path("/"):
        return set(range(_perflevel0()))
    devices = root / "sys/devices"
    try:
        return parse_list((devices / "cpu_core/cpus").read_text())
    except (OSError, ValueError):
        pass
    capacity = {}
    for path in devices.glob("system/cpu/cpu[0-9]*/cpu_capacity"):
        try:
            capacity[int(path.parent.name[3:])] = int(path.read_text())
        except (OSError, ValueError):
            return set()
    most = max(capacity.values(), default=0)
    # Three kinds are common there; the middle one is fast enough to wait for.
    return {number for number, value in capacity.items() if value > most / 2}


def parse_list(text: str) -> set[int]:
    """The numbers in the kernel's ``0-3,8``.

    Raises:
        ValueError: it is something else.
    """
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _perflevel0() -> int:
    import ctypes

    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    try:
        failed = ctypes.CDLL(None).sysctlbyname(
            b"hw.perflevel0.logicalcpu", ctypes.byref(value), ctypes.byref(size), None, 0
        )
    except (OSError, AttributeError):
        return 0
    return 0 if failed else value.value


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time this process's control groups may use; None where there is no limit.

    The limit may sit on any group above it, so the smallest counts (the kernel's cgroup-v2 and
    cfs-bandwidth documents). In a container the path may not exist below the mount: there the
    mount itself is the group.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = ["0::/"]
    limits: list[float] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            for group in _upwards(root / "sys/fs/cgroup", path):
                limits += _quota_v2(group)
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct"):
                for group in _upwards(root / "sys/fs/cgroup" / mount, path):
                    limits += _quota_v1(group)
    return min(limits, default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return [mount.joinpath(*parts[:end]) for end in range(len(parts), -1, -1)]


def _quota_v2(group: Path) -> list[float]:
    try:
        quota, period = (group / "cpu.max").read_text().split()[:2]
        return [float(quota) / float(period)] if quota != "max" else []
    except (OSError, ValueError, ZeroDivisionError):
        return []


def _quota_v1(group: Path) -> list[float]:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        return [quota / int((group / "cpu.cfs_period_us").read_text())] if quota > 0 else []
    except (OSError, ValueError, ZeroDivisionError):
        return []


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


class IdleMeter:
    """How many of the processors this process may use had nothing to do, since the last look."""

    def __init__(self) -> None:
        self._last = self._read()

    def cores(self) -> float:
        """Idle cores' worth of time; 0.0 before anything could be measured."""
        idle, now = self._read()
        before, then = self._last
        self._last = idle, now
        return max(0.0, (idle - before) / (now - then)) if now - then > 0.05 else 0.0

    @staticmethod
    def _read() -> tuple[float, float]:
        import psutil

        allowed = allowed_processors()
        times = psutil.cpu_times(percpu=True)
        idle = sum(
            one.idle + getattr(one, "iowait", 0.0)
            for number, one in enumerate(times)
            if number in allowed
        )
        return idle, time.monotonic()
