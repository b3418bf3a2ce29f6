"""Whether a folder is exactly what its manifest says: every file, every byte, and nothing else."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import MutableMapping
from pathlib import Path

from corral.engine.packs import binding, manifest
from corral.engine.packs.manifest import Manifest, refused

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

Hashes = MutableMapping[str, str]
"""sha256 by what :func:`_stamp` gives for a file: it is read again when anything about it changed,
and any write changes its ctime, which nobody but the system sets. (On Windows that is when it was
made: there the other three have to do.)"""


def check(folder: Path, hashes: Hashes | None = None) -> tuple[Manifest, str]:
    """The manifest of a pack, and the sha256 of that, which stands for the whole content.

    Args:
        hashes: known from before; new ones are added.

    Raises:
        Refused: something is missing, more, changed, a link, or not for this binding and platform.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise refused(folder.name, "it is a link or no folder")
    data = manifest.read(folder)
    found = manifest.parse(data, folder.name)
    if found.name != folder.name:
        raise refused(folder.name, f"its manifest is that of {found.name}")
    suits(found)
    there = _names(folder)
    for name in sorted(there - found.files.keys()):
        raise refused(folder.name, f"{name[:100]} is not in its manifest")
    for name, file in found.files.items():
        if name not in there:
            raise refused(folder.name, f"{name} is missing: it was copied only in part")
        _check_file(folder, name, file, {} if hashes is None else hashes)
    return found, hashlib.sha256(data).hexdigest()


def suits(found: Manifest) -> None:
    """Whether a pack can be of use under this binding on this system.

    Raises:
        Refused: it cannot, and why.
    """
    here = binding.version()
    if found.binding != here:
        raise refused(
            found.name,
            f"it is for llama-cpp-python {found.binding}, and this is {here or 'not installed'}",
        )
    if found.platform != (tag := binding.platform_tag()):
        raise refused(found.name, f"it is for {found.platform}, and this is {tag}")
    if not any(name in found.files for name in binding.library_names()):
        raise refused(found.name, f"{binding.library_names()[0]} is not in it")


def _names(folder: Path) -> set[str]:
    """Raises: Refused: a file is no file."""
    names = set()
    try:
        for entry in list(folder.iterdir()):
            if entry.is_symlink() or not entry.is_file():
                raise refused(folder.name, f"{entry.name[:100]} is a link or no file")
            names.add(entry.name)
    except OSError as error:
        raise refused(folder.name, f"it cannot be read: {error.strerror or error}") from None
    return names - {manifest.FILE}


def _check_file(folder: Path, name: str, file: manifest.File, hashes: Hashes) -> None:
    try:
        descriptor = os.open(folder / name, _FLAGS)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise refused(folder.name, f"{name} is no file")
            if status.st_size != file.bytes:
                raise refused(
                    folder.name,
                    f"{name} has {status.st_size} bytes and should have {file.bytes}: it was "
                    "copied only in part, or changed",
                )
            key = f"{folder / name}:{_stamp(status)}"
            if key not in hashes:
                hashes[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise refused(folder.name, f"{name} cannot be read: {error.strerror or error}") from None
    if hashes[key] != file.sha256:
        raise refused(folder.name, f"{name} is not what its sha256 says: it was changed or damaged")


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
