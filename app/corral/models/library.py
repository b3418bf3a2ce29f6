"""What is on this machine: the starter and imported files, by name, each described once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from corral.chat.formats import FORMATS, TEMPLATE
from corral.errors import NotFound, Refused, UsageError
from corral.models import files, names
from corral.models.catalog import Catalog
from corral.models.files import Cancelled, Progress, absolute, mark, status_of
from corral.models.gguf import Header, read_header
from corral.models.local import (
    Found,
    LocalModel,
    State,
    by_name,
    describe,
    from_catalogue,
    recognise,
    summary,
)
from corral.store.model_files import ModelFile
from corral.text import shorten


class ModelStore(Protocol):
    """What the library needs of :class:`corral.store.store.Store`."""

    def model_files(self) -> list[ModelFile]: ...
    def model_file(self, path: str) -> ModelFile | None: ...
    def put_model_file(self, file: ModelFile) -> None: ...
    def remove_model_file(self, path: str) -> bool: ...


class Library:
    """The models of this machine. Files stay where they are; only rows about them are kept."""

    def __init__(
        self, store: ModelStore, catalog: Catalog, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.catalog = catalog
        self._store = store
        self._clock = clock
        self._headers: dict[tuple[Path, int, int], Header] = {}
        self._hashes: dict[tuple[Path, int, int], str] = {}

    # --- what there is ---

    def models(self, all: bool = False) -> list[LocalModel]:
        """Imported files by name, then the starter. Reads no file.

        Args:
            all: also the files of the catalogue that are not here, as ``available``.
        """
        found = [self._from_row(row) for row in self._store.model_files() if row.source == "import"]
        if starter := self.starter():
            found.append(starter)
        if all:
            here = {(model.family.name, model.quant) for model in found if model.family}
            found += [
                from_catalogue(family, file)
                for family in self.catalog.families.values()
                for file in family.files
                if (family.name, file.quant) not in here
            ]
        return found

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
                return describe(
                    path,
                    {},
                    (family, file),
                    name=family.name,
                    quant=file.quant,
                    size=status.st_size,
                    sha256=row.sha256 if row and _is_same(row, path) else None,
                    format=row.format if row else None,
                    state="installed" if file.has_size(status.st_size) else "damaged",
                    source="starter",
                )
        return None

    def _from_row(self, row: ModelFile) -> LocalModel:
        path = Path(row.path)
        status = status_of(path)
        state: State = "installed"
        if status is None:
            state = "missing"
        elif status.st_size != row.bytes:
            state = "damaged"
        return describe(
            path,
            row.header,
            self._found_then(row),
            name=row.name,
            quant=row.quant,
            size=row.bytes,
            # With another time stamp it may hold something else of the same size.
            sha256=row.sha256 if _is_same(row, path) else None,
            format=row.format,
            state=state,
            source="import",
        )

    def _found_then(self, row: ModelFile) -> Found | None:
        """The catalogue's entry that a file was recognised as when it was imported."""
        family = self.catalog.families.get(row.family or "")
        file = family.file(row.quant) if family else None
        return (family, file) if family and file else None

    def inspect(self, path: Path) -> LocalModel:
        """A file, validated, whether it was imported or not. Nothing is stored.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.read_header`.
        """
        path = absolute(path)
        header = self._read_header(path)
        starter = self.starter()
        if starter and starter.path == str(path):
            return starter
        row = self._store.model_file(str(path))
        sha256 = row.sha256 if row and _is_same(row, path) else None
        found = recognise(self.catalog, path, header, sha256)
        if not found and row and row.bytes == header.bytes and row.header == summary(header):
            found = self._found_then(row)
        return describe(
            path,
            summary(header),
            found,
            name=row.name if row else _name(path, found),
            quant=header.quant,
            size=header.bytes,
            sha256=sha256,
            format=row.format if row else None,
            state="installed",
            source="import" if row else "file",
        )

    def header(self, model: LocalModel) -> Header:
        """The validated header of a model that is here; read again only when the file changed.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.read_header`.
        """
        return self._read_header(_path_of(model))

    def _read_header(self, path: Path) -> Header:
        status = status_of(path)
        if status is None:
            return read_header(path)  # Says what is wrong with the path.
        key = (path, *mark(status))
        if key not in self._headers:
            self._headers[key] = read_header(path, vocabulary_alone=True)
        return self._headers[key]

    # --- from a name to a model ---

    def resolve(self, name: str | None, *, default: str | None = None) -> LocalModel:
        """The model a person means, present and ready to be loaded.

        Args:
            name: a name, a family of which one file is here, or the path of a file.
            default: what None stands for; else the latest import, else the starter.

        Raises:
            NotFound: there is none, or it is not on this machine; the hint says how to get it.
            UsageError: several files could be meant.
            Refused: the file is not a usable one, or no longer what was imported.
        """
        name = name or default
        if not name:
            return self._default()
        if path := names.existing_path(name):
            return self.inspect(path)
        return names.pick(name, self.models(all=True), self.catalog.families.values())

    def _default(self) -> LocalModel:
        rows = [row for row in self._store.model_files() if row.source == "import"]
        for row in sorted(rows, key=lambda row: row.added, reverse=True):
            if (model := self._from_row(row)).state == "installed":
                return model
        if starter := self.starter():
            return names.ready(starter)
        raise names.no_model()

    # --- what changes ---

    def import_file(
        self,
        path: Path,
        *,
        format: str | None = None,
        name: str | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> LocalModel:
        """Takes a file in where it lies: validated, hashed, recognised, remembered.

        A file that was taken in before and has not changed is not hashed again.

        Args:
            format: the prompt format, where the person knows better.
            name: what to call it, instead of the catalogue's name or the file's.

        Raises:
            NotFound, Refused: no such file, not a usable one, or not what the catalogue knows.
            UsageError: no such format, or the name is taken.
            Cancellation: ``cancelled`` said so.
        """
        path = absolute(path)
        before = status_of(path)
        header = read_header(path)
        starter = self.starter()
        if starter and starter.path == str(path):
            raise UsageError(f"“{shorten(path.name, 80)}” is here already, as {starter.name}")
        _check_whole(header)
        _check_format(format, header)
        row = self._store.model_file(str(path))
        taken = self._taken_names(path)
        chosen = names.own_name(name, taken) if name else row.name if row else None
        if row and row.sha256 and _is_same(row, path):
            sha256 = row.sha256
        else:
            sha256, after = files.sha256_of(path, progress, cancelled)
            if before is None or mark(before) != mark(after):
                raise files.changed_meanwhile(path)
        assert before is not None  # a header was read
        found = recognise(self.catalog, path, header, sha256)
        if not found and by_name(self.catalog, path, header):
            raise _damaged(path, "not the one in the catalogue")
        new = ModelFile(
            path=str(path),
            name=chosen or names.unused_name(_name(path, found), shorten(path.stem, 80), taken),
            family=found[0].name if found else None,
            quant=found[1].quant if found else header.quant,
            bytes=before.st_size,
            mtime_ns=before.st_mtime_ns,
            sha256=sha256,
            source="import",
            format=format or (row.format if row else None),
            added=row.added if row else self._clock(),
            header=summary(header),
        )
        self._store.put_model_file(new)
        return self._from_row(new)

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
        _check_format(format, self.header(model))
        row = self._store.model_file(str(path)) or self._starter_row(model)
        self._store.put_model_file(replace(row, format=format))
        return self.inspect(path)

    def ensure_sha256(
        self,
        model: LocalModel,
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> LocalModel:
        """The model with its hash, computed once and remembered as long as the file is the same.

        Raises:
            NotFound, Refused: it is not here, or its contents are not what they should be.
            Cancellation: ``cancelled`` said so.
        """
        path = _path_of(model)
        row = self._store.model_file(str(path))
        if row and row.sha256 and _is_same(row, path):
            return replace(model, sha256=row.sha256)
        status = status_of(path)
        if status and (known := self._hashes.get((path, *mark(status)))):
            return replace(model, sha256=known)
        sha256, status = files.sha256_of(path, progress, cancelled)
        file = model.family.file(model.quant) if model.family else None
        if file and file.sha256 and file.sha256 != sha256:
            raise _damaged(path, "not the one in the catalogue")
        if row and row.sha256 and row.sha256 != sha256:
            raise _damaged(path, "not the one it had when it was imported")
        if row is None and model.source == "starter":
            row = self._starter_row(model)
        if row:
            size, mtime_ns = mark(status)
            self._store.put_model_file(replace(row, sha256=sha256, bytes=size, mtime_ns=mtime_ns))
        self._hashes[path, *mark(status)] = sha256
        return replace(model, sha256=sha256)

    def _starter_row(self, model: LocalModel) -> ModelFile:
        path = _path_of(model)
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


def _name(path: Path, found: Found | None) -> str:
    return names.full_name(found[0], found[1].quant) if found else shorten(path.stem, 80)


def _is_same(row: ModelFile, path: Path) -> bool:
    status = status_of(path)
    return status is not None and mark(status) == (row.bytes, row.mtime_ns)


def _path_of(model: LocalModel) -> Path:
    if model.path is None:
        names.ready(model)
    assert model.path is not None  # else it is not here, and that was said
    return Path(model.path)


def _check_whole(header: Header) -> None:
    if header.split_count > 1:
        raise Refused(
            f"“{shorten(header.path.name, 80)}” is the first of {header.split_count} parts",
            title="Cannot be imported",
            hint="Join the parts with llama-gguf-split --merge, or use it by its path",
        )


def _check_format(format: str | None, header: Header) -> None:
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


def _damaged(path: Path, which: str) -> Refused:
    return Refused(
        f"“{shorten(path.name, 80)}” is damaged or was changed: its sha256 is {which}",
        title="Damaged or changed",
        hint="Get the file again from where it came from",
    )
