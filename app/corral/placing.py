"""Files and folders put in their place in one step, also where others look at them meanwhile."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

PATIENCE = 1.0
"""Seconds for whoever looks at a new file: a virus scanner or an indexer has it open a moment."""

_AGAIN = 0.02


def put(fresh: Path, place: Path) -> None:
    """Rename a file or a folder; a file that has the name already gives way.

    Windows renames nothing that anybody has open, so there it is tried for :data:`PATIENCE`.

    Raises:
        OSError: it cannot be renamed.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(fresh, place)  # noqa: PTH105 - atomic on every system
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > until:
                raise
            time.sleep(_AGAIN)
        else:
            return


def hint(error: OSError, otherwise: str = "") -> str:
    """What to do where something cannot be deleted or renamed."""
    if sys.platform == "win32" and isinstance(error, PermissionError):
        return "Windows keeps what a program has open: close what uses it, then try again"
    return otherwise
