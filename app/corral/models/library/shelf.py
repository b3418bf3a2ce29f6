"""The rows about model files, and what each of them says today; the floor the library stands on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Protocol

from corral.errors import Refused
from corral.models import files
from corral.models.catalog import Catalog, Family
from corral.models.files import absolute, mark, status_of
from corral.models.gguf.header import Header, read_header
from corral.models.gguf.reader import Tensor
from corral.models.library import names, shards
from corral.models.library.local import (
    Found,
    LocalModel,
    Source,
    State,
    describe,
    from_catalogue,
    from_download,
    recognise,
    summary,
)
from corral.store.downloads import Download
from corral.store.model_files import ModelFile
from corral.text import shorten

IMPORTED = "imported"
"""The folder of what was copied, moved or linked here, below that of all models."""

_SOURCES: dict[str, Source] = {"import": "import", "adopted": "adopted", "download": "download"}
"""Sources of rows that are models of their own; the starter's only remembers about its file."""


class ModelStore(Protocol):
    """What the library needs of :class:`corral.store.store.Store`."""

    def model_files(self) -> list[ModelFile]: ...
    def model_file(self, path: str) -> ModelFile | None: ...
    def put_model_file(self, file: ModelFile) -> None: ...
    def remove_model_file(self, path: str) -> bool: ...
    def downloads(self) -> list[Download]: ...
    def remove_download(self, id: int) -> bool: ...
    def pieces(self, path: str | Path) -> dict[int, bytes]: ...
    def drop_pieces(self, path: str | Path, numbers: Iterable[int] | None = None) -> None: ...
    def conversations_with(self, models: Iterable[str]) -> int: ...


