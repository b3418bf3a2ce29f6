"""What takes room: files that downloads left, models that are here twice, and kept prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from corral.errors import Refused
from corral.kept import KeptPrompt, KeptPrompts
from corral.models.downloads.files import Leftover
from corral.models.files import status_of
from corral.models.library.local import LocalModel
from corral.models.library.removing import Removal
from corral.models.library.shelf import IMPORTED
from corral.text import shorten

QUIET_SECONDS = 3600.0
"""A file that was written to since then may belong to an import, which is in no queue."""


class Models(Protocol):
    """What is needed of :class:`corral.models.library.library.Library`."""

    def duplicates(self) -> list[list[LocalModel]]: ...
    def removal(self, model: LocalModel) -> Removal: ...


class Files(Protocol):
    """What is needed of :class:`corral.models.downloads.downloads.Downloads`."""

    folder: Path

    def leftovers(self) -> list[Leftover]: ...
    def clean(self, paths: Iterable[Path]) -> int: ...


@dataclass(frozen=True, slots=True)
class Copy:
    """One of several models with the same contents."""

    model: LocalModel
    removal: Removal

    @property
    def removable(self) -> bool:
        """Whether corral can take it away; what a package brought goes with the package."""
        return self.model.source != "starter"


@dataclass(frozen=True, slots=True)
class Findings:
    leftovers: list[Leftover]
    busy: list[Leftover]
    """Those that are left alone: something writes to them, or did a moment ago."""
    duplicates: list[list[Copy]]
    """Of every contents, all that have them."""
    prompts: list[KeptPrompt] = field(default_factory=list)
    """What models have read and is kept on disk, those of deleted conversations too."""

    @property
    def empty(self) -> bool:
        return not (self.leftovers or self.busy or self.duplicates or self.prompts)


def look(
    library: Models, downloads: Files, now: float, kept: KeptPrompts | None = None
) -> Findings:
    """What there is to clean up. Nothing is changed.

    Args:
        now: seconds since the epoch.

    Raises:
        StoreError: the history cannot be read.
    """
    found = [one for one in downloads.leftovers() if _is_ours(downloads.folder, one.path)]
    since = now - QUIET_SECONDS
    return Findings(
        [one for one in found if one.changed <= since],
        [one for one in found if one.changed > since],
        [
            [Copy(model, library.removal(model)) for model in group]
            for group in library.duplicates()
        ],
        kept.all() if kept is not None else [],
    )


def remove(downloads: Files, leftover: Leftover) -> None:
    """Remove one file that was left behind.

    Raises:
        Refused: it was written to since it was found, is part of a download now, or stays for
            another reason.
    """
    now, name = status_of(leftover.path), shorten(leftover.path.name, 80)
    if now and now.st_mtime != leftover.changed:
        raise Refused(f"“{name}” is being written to", title="Not removed")
    downloads.clean([leftover.path])
    if status_of(leftover.path):
        raise Refused(
            f"“{name}” could not be removed",
            title="Not removed",
            hint="Look at the permissions of its folder, and whether a download goes on with it",
        )


def kind(leftover: Leftover) -> str:
    """Why it was left: ``incomplete``, or ``wrong contents``."""
    return "wrong contents" if leftover.path.suffix == ".bad" else "incomplete"


def _is_ours(folder: Path, path: Path) -> bool:
    """Whether it lies where corral puts models; other programs have parts, too."""
    first, *rest = path.relative_to(folder).parts
    return bool(rest) and ("--" in first or first == IMPORTED)
