"""Files that come into the library: the person's own, and those of other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from corral.chat.formats import FORMATS, TEMPLATE
from corral.errors import UsageError
from corral.models import files
from corral.models.files import Cancelled, Progress, absolute, mark, status_of
from corral.models.gguf.header import Header, read_header
from corral.models.library import names, shards
from corral.models.library.adopting import Candidate, Findings, look
from corral.models.library.copying import Bring, Brought, bring
from corral.models.library.local import LocalModel, by_name, recognise, summary
from corral.models.library.shards import Part
from corral.models.library.shelf import IMPORTED, Shelf, default_name, wrong_contents
from corral.store.model_files import ModelFile
from corral.text import shorten

How = Literal["in place", "hard link", "move", "copy"]


class Importing(Shelf):
    def import_file(
        self,
        path: Path,
        *,
        how: How = "in place",
        format: str | None = None,
        name: str | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> LocalModel:
        """Takes a model in: validated, hashed, recognised, remembered.

        A file that was taken in before and has not changed is not hashed again. Of a split model
        the first file is named, and all of them come.

        Args:
            how: use it where it lies; or bring it into corral's folder by a second name for the
                same file, by moving it, or by copying it. Nothing is ever overwritten, and a file
                is moved only after it is safely at its new place.
            format: the prompt format, where the person knows better.
            name: what to call it, instead of the catalogue's name or the file's.

        Raises:
            NotFound, Refused: no such file, not a usable one, or not what the catalogue knows.
            UsageError: no such format, or the name is taken.
            DoesNotFit: the disk is too small for a copy.
            Cancellation: ``cancelled`` said so.
        """
        path = absolute(path)
        before = status_of(path)
        header = read_header(path)
        old = self._store.model_file(str(path))
        self._check_is_new(path, old, how)
        check_format(format, header)
        chosen = names.own_name(name, self._taken_names(path)) if name else None
        if how == "in place":
            parts = self._hashed(path, header, old, progress, cancelled)
            _check_same(path, before, parts)
            return self._take(self._row(path, header, parts, "import"), old, chosen, format)
        with self._bring(path, header, how, progress, cancelled) as brought:
            header = read_header(brought.paths[0])  # Nothing can change it here any more.
            row = self._row(brought.paths[0], header, brought.parts, "import")
            return self._take(row, old, chosen, format)

    def adoptable(
        self, home: Path, environment: Mapping[str, str], *, root: Path = Path("/")
    ) -> Findings:
        """What other programs have brought, with the names that it would get here.

        Args:
            home: of the person.
            environment: variables by which those programs are told another place.
            root: of the file system.
        """
        here = [Path(model.path) for model in self._here() if model.path]
        return look(home, environment, catalog=self.catalog, here=here, root=root)

    def adopt(
        self,
        candidate: Candidate,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> LocalModel:
        """Takes in a model that another program brought, where it lies; nothing is copied.

        Raises:
            NotFound, Refused: it is gone, not usable, or not what its own program says it is.
            Cancellation: ``cancelled`` said so.
        """
        path = absolute(candidate.path)
        before = status_of(path)
        header = read_header(path)
        old = self._store.model_file(str(path))
        self._check_is_new(path, old, "in place")
        parts = self._hashed(path, header, old, progress, cancelled)
        _check_same(path, before, parts)
        if candidate.sha256 and parts[0].sha256 != candidate.sha256:
            raise wrong_contents(path, f"not the one that {candidate.program} has for it")
        sound = candidate.sha256 is not None
        row = self._row(path, header, parts, "adopted", name=candidate.name, sound=sound)
        row = replace(row, repository=candidate.repository, revision=candidate.revision)
        return self._take(row, old, None, None)

    # --- its parts ---

    def _check_is_new(self, path: Path, old: ModelFile | None, how: How) -> None:
        starter = self.starter()
        if starter and starter.path == str(path):
            raise UsageError(f"“{shorten(path.name, 80)}” is here already, as {starter.name}")
        if how == "in place":
            return
        if self._folder is None:
            raise UsageError("There is no folder to bring it to", hint="Use it where it lies")
        inside = files.real(path.parent).is_relative_to(files.real(self._folder))
        if inside or (old and old.source == "download"):
            raise UsageError(
                f"“{shorten(path.name, 80)}” is in corral's folder already",
                hint=f"Take it in where it lies with “{names.IMPORT}”",
            )

    def _bring(
        self,
        path: Path,
        header: Header,
        how: Bring,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> AbstractContextManager[Brought]:
        assert self._folder is not None
        return bring(
            shards.paths_of(path, header.split_count),
            self._folder / IMPORTED,
            how,
            others=[
                d for d in self._store.downloads() if d.state in ("queued", "running", "paused")
            ],
            progress=progress,
            cancelled=cancelled,
        )

    def _hashed(
        self,
        path: Path,
        header: Header,
        row: ModelFile | None,
        progress: Progress | None,
        cancelled: Cancelled | None,
    ) -> list[Part]:
        """The parts of a model with the sha256 of each; what is known need not be read."""
        if row and row.sha256 and not row.damaged and shards.are_same(row):
            known = shards.parts_of(row)
            if len(known) == header.split_count:
                return known
        parts: list[Part] = []
        done = 0
        for place in shards.paths_of(path, header.split_count):
            report = files.shifted(progress, done, header.bytes)
            sha256, status = files.sha256_of(place, report, cancelled)
            parts.append(Part(place.name, *mark(status), sha256))
            done += status.st_size
        return parts

    def _row(
        self,
        path: Path,
        header: Header,
        parts: Sequence[Part],
        source: str,
        *,
        name: str = "",
        sound: bool = False,
    ) -> ModelFile:
        """What is remembered about a file that was not here before.

        Args:
            name: what to call it where the catalogue does not know it.
            sound: its contents are what they were where it came from: with other contents than the
                catalogue's it is not damaged, but somebody else's of the same name.

        Raises:
            Refused: by name and size it is a file of the catalogue, and its contents are others.
        """
        sha256 = shards.sha256_of_all([part.sha256 or "" for part in parts])
        found = recognise(self.catalog, path, header, sha256)
        if not found and not sound and by_name(self.catalog, path, header):
            raise wrong_contents(
                path,
                "not the one in the catalogue",
                hint="Get it again; if it is somebody else's of the same name, rename it",
            )
        return ModelFile(
            path=str(path),
            name=default_name(path, found) if found or not name else name,
            family=found[0].name if found else None,
            quant=found[1].quant if found else header.quant,
            bytes=header.bytes,
            mtime_ns=parts[0].mtime_ns,
            sha256=sha256,
            source=source,
            format=None,
            added=self._clock(),
            header=summary(header) | shards.stored(parts),
            verified=self._clock(),
        )

    def _take(
        self, new: ModelFile, old: ModelFile | None, chosen: str | None, format: str | None
    ) -> LocalModel:
        """Remember a file, with what the person chose for it before.

        Args:
            new: as :meth:`_row` gives it.
            old: the row of the path that it was imported from.
            chosen: the name that the person gives it now.

        Raises:
            Refused: it was downloaded, and is not what was downloaded any more.
        """
        same = old is not None and old.sha256 == new.sha256
        if old and old.source == "download" and not same:
            raise wrong_contents(Path(old.path), "not the one it had when it was downloaded")
        if old and old.path == new.path and same:
            if old.source in ("download", "adopted"):
                new = replace(new, source=old.source)
                new = replace(new, repository=old.repository, revision=old.revision)
            if not old.damaged and old.mtime_ns == new.mtime_ns:
                new = replace(new, verified=old.verified)  # It was not read again.
        old = old or self._lost(new)
        taken = self._taken_names(Path(new.path))
        if old:
            new = replace(new, format=old.format, added=old.added)
            taken.discard(old.name.casefold())
            chosen = chosen or old.name
        if not chosen:
            chosen = names.unused_name(new.name, names.of_file(Path(new.path)), taken)
        new = replace(new, name=chosen, format=format or new.format)
        self._store.put_model_file(new)
        if old and old.path != new.path:
            self._store.remove_model_file(old.path)
        return self._from_row(new)

    def _lost(self, new: ModelFile) -> ModelFile | None:
        """The row of a file that vanished from somewhere else and had the same contents."""
        coming = self._coming()
        for row in self._rows():
            gone = not shards.are_here(row) and Path(row.path) not in coming
            if gone and row.sha256 == new.sha256:
                return row
        return None


def _check_same(path: Path, before: os.stat_result | None, parts: Sequence[Part]) -> None:
    """Raises:
    Refused: its first file is not the one any more whose header was read.
    """
    if before is None or mark(before) != (parts[0].bytes, parts[0].mtime_ns):
        raise files.changed_meanwhile(path)


def check_format(format: str | None, header: Header) -> None:
    """Raises:
    UsageError: no such format, or the file has no template of its own.
    """
    if format is None or format in FORMATS:
        return
    if format != TEMPLATE:
        choices = ", ".join((*FORMATS, TEMPLATE))
        raise UsageError(
            f"There is no prompt format “{shorten(format, 40)}”", hint=f"Choose one: {choices}"
        )
    if header.chat_template is None:
        raise UsageError(
            f"“{shorten(header.path.name, 80)}” has no chat template of its own",
            hint=f"Choose one: {', '.join(FORMATS)}",
        )
