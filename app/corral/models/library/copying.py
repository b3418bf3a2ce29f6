"""Model files brought into corral's folder: linked, moved or copied, and nothing ever lost.

New files appear whole, under names that were free, or not at all. Whatever ends the work early
takes away only what it made; the file of a move goes last, when its copy was read back and is safe.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corral.errors import CorralError, DoesNotFit, Refused, UsageError
from corral.models import files
from corral.models.downloads.files import make_folder, part_of, room, sync_folder
from corral.models.files import BLOCK, Cancellation, Cancelled, Progress, changed_meanwhile, mark
from corral.models.gguf.header import open_model, unreadable
from corral.models.library.shards import Part
from corral.store.downloads import Download, Target
from corral.text import shorten
from corral.units import gigabytes

Bring = Literal["hard link", "move", "copy"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Brought:
    """Files at their new place, and what they were when they were hashed."""

    paths: list[Path]
    parts: list[Part]


@contextmanager
def bring(
    paths: Sequence[Path],
    folder: Path,
    how: Bring,
    *,
    others: Sequence[Download] = (),
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Brought]:
    """Brings the files of one model into ``folder``, for as long as the caller is content.

    When the body ends well a move removes the files where they were; when it raises, everything is
    as it was before.

    Args:
        others: downloads that were promised room on the disk.

    Raises:
        NotFound, Refused: as :func:`corral.models.gguf.header.open_model`; or the folder or the
            file system does not allow it.
        UsageError: what should be moved is a link.
        DoesNotFit: the disk is too small for a copy.
        Cancellation: ``cancelled`` said so.
    """
    job = _Job(paths, folder, how, others, progress, cancelled)
    try:
        yield job.run()
    except BaseException:
        job.undo()
        raise
    job.finish()


class _Job:
    def __init__(
        self,
        paths: Sequence[Path],
        folder: Path,
        how: Bring,
        others: Sequence[Download],
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> None:
        self._paths = paths
        self._root = folder
        self._how = how
        self._others = others
        self._progress = progress
        self._cancelled = cancelled
        self._folder = _free_folder(folder, [path.name for path in paths])
        self._made: list[Path] = []
        self._before: list[os.stat_result] = []
        self._done = self._total = 0
        self._copies = False

    def run(self) -> Brought:
        sources = [self._source(path) for path in self._paths]
        make_folder(self._root.parent, self._folder)
        self._before = [source.stat() for source in sources]
        sizes = [status.st_size for status in self._before]
        there = self._folder.stat().st_dev
        self._copies = self._how == "copy" or any(s.st_dev != there for s in self._before)
        if self._copies:
            self._check(sizes)
        self._total = sum(sizes) * (2 if self._copies and self._how == "move" else 1)
        targets = [self._folder / path.name for path in self._paths]
        hashes = [self._one(*pair) for pair in zip(sources, targets, strict=True)]
        # Only now: what a kill leaves of a model that is not whole is known as a leftover.
        for target in targets:
            if part_of(target) in self._made:
                with self._explained(target):
                    self._name(part_of(target), target)
        for place in (self._folder, self._root, self._root.parent):
            sync_folder(place)  # Each of them may be new.
        parts = [
            Part(target.name, *mark(target.stat()), sha256)
            for target, sha256 in zip(targets, hashes, strict=True)
        ]
        return Brought(targets, parts)

    def finish(self) -> None:
        if self._how == "move":
            for path, before in zip(self._paths, self._before, strict=True):
                # It is here now; that it is there, too, does no harm.
                with contextlib.suppress(OSError):
                    if _is_same(before, path.lstat()):
                        path.unlink()

    def undo(self) -> None:
        for path in self._made:
            with contextlib.suppress(OSError):
                path.unlink()
        if self._folder != self._root:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    # --- before ---

    def _source(self, path: Path) -> Path:
        """The file itself, which a chosen link may only lead to."""
        if self._how != "move":
            with open_model(path):
                return path.resolve()
        if path.is_symlink():
            raise UsageError(
                f"“{shorten(path.name, 80)}” is only a link to a file",
                title="Cannot be moved",
                hint="Name the file that it leads to, or copy it",
            )
        with open_model(path):
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise Refused(
                    f"The folder of “{shorten(path.name, 80)}” does not allow that it is moved",
                    title="Cannot be moved",
                    hint="Look at its permissions, or copy the file",
                )
            return path

    def _check(self, sizes: Sequence[int]) -> None:
        wanted = [
            Target(p.name, (), size, None) for p, size in zip(self._paths, sizes, strict=True)
        ]
        disk = room(self._folder, wanted, self._others)
        if disk.free < disk.needed:
            raise self._full(
                f"a copy needs {gigabytes(disk.rest, 2)}, and of {gigabytes(disk.free, 2)} that are"
                f" free {gigabytes(disk.needed - disk.rest, 2)} are kept or promised to downloads"
            )

    # --- one file ---

    def _one(self, source: Path, target: Path) -> str:
        """Its sha256, once it is there."""
        with self._explained(source):
            if self._how != "copy":
                with contextlib.suppress(_NoLink):
                    return self._link(source, target)
            return self._copy(source, target)

    @contextmanager
    def _explained(self, source: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self._full("it was filled while the file was copied") from None
            raise Refused(
                f"“{shorten(source.name, 80)}” cannot be brought to"
                f" {shorten(str(self._folder), 160)}: {error.strerror}",
                title="Cannot be imported",
                hint="Use it where it lies, or look at the permissions of both folders",
            ) from None

    def _link(self, source: Path, target: Path) -> str:
        """A second name for the same file; of a move the first one goes at the end."""
        if source.stat().st_dev != self._folder.stat().st_dev:
            if self._how == "move":
                raise _NoLink
            raise Refused(
                f"“{shorten(source.name, 80)}” lies on another disk than corral's folder",
                title="Cannot be linked",
                hint="Use it where it lies, or copy it",
            )
        sha256, status = files.sha256_of(source, self._report, self._cancelled)
        self._done += status.st_size
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError as error:
            if self._how == "move":
                self._done -= status.st_size
                raise _NoLink from None
            raise Refused(
                f"“{shorten(source.name, 80)}” cannot be linked: {error.strerror}",
                title="Cannot be linked",
                hint="Use it where it lies, or copy it",
            ) from None
        self._made.append(target)
        if mark(target.stat()) != mark(status):
            raise changed_meanwhile(source)
        return sha256

    def _copy(self, source: Path, target: Path) -> str:
        part = part_of(target)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        for flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        descriptor = os.open(part, flags, 0o600)
        self._made.append(part)
        with os.fdopen(descriptor, "wb") as out:
            sha256 = self._pour(source, out.write)
            out.flush()
            os.fsync(out.fileno())
            if sys.platform == "linux":
                # Reading it back shall ask the disk, not the memory.
                os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if self._how == "move":
            again, status = files.sha256_of(part, self._report, self._cancelled)
            self._done += status.st_size
            if again != sha256:
                raise Refused(
                    f"The copy of “{shorten(source.name, 80)}” is not what was read",
                    title="The disk cannot be trusted",
                    hint="The file is still where it was",
                )
        return sha256

    def _pour(self, source: Path, write: Callable[[memoryview], int]) -> str:
        digest = hashlib.sha256()
        block = memoryview(bytearray(BLOCK))
        copied = 0
        with open_model(source) as (file, before):
            while copied <= before.st_size:
                try:
                    count = file.readinto(block) or 0
                except OSError as error:
                    raise unreadable(source, error) from None
                if not count:
                    break
                write(block[:count])
                digest.update(block[:count])
                copied += count
                self._report(copied, before.st_size)
                if self._cancelled and self._cancelled():
                    raise Cancellation(f"“{shorten(source.name, 80)}” was not copied to its end")
            if mark(before) != mark(os.fstat(file.fileno())):
                raise changed_meanwhile(source)
        self._done += copied
        return digest.hexdigest()

    def _name(self, part: Path, target: Path) -> None:
        """Give a complete file its name, which nothing else may have got meanwhile."""
        try:
            os.link(part, target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links, where looking first has to do.
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            part.rename(target)
        self._made.append(target)
        part.unlink(missing_ok=True)

    def _report(self, done: int, _: int) -> None:
        if self._progress:
            self._progress(self._done + done, max(self._total, self._done + done))

    def _full(self, why: str) -> CorralError:
        return DoesNotFit(
            f"“{shorten(self._paths[0].name, 80)}” does not fit the disk: {why}",
            title="The disk is too small",
            hint="Use it where it lies: that takes no space",
        )


class _NoLink(Exception):
    """Two names for one file are not possible here."""


def _is_same(before: os.stat_result, now: os.stat_result) -> bool:
    """Whether nobody put another file in its place, or changed it, while it was brought."""
    return os.path.samestat(before, now) and mark(before) == mark(now)


def _free_folder(folder: Path, names: Sequence[str]) -> Path:
    """``folder``, or a numbered one in it where another file has one of the names already.

    The names stay as they are: files are recognised by them.
    """
    number = 1
    place = folder
    while any(os.path.lexists(p) for name in names for p in (place / name, part_of(place / name))):
        number += 1
        place = folder / str(number)
    return place
