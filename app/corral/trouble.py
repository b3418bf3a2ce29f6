"""What is written down when the program itself fails: where, and never what anybody said."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from corral import program

_WITHOUT_CONTENT = (AttributeError, ImportError, NameError, NotImplementedError, TypeError, OSError)
"""Errors whose message names parts of the program or of the system, not what a person wrote."""


def _print_of(path: str) -> tuple[int, int] | None:
    """What changes when a file is taken away or another one is put in its place."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


_OWN = sys.executable if program.frozen() else __file__
_BORN = _print_of(_OWN)
"""Of one of corral's own files, as it was when this began to run."""


def replaced() -> bool:
    """Whether corral was removed or updated while it runs.

    What it has not imported yet is then not there any more, or of another version.
    """
    return _print_of(_OWN) != _BORN or _print_of(sys.executable) is None


REPLACED = "corral was removed or updated while it ran"
REPLACED_HINT = "All that was written is saved. Start corral again; install it again if it is gone."


def describe(error: BaseException) -> str:
    """The places an error went through, without local variables and without foreign text."""
    lines: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        lines += traceback.format_list(traceback.extract_tb(at.__traceback__))
        said = f": {at}" if isinstance(at, _WITHOUT_CONTENT) else ""
        lines.append(f"{type(at).__module__}.{type(at).__qualname__}{said}\n")
        at = at.__cause__ or at.__context__
    return "".join(lines)


def write_down(log: Path, error: BaseException) -> bool:
    """Append an error to a log that only its owner can read; False where that is impossible."""
    entry = f"{time.strftime('%Y-%m-%d %H:%M:%S')} the program failed\n{describe(error)}\n"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8", errors="replace") as file:
            file.write(entry)
    except OSError:
        return False
    return True
