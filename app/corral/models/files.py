"""Model files on the disk: where they are, whether they changed, and their sha256.

Only the hash of the whole file can tell whether its weights are sound: damaged weights load, and
then talk nonsense without an error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import sys
from collections.abc import Callable
from io import BufferedIOBase, FileIO
from pathlib import Path

from corral.errors import CorralError, Refused
from corral.models.gguf.header import open_model, unreadable
from corral.text import shorten

BLOCK = 1024 * 1024
_FSCTL_SET_SPARSE = 0x000900C4
"""winioctl.h."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
Cancelled = Callable[[], bool]
"""Asked between blocks; true ends the work."""


def shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    """The same, for one of several files: ``start`` bytes are done before it begins."""
    if progress is None:
        return None
    told = progress
    return lambda done, size: told(start + done, max(total, start + size))


class Cancellation(CorralError):
    """The person stopped it; nothing was changed."""

    title = "Stopped"
    exit_code = 130


def absolute(path: str | Path) -> Path:
    """An absolute path that still has the name the person gave.

    Links are not followed: in the caches of other applications the link carries the model's name,
    and the file it leads to only a hash.
    """
    path = Path(path)
    if ".." in path.parts:  # Behind a link to a folder it leads elsewhere than it looks.
        path = real(path.parent) / path.name
    return Path(os.path.abspath(path))  # noqa: PTH100  # Path.absolute() keeps the dots


def real(folder: Path) -> Path:
    """Where a folder lies, all links followed. Unlike :meth:`Path.resolve` it minds no loops."""
    return Path(os.path.realpath(folder))


def status_of(path: Path) -> os.stat_result | None:
    """The status of a regular file, links followed; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def mark(status: os.stat_result) -> tuple[int, int]:
    """Size and time of change: as long as both stay the same, the file does."""
    return status.st_size, status.st_mtime_ns


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def changed_meanwhile(path: Path) -> Refused:
    return Refused(
        f"“{shorten(path.name, 80)}” changed while it was read",
        hint="Wait until it is complete, then try again",
    )


def sha256_of(
    path: Path, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> tuple[str, os.stat_result]:
    """The hash of a whole file in hexadecimal digits, and the status of what was hashed.

    Raises:
        NotFound, Refused: as :func:`corral.models.gguf.header.open_model`, or it changed meanwhile.
        Cancellation: ``cancelled`` said so.
    """
    digest = hashlib.sha256()
    block = memoryview(bytearray(BLOCK))
    done = 0
    with open_model(path) as (file, before):
        # A file that is still being written could be read for ever.
        while done <= before.st_size and (count := _read(file, block, path)):
            digest.update(block[:count])
            done += count
            if progress:
                progress(done, before.st_size)
            if cancelled and cancelled():
                raise Cancellation(f"“{shorten(path.name, 80)}” was not read to its end")
        after = os.fstat(file.fileno())
    if mark(before) != mark(after):
        raise changed_meanwhile(path)
    return digest.hexdigest(), after


def set_length(file: BufferedIOBase | FileIO, size: int) -> None:
    """Make a file as long as it will be, without taking the room for what is not written.

    Windows takes it all at once, unless it is told that the file is sparse; and ``truncate()``
    writes every zero there, for it is ``_chsize_s()``.

    Args:
        size: more than it is long.

    Raises:
        OSError: it cannot be.
    """
    if sys.platform == "win32" and size:
        import ctypes
        import msvcrt
        from ctypes import wintypes

        told = wintypes.DWORD()
        # A file system that knows no sparse files refuses, and that is all.
        ctypes.windll.kernel32.DeviceIoControl(
            wintypes.HANDLE(msvcrt.get_osfhandle(file.fileno())),
            wintypes.DWORD(_FSCTL_SET_SPARSE),
            None, wintypes.DWORD(0), None, wintypes.DWORD(0), ctypes.byref(told), None,
        )  # fmt: skip
        file.seek(size - 1)
        file.write(b"\0")
    else:
        file.truncate(size)


def _read(file: FileIO, block: memoryview, path: Path) -> int:
    try:
        return file.readinto(block) or 0
    except OSError as error:
        raise unreadable(path, error) from None
