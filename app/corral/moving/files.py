"""Files that are whole or not there: written beside, then put in their place in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from corral.errors import CorralError, DoesNotFit, NotFound, Refused
from corral.placing import put
from corral.text import shorten

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write into; what lies at ``path`` stays untouched until all is on the disk.

    A pipe or a device is written to as it is.

    Args:
        replace: whether a file that is there already gives way.

    Raises:
        DoesNotFit: the disk is full.
        Refused: something is there already that does not give way.
        NotFound: the folder is not there.
        CorralError: it cannot be written.
    """
    path = Path(os.path.realpath(path))
    with plain_errors(path):
        kind = path.stat().st_mode if path.exists() else 0
    if stat.S_ISDIR(kind):
        raise Refused(f"{shorten(str(path), 200)} is a folder")
    if kind and not stat.S_ISREG(kind):
        with plain_errors(path), path.open("wb") as device:
            yield device
        return
    if kind and not replace:
        raise already(path)
    # Short: the name itself may be as long as names can be.
    fresh = path.with_name(f".corral-{secrets.token_hex(6)}.part")
    try:
        with plain_errors(path):
            with open(fresh, "xb", opener=private) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if kind:
                fresh.chmod(stat.S_IMODE(kind))
            _put(fresh, path, replace=replace)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def private(path: str, flags: int) -> int:
    """For ``open``: the file is its owner's alone, whatever else new files are."""
    return os.open(path, flags, 0o600)


def _put(fresh: Path, path: Path, *, replace: bool) -> None:
    if replace:
        put(fresh, path)
        return
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise already(path) from None
    except OSError:  # A file system without hard links.
        if path.exists():
            raise already(path) from None
        put(fresh, path)


def already(path: Path) -> Refused:
    """What is there does not give way."""
    return Refused(f"There is a file {shorten(str(path), 200)} already", hint="Give another name")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # Some file systems cannot; the file itself is written.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """What the system says about a file that is written, as a person reads it."""
    name = shorten(str(path), 200)
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        if error.errno in _FULL:
            raise DoesNotFit(
                f"There is no room left to write {name}",
                title="The disk is full",
                hint="Free some space or choose another disk; a file that was there is unchanged",
            ) from None
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"There is no folder {shorten(str(path.parent), 200)}") from None
        raise CorralError(
            f"{name} cannot be written: {error.strerror or error}",
            title="Not written",
            hint="Choose a folder that you may write to",
        ) from None
