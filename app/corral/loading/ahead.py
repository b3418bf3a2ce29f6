"""Reads a model file into the page cache while its worker still starts."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

BLOCK = 8 << 20
"""Bytes that are asked for at once, between two looks at whether to go on."""
SAMPLES = 64
"""Places of a file that are looked at to see whether it is cached."""
CACHED = 0.98
"""Share of them from which on reading ahead is not worth a thread."""
_PAGE = 4096


class ReadAhead:
    """One model's files, read by a thread of its own until all of it was read, or it is stopped.

    The worker then finds the pages in memory. Nothing here fails: a file that cannot be read is
    the worker's to complain about.

    Args:
        paths: of the model's files, in order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self.asked = 0
        """Bytes that were asked for; none of a file that is cached."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Come back at once; the thread ends after the block in work."""
        self._stopped.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; False where it takes longer."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._paths:
                self._read(path)

    def _read(self, path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if is_cached(file.fileno(), size):
                return
            for offset in range(0, size, BLOCK):
                if self._stopped.is_set():
                    return
                fetch(file.fileno(), offset, min(BLOCK, size - offset))
                self.asked += min(BLOCK, size - offset)


def is_cached(descriptor: int, size: int) -> bool:
    """Whether nearly all of a file is in the page cache; False where the system does not tell.

    A read with RWF_NOWAIT gives what is cached and refuses what would need the disk: preadv2(2).
    What was refused may be read all the same, later, so no place is looked at twice.
    """
    if sys.platform != "linux" or not hasattr(os, "RWF_NOWAIT") or not hasattr(os, "preadv"):
        return False
    buffer = bytearray(min(_PAGE, size))
    here = 0
    with contextlib.suppress(OSError):
        # Or a look at one page would fetch those behind it.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for sample in range(SAMPLES):
            place = (sample + random.random()) / SAMPLES  # noqa: S311 - nobody could gain
            offset = int((size - len(buffer)) * place)
            with contextlib.suppress(BlockingIOError):
                here += os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT) == len(buffer)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_NORMAL)
    return here >= CACHED * SAMPLES


def fetch(descriptor: int, offset: int, length: int) -> None:
    """Bring some bytes of a file into the page cache, or make the system begin to."""
    if sys.platform == "linux" and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)
    elif hasattr(os, "pread"):
        os.pread(descriptor, length, offset)
    else:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.read(descriptor, length)
