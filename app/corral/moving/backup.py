"""Everything that cannot be fetched again in one file: the history, settings and presets.

Models are left out: they are large, and a file that was lost can be downloaded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from corral import __version__
from corral.errors import CorralError, DoesNotFit
from corral.models.files import Cancellation
from corral.moving import archive
from corral.moving.archive import BLOCK, Entry, Manifest, Progress
from corral.moving.files import already, plain_errors, whole_file
from corral.paths import Paths
from corral.store.moving import Copied
from corral.store.schema import MIGRATIONS
from corral.store.store import Store
from corral.store.writers import is_running, this_process

_ROOM = 8 << 20
"""Bytes that stay free on the disk beside what is written."""
_WORK = ".moving-"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that was written, and read again to its end."""

    path: Path
    manifest: Manifest
    bytes: int


def backup_name(now: float) -> str:
    """``corral-backup-2026-11-21-1620.zip``."""
    return time.strftime("corral-backup-%Y-%m-%d-%H%M.zip", time.localtime(now))


def back_up(
    paths: Paths,
    store: Store,
    target: Path,
    *,
    now: float,
    replace: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BackedUp:
    """Write a backup, while others go on using the history.

    Args:
        store: the history on disk.
        target: a file, or a folder that gets one.
        replace: whether a file that is there gives way, once the new one is whole.

    Raises:
        DoesNotFit: the disk is full.
        Refused: there is a file already.
        StoreError: the history cannot be read.
        Cancellation: ``cancelled`` said so; nothing was written.
    """
    with plain_errors(target):
        if target.is_dir():
            target /= backup_name(now)
        if target.exists() and not replace:
            raise already(target)
    with working_folder(paths) as work:
        copy = work / archive.DATABASE
        need_room(work, _size(paths.database))
        store.history_id()  # A history that comes back is still itself.
        copied = store.copy_to(copy)
        sources = {archive.DATABASE: copy, **settings_files(paths)}
        total = 2 * sum(file.stat().st_size for file in sources.values())

        def told(done: int) -> None:
            if cancelled():
                raise Cancellation("No backup was written")
            if progress is not None:
                progress(done, total)

        with whole_file(target, replace=replace) as out:
            manifest = _write(out, sources, copied, now, told)
            out.flush()
            _verify(Path(out.name), told, manifest.bytes)
            size = out.seek(0, os.SEEK_END)
    return BackedUp(target, manifest, size)


def _write(
    out: BinaryIO,
    sources: Mapping[str, Path],
    copied: Copied,
    now: float,
    told: Callable[[int], None],
) -> Manifest:
    """The whole archive; what it says about itself comes last."""
    entries: list[Entry] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for name, source in sources.items():
            entries.append(_pack(file, name, source, sum(e.bytes for e in entries), told))
        manifest = Manifest(
            format=archive.FORMAT,
            version=archive.VERSION,
            corral=__version__,
            tables=len(MIGRATIONS),
            created=now,
            conversations=copied.conversations,
            messages=copied.messages,
            files=entries,
        )
        file.writestr(archive.MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _pack(
    file: zipfile.ZipFile, name: str, source: Path, done: int, told: Callable[[int], None]
) -> Entry:
    digest, size = hashlib.sha256(), 0
    # A zip file knows no year before.
    written = max(time.localtime(source.stat().st_mtime)[:6], (1980, 1, 1, 0, 0, 0))
    info = zipfile.ZipInfo(name, written)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    with source.open("rb") as content, file.open(info, "w", force_zip64=True) as packed:
        while block := content.read(BLOCK):
            digest.update(block)
            size += len(block)
            packed.write(block)
            told(done + size)
    return Entry(name=name, bytes=size, sha256=digest.hexdigest())


def _verify(path: Path, told: Callable[[int], None], done: int) -> None:
    """Read what was written: only a backup that can be restored is one."""
    found = archive.opened(path)
    with found.file:
        for entry in found.manifest.files:
            digest = hashlib.sha256()
            with found.file.open(entry.name) as source:
                while block := source.read(BLOCK):
                    digest.update(block)
                    done += len(block)
                    told(done)
            if digest.hexdigest() != entry.sha256:
                raise CorralError(
                    "What was written reads differently: the disk cannot be trusted",
                    title="No backup was written",
                    hint="Choose another disk",
                )


def settings_files(paths: Paths) -> dict[str, Path]:
    """What a person wrote or set, by its name in a backup."""
    found = {
        archive.SETTINGS: paths.settings_file,
        archive.CATALOGUE: paths.config / archive.CATALOGUE,
    }
    folder = paths.config / archive.PRESETS
    with contextlib.suppress(OSError):
        found |= {f"{archive.PRESETS}/{file.name}": file for file in sorted(folder.iterdir())}
    return {
        name: file for name, file in found.items() if archive.is_allowed(name) and file.is_file()
    }


@contextlib.contextmanager
def working_folder(paths: Paths) -> Iterator[Path]:
    """A private folder beside the history that is gone afterwards.

    What a process that was killed left behind, a whole history perhaps, goes, too.
    """
    mark = this_process().replace(":", "_")
    with plain_errors(paths.data / _WORK):
        for left in paths.data.glob(f"{_WORK}*"):
            owner = left.name.removeprefix(_WORK).rpartition("-")[0].replace("_", ":")
            if not is_running(owner):
                shutil.rmtree(left, ignore_errors=True)
        made = tempfile.mkdtemp(dir=paths.data, prefix=f"{_WORK}{mark}-")
    try:
        with plain_errors(paths.data / _WORK):
            yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def need_room(folder: Path, size: int) -> None:
    """Look before a disk is filled for nothing.

    Raises:
        DoesNotFit: so much does not fit on it.
    """
    free = shutil.disk_usage(folder).free
    if free < size + _ROOM:
        raise DoesNotFit(
            f"{(size + _ROOM) / 1e6:.0f} MB are needed on the disk of {folder.parent},"
            f" {free / 1e6:.0f} MB are free",
            title="The disk is full",
            hint="Free some space; nothing was changed",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
