"""Which process writes: an identity that outlives the process and survives a reused pid."""

from __future__ import annotations

import os

import psutil

_CLOCK_STEP = 2.0
"""Seconds the wall clock may be corrected while a process lives: its creation time moves along."""


def this_process() -> str:
    """``pid:create_time`` of the running process."""
    return f"{os.getpid()}:{psutil.Process().create_time()}"


def is_running(writer: str) -> bool:
    """Whether that very process still runs, and not another one that was given its pid."""
    pid, _, created = writer.partition(":")
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(created)) < _CLOCK_STEP
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError):
        return False
