"""A backup back in its place. What was there is kept under a dated name; nothing is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corral.engine.states.shelf import Shelf
from corral.errors import Refused, StoreError
from corral.moving import archive
from corral.moving.archive import Archive, Manifest, Progress
from corral.moving.backup import need_room, settings_files, working_folder
from corral.moving.files import plain_errors, private, whole_file
from corral.paths import Paths
from corral.store.database import DamagedError
from corral.store.opening import prepare_copy, refuse_while_open, replace_database

_WORD = "before-restore"
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that is in its place now."""

    manifest: Manifest
    kept: tuple[Path, ...]
    """What was there before, where it lies now."""
    settings: tuple[str, ...]
    """Settings and presets that came back."""


def check(paths: Paths, path: Path, progress: Progress | None = None) -> Manifest:
    """Read a backup to its end and change nothing.

    Raises:
        As :func:`restore`.
    """
    found = archive.opened(path)
    with found.file, working_folder(paths) as work:
        _ready(found, work, progress)
    return found.manifest


def restore(
    paths: Paths, path: Path, *, clock: Callable[[], float], progress: Progress | None = None
) -> Restored:
    """Put a backup in the place of the history and the settings.

    Nobody may have the history open. All of the backup is read and checked before anything is
    touched.

    Raises:
        NotFound: there is no such file.
        Refused: it is no backup, damaged, or from a newer corral.
        DoesNotFit: the disk is full.
        StoreError: another corral has the history open.
    """
    refuse_while_open(paths.database)
    found = archive.opened(path)
    with found.file, working_folder(paths) as work:
        files = _ready(found, work, progress)
        ready = files.pop(archive.DATABASE)
        kept_as = _put_database(paths, ready, clock)
        kept = [kept_as] if kept_as is not None else []
        for name, file in files.items():
            kept += _put_settings(paths, name, file, clock())
    # What models have read belongs to conversations by their numbers, which are others now.
    with contextlib.suppress(OSError):
        Shelf(paths.cache / "kv").clear()
    return Restored(found.manifest, tuple(kept), tuple(files))


def _put_database(paths: Paths, ready: Path, clock: Callable[[], float]) -> Path | None:
    database = Path(os.path.realpath(paths.database))
    if database.parent == Path(os.path.realpath(ready.parent.parent)):
        return replace_database(database, ready, word=_WORD, clock=clock, patience=_PATIENCE)
    # The history is a link to another disk, where no file can be renamed to.
    near = database.with_name(f"{database.name}.restoring")
    near.unlink(missing_ok=True)
    try:
        with plain_errors(near):
            _copy(ready, near)
        return replace_database(database, near, word=_WORD, clock=clock, patience=_PATIENCE)
    finally:
        near.unlink(missing_ok=True)


def _ready(found: Archive, work: Path, progress: Progress | None) -> dict[str, Path]:
    """All files of a backup, checked, with the tables of the history up to date."""
    need_room(work, found.manifest.bytes)
    with plain_errors(work):
        files = found.unpack(work, progress, 0, found.manifest.bytes)
    try:
        prepare_copy(files[archive.DATABASE], time.time)
    except DamagedError:
        raise archive.damaged(found.path, archive.DATABASE) from None
    except StoreError as error:
        raise Refused(error.message, hint="Nothing was changed") from None
    return files


def _put_settings(paths: Paths, name: str, file: Path, now: float) -> list[Path]:
    """Write one file of the settings; another one of that name is kept beside it."""
    target = paths.config / name
    content = file.read_bytes()
    kept = []
    with plain_errors(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if name in settings_files(paths):
            if target.read_bytes() == content:
                return []
            kept.append(_set_aside(target, now))
    with whole_file(target) as out:
        out.write(content)
    return kept


def _set_aside(path: Path, now: float) -> Path:
    stamp = time.strftime("%Y-%m-%d-%H%M", time.localtime(now))
    base = path.with_name(f"{path.name}.{_WORD}-{stamp}")
    kept, count = base, 1
    while kept.exists():
        count += 1
        kept = base.with_name(f"{base.name}-{count}")
    # Its content, also where the file is a link that the person made.
    _copy(path, kept)
    return kept


def _copy(path: Path, target: Path) -> None:
    with path.open("rb") as source, open(target, "xb", opener=private) as out:
        shutil.copyfileobj(source, out)