class Shelf:
    """What there is. Reads rows and the status of files, and no contents but headers."""

    def __init__(
        self,
        store: ModelStore,
        catalog: Catalog,
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalog = catalog
        self._store = store
        self._folder = absolute(folder) if folder else None
        self._clock = clock
        self._headers: dict[tuple[Path, int, int], Header] = {}
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._tensors: dict[tuple[Path, int, int], dict[str, Tensor]] = {}

    # --- all of them ---

    def models(self, all: bool = False) -> list[LocalModel]:
        """Files by name, then the starter, then what is being downloaded. Reads no file.

        Args:
            all: also the files of the catalogue that are not here but can be had, ``available``.
        """
        return self._models(everything=False) if all else self._here()

    def _models(self, *, everything: bool) -> list[LocalModel]:
        """Args:
        everything: also what corral may not download.
        """
        found = self._here()
        here = {(model.family.name, model.quant) for model in found if model.family}
        for family, models in self._catalogued:
            licence = self.catalog.licence(family.licence)
            if everything or licence is None or licence.download:
                found += [one for one in models if (family.name, one.quant) not in here]
        return found

    @cached_property
    def _catalogued(self) -> list[tuple[Family, list[LocalModel]]]:
        """All files of the catalogue, as if none were here."""
        families = self.catalog.families.values()
        return [(family, [from_catalogue(family, f) for f in family.files]) for family in families]

    def _here(self) -> list[LocalModel]:
        coming = self._coming()
        found = []
        for row in self._rows():
            path = Path(row.path)
            if path in coming:
                if not shards.are_here(row):
                    continue  # It is being repaired, or fetched again.
                del coming[path]
            found.append(self._from_row(row))
        if starter := self.starter():
            found.append(starter)
        return found + [from_download(d, self._found(d.family, d.quant)) for d in coming.values()]

    def _coming(self) -> dict[Path, Download]:
        """What is not here yet, by the path that it will have."""
        return {d.paths[0]: d for d in self._store.downloads() if d.targets and d.state != "done"}

    def _rows(self) -> list[ModelFile]:
        return [row for row in self._store.model_files() if row.source in _SOURCES]

    def starter(self) -> LocalModel | None:
        """The model that came in through a Python package; the package is not imported."""
        for family in self.catalog.families.values():
            folder = files.package_folder(family.package) if family.package else None
            for file in family.files if folder else ():
                assert folder is not None
                path = absolute(folder / file.file)
                if (status := status_of(path)) is None:
                    continue
                row = self._store.model_file(str(path))
                known = row if row and shards.are_same(row) else None
                sound = file.has_size(status.st_size) and not (known and known.damaged)
                return describe(
                    path,
                    {},
                    (family, file),
                    name=family.name,
                    quant=file.quant,
                    size=status.st_size,
                    sha256=known.sha256 if known else None,
                    format=row.format if row else None,
                    state="installed" if sound else "damaged",
                    source="starter",
                    verified=known.verified if known else None,
                )
        return None

    # --- one of them ---

    def _from_row(self, row: ModelFile) -> LocalModel:
        path = Path(row.path)
        return describe(
            path,
            row.header,
            self._found(row.family, row.quant),
            name=row.name,
            quant=row.quant,
            size=row.bytes,
            # With another time stamp it may hold something else of the same size.
            sha256=row.sha256 if not row.damaged and shards.are_same(row) else None,
            format=row.format,
            state=_state(row),
            source=_SOURCES.get(row.source, "import"),
            repository=row.repository,
            revision=row.revision,
            verified=row.verified,
        )

    def _found(self, family: str | None, quant: str) -> Found | None:
        """The catalogue's entry that a file was recognised as when it came."""
        known = self.catalog.families.get(family or "")
        file = known.file(quant) if known else None
        return (known, file) if known and file else None

    def inspect(self, path: Path) -> LocalModel:
        """A file, validated, whether it was imported or not. Nothing is stored.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.header.read_header`.
        """
        path = absolute(path)
        header = self._read_header(path)
        starter = self.starter()
        if starter and starter.path == str(path):
            return starter
        row = self._store.model_file(str(path))
        if row and row.source in _SOURCES:
            return self._from_row(row)
        found = recognise(self.catalog, path, header, None)
        return describe(
            path,
            summary(header),
            found,
            name=default_name(path, found),
            quant=header.quant,
            size=header.bytes,
            sha256=None,
            format=None,
            state="installed",
            source="file",
        )

    def header(self, model: LocalModel) -> Header:
        """The validated header of a model that is here; read again only when the file changed.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.header.read_header`.
        """
        return self._read_header(path_of(model))

    def _read_header(self, path: Path) -> Header:
        status = status_of(path)
        if status is None:
            return read_header(path)  # Says what is wrong with the path.
        key = (path, *mark(status))
        if key not in self._headers:
            self._headers[key] = read_header(path, vocabulary_alone=True)
        return self._headers[key]

    # --- for the other parts of the library ---

    def _row_of(self, model: LocalModel) -> ModelFile | None:
        return self._store.model_file(model.path) if model.path else None

    def _starter_row(self, model: LocalModel) -> ModelFile:
        path = path_of(model)
        status = path.stat()
        return ModelFile(
            path=str(path),
            name=model.name,
            family=model.family.name if model.family else None,
            quant=model.quant,
            bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            sha256=None,
            source="starter",
            format=None,
            added=self._clock(),
            header=summary(self.header(model)),
        )

    def _taken_names(self, path: Path) -> set[str]:
        """Names of all other models, and of the starter whether it is here or not."""
        rows = self._store.model_files()
        taken = {row.name.casefold() for row in rows if row.path != str(path)}
        return taken | {family.name for family in self.catalog.families.values() if family.package}


def _state(row: ModelFile) -> State:
    """Only what is known without reading it: a changed file is damaged until it is verified."""
    if not shards.are_here(row):
        return "missing"
    return "damaged" if row.damaged or not shards.are_same(row) else "installed"


def default_name(path: Path, found: Found | None) -> str:
    return names.full_name(found[0], found[1].quant) if found else names.of_file(path)


def path_of(model: LocalModel) -> Path:
    """Where a model lies.

    Raises:
        NotFound: it is not on this machine.
    """
    if model.path is None:
        names.ready(model)
    assert model.path is not None  # else it is not here, and that was said
    return Path(model.path)


def wrong_contents(
    path: Path, which: str, *, hint: str = "Get the file again from where it came from"
) -> Refused:
    return Refused(
        f"“{shorten(path.name, 80)}” is damaged or was changed: its sha256 is {which}",
        title="Damaged or changed",
        hint=hint,
    )
