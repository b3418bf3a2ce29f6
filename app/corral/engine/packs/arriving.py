"""Where a pack comes from: a folder or a zip file. Only what its manifest names is taken."""

from __future__ import annotations

import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from corral.engine.packs import manifest
from corral.engine.packs.manifest import Manifest, refused

_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
BLOCK = 32 * io.DEFAULT_BUFFER_SIZE


@contextmanager
def opened(source: Path) -> Iterator[FolderSource | ZipSource]:
    """A pack as it comes.

    Raises:
        Refused: it is neither a folder nor a zip file, or the zip file holds no pack.
        OSError: it cannot be read.
    """
    if source.is_dir():
        yield FolderSource(source)
        return
    with source.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGED as error:
            raise refused(
                source.name, f"it is neither a folder nor a whole zip file: {error}"
            ) from None
        with archive:
            yield ZipSource(archive, source)


class FolderSource:
    """A pack that is a folder somewhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = folder.name

    def manifest(self) -> bytes:
        return manifest.read(self._folder)

    def copy(self, name: str, to: Path, size: int) -> None:
        path = self._folder / name
        if path.is_symlink():
            raise refused(self.name, f"{name} is a link")
        if not path.is_file():
            raise refused(self.name, f"{name} is missing: it was copied only in part")
        with path.open("rb") as file:
            _copy(file, to, size, self.name)

    def done(self, known: Manifest) -> None:
        there = {entry.name for entry in list(self._folder.iterdir())}
        for name in sorted(there - known.files.keys() - {manifest.FILE}):
            raise refused(self.name, f"{name[:100]} is not in its manifest")


class ZipSource:
    """A pack in a zip file, where all of it may lie in one folder; nothing is unpacked by name."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self.name = path.name
        self._members: dict[str, zipfile.ZipInfo] = {}
        folders: set[str] = set()
        for info in archive.infolist():
            folder, _, name = info.filename.rpartition("/")
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise refused(self.name, "there is a link in it")
            if "/" in folder or folder in (".", "..") or not manifest.is_plain(name):
                raise refused(self.name, "a file in it has a name that is none here, or a place")
            folders.add(folder)
            if name in self._members or len(folders) > 1:
                raise refused(self.name, "a name is in it twice")
            self._members[name] = info
        if manifest.FILE not in self._members:
            raise refused(self.name, f"there is no {manifest.FILE} in it: it is no engine pack")

    def manifest(self) -> bytes:
        try:
            with self._member(manifest.FILE) as file:
                return file.read(manifest.LIMIT + 1)
        except _DAMAGED:
            raise refused(self.name, f"it is damaged at {manifest.FILE}") from None

    def copy(self, name: str, to: Path, size: int) -> None:
        if name not in self._members:
            raise refused(self.name, f"{name} is missing: it was copied only in part")
        try:
            with self._member(name) as file:
                _copy(file, to, size, self.name)
        except _DAMAGED:
            raise refused(self.name, f"it is damaged at {name}") from None

    def _member(self, name: str) -> IO[bytes]:
        try:
            return self._archive.open(self._members[name])
        # Packed in a way that nobody here knows, or encrypted.
        except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
            raise refused(self.name, f"it cannot be unpacked: {error}") from None

    def done(self, known: Manifest) -> None:
        for name in sorted(self._members.keys() - known.files.keys() - {manifest.FILE}):
            raise refused(self.name, f"{name} is not in its manifest")


def _copy(file: IO[bytes], to: Path, size: int, what: str) -> None:
    """Exactly ``size`` bytes: what unpacks to more is not a file of this pack."""
    left = size
    with to.open("xb") as out:
        while left and (block := file.read(min(BLOCK, left))):
            out.write(block)
            left -= len(block)
        if left or file.read(1):
            raise refused(what, f"{to.name} does not have the {size} bytes of its manifest")
        out.flush()
        os.fsync(out.fileno())
