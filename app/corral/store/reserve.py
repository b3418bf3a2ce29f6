"""A little room on the disk that is given back when nothing else is left.

SQLite needs new pages even to read (the -shm file of a WAL database) and to delete. The reserve
lets a history on a full disk be opened, read and thinned out.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 256 * 1024


def keep(database: Path) -> None:
    """Put the reserve beside the database, unless it is there or there is no room for it."""
    path = _path(database)
    with contextlib.suppress(OSError):
        if path.exists():
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                # Not zeros: a file system that compresses would keep no room for them.
                file.write(os.urandom(RESERVE_BYTES))
        except OSError:
            path.unlink(missing_ok=True)


def give_back(database: Path) -> bool:
    """Free the reserve; False where there was none."""
    try:
        _path(database).unlink()
    except OSError:
        return False
    return True


def _path(database: Path) -> Path:
    return Path(f"{database}.reserve")
