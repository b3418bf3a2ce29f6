"""A child process ends with its parent, however the parent dies."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """On Linux, have the kernel send ``number`` when the parent dies; elsewhere do nothing.

    The portable half is the end of file on the pipe from the parent, which the caller watches.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), number)
