"""The files of downloads: where they lie, what room they need, what was left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from corral.errors import DoesNotFit, Refused
from corral.models.files import BLOCK, Cancellation, Cancelled, Progress, status_of
from corral.models.gguf.header import open_model
from corral.placing import put
from corral.store.downloads import Download, Target
from corral.text import shorten
from corral.units import gigabytes

KEPT_SHARE = 0.05
KEPT = 1_000_000_000
"""Bytes that stay free on the disk, or 5 % of it where that is less."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file of a download that nobody continues."""

    path: Path
    bytes: int
    changed: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes on the disk of a folder."""

    free: int
    needed: int
    """By this download, the others in the queue, and what is kept free."""
    rest: int
    """Of this download alone."""

    def check(self, title: str) -> None:
        """Raises:
        DoesNotFit: there is less than is needed.
        """
        if self.free < self.needed:
            others = self.needed - self.rest
            raise DoesNotFit(
                f"{title} needs {gigabytes(self.rest)} more on the disk; of {gigabytes(self.free)}"
                f" that are free {gigabytes(others, 2)} are kept or promised to other downloads",
                title="The disk is too small",
                hint=f"Free {gigabytes(self.needed - self.free, 2)}, or set another folder under"
                " [downloads] in the settings",
            )


def part_of(path: Path) -> Path:
    """Where a file is while it arrives."""
    return path.with_name(f"{path.name}.part")


def bad_of(path: Path) -> Path:
    """Where a file is that arrived whole and is not what it should be."""
    return path.with_name(f"{path.name}.bad")


def room(folder: Path, targets: Iterable[Target], others: Iterable[Download] = ()) -> Room:
    """What the disk has, and what it must have for ``targets`` after all of ``others``.

    Raises:
        Refused: the folder cannot be looked at.
    """
    place = folder
    while not os.path.exists(place) and place != place.parent:  # noqa: PTH110 - never raises
        place = place.parent
    try:
        total, _, free = shutil.disk_usage(place)
    except OSError as error:
        raise Refused(
            f"The folder {shorten(str(place), 160)} cannot be used: {error.strerror}",
            hint="Set another folder under [downloads] in the settings",
        ) from None
    rest = sum(_rest(folder / target.name, target.size) for target in targets)
    promised = sum(
        _rest(path, target.size)
        for other in others
        for path, target in zip(other.paths, other.targets, strict=True)
    )
    kept = min(KEPT, round(total * KEPT_SHARE)) if rest else 0
    return Room(free, rest + promised + kept if rest else 0, rest)


def _rest(path: Path, size: int) -> int:
    """Bytes of a file that have no room on the disk yet; a file can be sparse."""
    if (whole := status_of(path)) and whole.st_size == size:
        return 0
    for place in (part_of(path), bad_of(path)):
        if status := status_of(place):
            blocks = getattr(status, "st_blocks", None)
            return max(0, size - (status.st_size if blocks is None else blocks * 512))
    return size


def make_folder(root: Path, folder: Path) -> None:
    """Make the folder of a model, private, below the folder of all models.

    Raises:
        Refused: it cannot be made or written to, or leads somewhere else.
    """
    why = ""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not folder.resolve().is_relative_to(root.resolve()):
            why = "it is a link to another folder"
        elif not os.access(folder, os.W_OK | os.X_OK):
            why = "it may not be written to"
    except (OSError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it leads to itself"
    if why:
        raise Refused(
            f"The folder {shorten(str(folder), 160)} cannot be used: {why}",
            title="The folder cannot be used",
            hint="Look at its permissions, or set another folder under [downloads]",
        )


def check_free(path: Path) -> None:
    """Raises:
    Refused: something that is no ordinary file has the name of the model.
    """
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Refused(
                f"“{shorten(path.name, 80)}” is there already, and it is a link or a folder",
                title="In the way",
                hint=f"Move it away: {shorten(str(path), 160)}",
            )


def install(part: Path, path: Path) -> None:
    """Give a complete file its name, in one step that survives a power cut.

    Raises:
        OSError: it cannot be renamed.
    """
    put(part, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut, where the system can do that."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_whole(path: Path, target: Target, progress: Progress, cancelled: Cancelled) -> str | None:
    """The sha256 of the file at ``path`` if its contents are those of ``target``, else None.

    Raises:
        NotFound, Refused: as :func:`corral.models.gguf.header.open_model`.
        Cancellation: ``cancelled`` said so.
    """
    whole, done = hashlib.sha256(), 0
    with open_model(path) as (file, status):
        if status.st_size != target.size:
            return None
        for segment in target.segments:
            own, end = hashlib.sha256(), done + segment.size
            while done < end and (block := _read(file, min(BLOCK, end - done))):
                whole.update(block)
                own.update(block)
                done += len(block)
                progress(done, target.size)
                if cancelled():
                    raise Cancellation(f"“{shorten(path.name, 80)}” was not read to its end")
            if segment.sha256 and segment.sha256 != own.hexdigest():
                return None
    found = whole.hexdigest()
    return found if target.sha256 in (None, found) else None


def _read(file: FileIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError:
        return b""  # A disk that cannot give the bytes does not have the file.


def discard(download: Download, installed: Iterable[Path] = ()) -> None:
    """Remove what has arrived of a download.

    Args:
        installed: files that were being repaired: they go back to where they were.
    """
    back = set(installed)
    for path in download.paths:
        for place in (part_of(path), bad_of(path)):
            with contextlib.suppress(OSError):
                if path in back and not path.exists():
                    install(place, path)
                else:
                    place.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        Path(download.folder).rmdir()  # Only when nothing else is in there.


def leftovers(root: Path, downloads: Iterable[Download]) -> list[Leftover]:
    """Files below ``root`` that belong to downloads that nobody continues, by path."""
    paths = [path for download in downloads for path in download.paths]
    known = {place for path in paths for place in (part_of(path), bad_of(path))}
    found = []
    for suffix in ("part", "bad"):
        for path in root.rglob(f"*.{suffix}"):
            if path not in known and not path.is_symlink() and (status := status_of(path)):
                found.append(Leftover(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda leftover: leftover.path)
