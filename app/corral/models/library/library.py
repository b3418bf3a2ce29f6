"""The models of this machine, by name, each described once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from corral.errors import NotFound
from corral.models.files import absolute, status_of
from corral.models.gguf.header import read_header
from corral.models.library import names, shards
from corral.models.library.adapters import Adapters
from corral.models.library.importing import Importing, check_format
from corral.models.library.local import LocalModel, recognise, summary
from corral.models.library.removing import Removing
from corral.models.library.shelf import ModelStore
from corral.models.library.verifying import Verifying
from corral.store.downloads import Download
from corral.store.model_files import ModelFile
from corral.text import shorten

__all__ = ["Library", "ModelStore"]


class Library(Importing, Verifying, Removing, Adapters):
    """What there is, and what a name means.

    Files stay where they are, but for those that a person has copied, moved or linked here.

    Args:
        folder: where the models of corral are; files that are copied here go below it. None:
            models can be used, but not be taken in except where they lie.
        clock: seconds since the epoch.
    """

    # --- from a name to a model ---

    def resolve(self, name: str | None, *, default: str | None = None) -> LocalModel:
        """The model a person means, present and ready to be loaded.

        Args:
            name: a name, a family of which one file is here, a repository of the hub that one came
                from, or the path of a file.
            default: what None stands for; else the latest that came, else the starter.

        Raises:
            NotFound: there is none, or it is not on this machine; the hint says how to get it.
            UsageError: several files could be meant.
            Refused: the file is not a usable one, or no longer what it was when it came.
        """
        name = name or default
        if not name:
            return self._default()
        if path := names.existing_path(name):
            return names.ready(self.inspect(path), self.catalog)
        return names.pick(name, self._models(everything=True), self.catalog)

    def _default(self) -> LocalModel:
        for row in sorted(self._rows(), key=lambda row: row.added, reverse=True):
            if (model := self._from_row(row)).state == "installed":
                return model
        if starter := self.starter():
            return names.ready(starter, self.catalog)
        raise names.no_model()

    # --- what changes ---

    def installed(self, download: Download, path: Path, sha256: str) -> LocalModel:
        """Takes in what has been downloaded: complete, its contents known to be right.

        Args:
            path: the file; of a split model the first one, the others lie beside it.
            sha256: what its contents have.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.header.read_header`.
            OSError: it is gone already.
        """
        path = absolute(path)
        header = read_header(path)
        hashes = [target.sha256 or sha256 for target in download.targets] or [sha256]
        parts = []
        for place, known in zip(shards.paths_of(path, header.split_count), hashes, strict=False):
            status = place.stat()
            parts.append(shards.Part(place.name, status.st_size, status.st_mtime_ns, known))
        whole = shards.sha256_of_all([part.sha256 or "" for part in parts])
        found = self._found(download.family, download.quant)
        found = found or recognise(self.catalog, path, header, whole)
        about = summary(header)
        # The repository says what its files often do not.
        about["license"] = about["license"] or download.licence
        before = self._store.model_file(str(path))
        self._give_way(download.name, path)
        name = names.unused_name(
            before.name if before else download.name,
            names.of_file(path),
            self._taken_names(path),
        )
        new = ModelFile(
            path=str(path),
            name=name,
            family=found[0].name if found else None,
            quant=found[1].quant if found else download.quant or header.quant,
            bytes=header.bytes,
            mtime_ns=parts[0].mtime_ns,
            sha256=whole,
            source="download",
            format=before.format if before else None,
            added=before.added if before else self._clock(),
            header=about | shards.stored(parts),
            repository=download.repository,
            revision=download.revision,
            verified=self._clock(),
        )
        self._store.put_model_file(new)
        return self._from_row(new)

    def _give_way(self, name: str, path: Path) -> None:
        """Free the name of a model that came again: conversations know it by its name."""
        for row in self._rows():
            if row.name.casefold() != name.casefold() or row.path == str(path):
                continue
            if self._from_row(row).state == "missing":
                self._store.remove_model_file(row.path)
            elif self._from_row(row).state == "damaged":
                stem = names.of_file(Path(row.path))
                taken = self._taken_names(path) | {name.casefold()}
                free = names.unused_name(stem, f"{stem}-damaged", taken)
                self._store.put_model_file(replace(row, name=free))

    def forget(self, path: str | Path) -> bool:
        """Drops what is remembered about a file; the file stays. False if there was nothing."""
        return self._store.remove_model_file(str(absolute(path)))

    def set_format(self, path: str | Path, format: str | None) -> LocalModel:
        """Remembers the prompt format a person chose for a model; None forgets the choice.

        Raises:
            NotFound: the file was not imported.
            UsageError: no such format, or the file has no template of its own.
        """
        path = absolute(path)
        model = self.inspect(path)
        if model.source == "file":
            raise NotFound(
                f"“{shorten(path.name, 80)}” is not in the library",
                hint=f"Take it in with “{names.IMPORT}”",
            )
        check_format(format, self.header(model))
        row = self._store.model_file(str(path)) or self._starter_row(model)
        self._store.put_model_file(replace(row, format=format))
        return self.inspect(path)

    # --- the same twice ---

    def duplicates(self) -> list[list[LocalModel]]:
        """Models with the same contents that take room on the disk more than once.

        Two names of one file, by a link of either kind, are no duplicates.
        """
        groups: dict[str, list[LocalModel]] = {}
        seen: set[tuple[int, int]] = set()
        for model in self._here():
            if model.state != "installed" or model.sha256 is None or model.path is None:
                continue
            status = status_of(Path(model.path))
            inode = (status.st_dev, status.st_ino) if status else (0, 0)
            if inode[1] and inode in seen:
                continue
            seen.add(inode)
            groups.setdefault(model.sha256, []).append(model)
        return [group for group in groups.values() if len(group) > 1]
