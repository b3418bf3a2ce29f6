"""The one file of a backup: a zip archive with a manifest, and what may be in it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral.errors import NotFound, Refused
from corral.moving.files import private
from corral.moving.records import LATEST
from corral.reserved import is_reserved
from corral.store.schema import MIGRATIONS
from corral.text import shorten

FORMAT = "corral-backup"
VERSION = 1
MANIFEST = "manifest.json"
DATABASE = "corral.db"
SETTINGS = "config.toml"
CATALOGUE = "models.toml"
PRESETS = "presets"

BLOCK = 1 << 20
_LARGEST_MANIFEST = 1 << 20
_LARGEST_TEXT = 4 << 20
"""Bytes of a settings or preset file."""
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What damage in an archive raises, an encrypted one, and one packed in an unknown way."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


class Entry(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(defer_build=True)

    name: str = Field(max_length=400)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a backup says about itself."""

    model_config = ConfigDict(defer_build=True)

    format: str
    version: int
    corral: str = Field(max_length=100)
    tables: int = Field(ge=0)
    """How many steps the tables of the history have gone through."""
    created: float = Field(ge=0, le=LATEST, allow_inf_nan=False)
    """Seconds since the epoch."""
    conversations: int = Field(ge=0)
    """Those in the trash included."""
    messages: int = Field(ge=0)
    files: list[Entry] = Field(max_length=10_000)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files)


@dataclass(frozen=True, slots=True)
class Archive:
    """An open backup whose manifest was read and makes sense."""

    file: zipfile.ZipFile
    manifest: Manifest
    path: Path

    def unpack(
        self, folder: Path, progress: Progress | None = None, done: int = 0, total: int = 0
    ) -> dict[str, Path]:
        """Write every file below an empty folder and compare it with its sum.

        Returns:
            Where each lies, by its name in the backup.

        Raises:
            Refused: a file is damaged or not there.
            OSError: one cannot be written.
        """
        found = {}
        for number, entry in enumerate(self.manifest.files):
            target = folder / f"{number}"
            self._unpack(entry, target, progress, done, total)
            done += entry.bytes
            found[entry.name] = target
        return found

    def _unpack(
        self, entry: Entry, target: Path, progress: Progress | None, done: int, total: int
    ) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            with (
                self.file.open(entry.name) as source,
                open(target, "xb", opener=private) as out,
            ):
                for block in _blocks(source, entry.bytes):
                    digest.update(block)
                    size += len(block)
                    out.write(block)
                    if progress is not None:
                        progress(done + size, total)
        except (KeyError, *BROKEN):
            raise damaged(self.path, entry.name) from None
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise damaged(self.path, entry.name)


def _blocks(source: IO[bytes], size: int) -> Iterator[bytes]:
    """At most one byte more than there should be, however much is packed in there."""
    left = size + 1
    while left > 0 and (block := source.read(min(BLOCK, left))):
        left -= len(block)
        yield block


def damaged(path: Path, name: str) -> Refused:
    return Refused(
        f"The backup is damaged: {shorten(name, 80)} in it is not as it was written",
        hint=f"Take another backup than {shorten(path.name, 100)}; nothing was changed",
    )


def opened(path: Path) -> Archive:
    """Open a backup and read what it says about itself; the caller closes ``file``.

    Raises:
        NotFound: there is no such file.
        Refused: it is no backup, or damaged, or from a newer corral.
    """
    name = shorten(path.name, 100)
    if not os.path.exists(path):  # noqa: PTH110 - a name that is too long is not there
        raise NotFound(f"There is no file {shorten(str(path), 200)}")
    if not path.is_file():
        raise Refused(f"{name} is no ordinary file")
    try:
        file = zipfile.ZipFile(path)
    except (*BROKEN, OSError, ValueError):
        raise Refused(
            f"{name} is no backup of corral's, or damaged",
            hint="`corral history backup PATH` writes one",
        ) from None
    try:
        return Archive(file, _manifest(file, path), path)
    except BaseException:
        file.close()
        raise


def _manifest(file: zipfile.ZipFile, path: Path) -> Manifest:
    name = shorten(path.name, 100)
    try:
        with file.open(MANIFEST) as source:
            content = source.read(_LARGEST_MANIFEST + 1)
        value = json.loads(content[: _LARGEST_MANIFEST + 1])
    except KeyError:
        raise Refused(f"{name} is no backup of corral's") from None
    except (*BROKEN, OSError, ValueError, RecursionError):
        raise damaged(path, MANIFEST) from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Refused(f"{name} is no backup of corral's")
    version, tables = value.get("version"), value.get("tables")
    newer = isinstance(version, int) and version > VERSION
    if newer or (isinstance(tables, int) and tables > len(MIGRATIONS)):
        writer = shorten(str(value.get("corral", "")), 20)
        raise Refused(
            f"{name} was written by a newer corral ({writer}), which this one cannot read",
            hint="Restore it with that version; nothing was changed",
        )
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError:
        raise damaged(path, MANIFEST) from None
    names = [entry.name for entry in manifest.files]
    if DATABASE not in names or len(set(names)) != len(names):
        raise damaged(path, MANIFEST)
    for entry in manifest.files:
        if not is_allowed(entry.name) or (entry.name != DATABASE and entry.bytes > _LARGEST_TEXT):
            raise Refused(
                f"{name} holds what no backup holds: {shorten(entry.name, 80)}",
                hint="It was not written by corral; nothing was changed",
            )
    return manifest


def is_allowed(name: str) -> bool:
    """Whether a file of this name belongs into a backup, and so never anywhere else."""
    if name in (DATABASE, SETTINGS, CATALOGUE):
        return True
    parts = PurePosixPath(name).parts
    plain = all(part.isprintable() and part not in ("..", ".") for part in parts)
    return (
        len(parts) == 2
        and parts[0] == PRESETS
        and plain
        and "\\" not in name
        and ":" not in name
        and parts[1].endswith(".toml")
        and not (sys.platform == "win32" and is_reserved(parts[1]))
        and not parts[1].startswith(".")
    )
