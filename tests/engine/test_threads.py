"""Counting cores: affinity, kinds of cores, control groups; who else computes; the pace."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from corral.engine.threads import (
    IdleMeter,
    NeighbourMeter,
    cgroup_quota,
    count_cores,
    fast_processors,
    machine_cores,
    pace_for,
    parse_list,
    thread_reason,
    usable_cores,
)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_one_thread_a_physical_core() -> None:
    assert count_cores(allowed=range(16), logical=16, physical=8).usable == 8
    assert count_cores(allowed=range(4), logical=16, physical=8).usable == 2
    assert count_cores(allowed=[3], logical=16, physical=8).usable == 1
    assert count_cores(allowed=range(2), logical=2, physical=2).usable == 2


def test_fast_cores_alone_where_there_are_two_kinds() -> None:
    """Six fast cores with two processors each, eight slow ones with one."""
    found = count_cores(allowed=range(20), logical=20, physical=14, fast=range(12))
    assert found.usable == 6
    assert "fast core" in found.reason
    # Only slow ones allowed: those, then.
    assert count_cores(allowed=range(12, 20), logical=20, physical=14, fast=range(12)).usable >= 5
    # Four fast and four slow with one processor each.
    assert count_cores(allowed=range(8), logical=8, physical=8, fast=range(4)).usable == 4


@pytest.mark.parametrize(
    ("quota", "usable"), [(None, 8), (0.5, 1), (1.5, 2), (2.0, 2), (7.6, 8), (100.0, 8)]
)
def test_a_control_group_limits(quota: float | None, usable: int) -> None:
    found = count_cores(allowed=range(8), logical=8, physical=8, quota=quota)
    assert found.usable == usable
    assert ("control group" in found.reason) == (quota is not None and quota < 7)


def test_the_smallest_limit_of_nested_groups_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/app.scope\n",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/user.slice/app.scope/cpu.max": "max 100000\n",
        },
    )
    assert cgroup_quota(root) == 1.5
    tree(root, {"sys/fs/cgroup/user.slice/app.scope/cpu.max": "50000 100000\n"})
    assert cgroup_quota(root) == 0.5


def test_in_a_container_the_mount_is_the_group(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
    )
    assert cgroup_quota(root) == 2.0


def test_version_one_groups(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/x\n1:cpu,cpuacct:/jobs/7\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup_quota(root) == 0.5


@pytest.mark.parametrize("text", ["", "max\n", "nonsense here\n", "100000 0\n"])
def test_what_is_no_limit_limits_nothing(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text})
    assert cgroup_quota(root) is None
    assert cgroup_quota(tmp_path / "nowhere") is None


def test_the_kinds_of_processors(tmp_path: Path) -> None:
    assert fast_processors(tmp_path) == set()
    intel = tree(tmp_path / "intel", {"sys/devices/cpu_core/cpus": "0-11\n"})
    assert fast_processors(intel) == set(range(12))
    arm = tree(
        tmp_path / "arm",
        {
            f"sys/devices/system/cpu/cpu{number}/cpu_capacity": str(capacity)
            for number, capacity in enumerate((250, 250, 800, 1024))
        },
    )
    assert fast_processors(arm) == {2, 3}
    assert parse_list("0-2,8") == {0, 1, 2, 8}
    with pytest.raises(ValueError):
        parse_list("all")


def test_this_machine_has_a_number_and_a_reason() -> None:
    assert usable_cores() == machine_cores().usable >= 1
    assert thread_reason().startswith(f"{usable_cores()} thread")


def test_the_pace() -> None:
    assert pace_for("auto", on_battery=True) == "quiet"
    assert pace_for("auto", on_battery=False) == "full"
    assert pace_for("full", on_battery=True) == "full"
    assert pace_for("quiet", on_battery=False) == "quiet"


def test_a_neighbour_is_measured() -> None:
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = NeighbourMeter()
        time.sleep(0.5)
        assert meter.cores() > 0.25
    finally:
        spinner.kill()
        spinner.wait()


def test_idle_cores_are_no_more_than_there_are() -> None:
    meter = IdleMeter()
    time.sleep(0.3)
    assert 0.0 <= meter.cores() <= (psutil.cpu_count() or 1) + 0.5
