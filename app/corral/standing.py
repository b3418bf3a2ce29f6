"""What a process stands on before anything else: three open streams, and a home."""

from __future__ import annotations

import os
import sys


def see_to_it() -> None:
    """Give what is missing; to be called before any file is opened.

    A program that was started with a closed stream, as some supervisors and ``>&-`` in a shell do,
    would get its number for the next file it opens, and what is printed would end in that file:
    nothing is read there then, and nobody reads what is written. Where neither ``HOME`` nor the
    system names a home, as for a container's user without an entry, it is the root folder, as for
    shells; corral says which folder it could not use, and how to name another one.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if os.name == "posix" and os.path.expanduser("~") == "~":  # noqa: PTH111 - Path would raise
        os.environ["HOME"] = os.sep
