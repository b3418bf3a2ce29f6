"""The LoRA adapters of this machine: taken in where they lie, found beside models, and named.

They are rows beside those of the models, of a source that no list of models knows.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from corral.errors import CorralError, NotFound, Refused, UsageError
from corral.models.files import Cancelled, Progress, absolute, mark, status_of
from corral.models.gguf.adapter import AdapterHeader, check_numbers, mismatch, read_adapter
from corral.models.gguf.header import read_tensors
from corral.models.gguf.reader import Tensor
from corral.models.library import names
from corral.models.library.local import LocalModel
from corral.models.library.shelf import Shelf, path_of
from corral.store.model_files import ModelFile
from corral.text import shorten

SOURCE = "adapter"
"""Of the rows of adapters."""
FOLDER = "adapters"
"""Below the folder of all models; whatever lies there is found."""
IMPORT = "corral models adapters import FILE"
LOOKED_AT = 2_000
"""Entries of one folder, and GGUF files in all, that are looked at for adapters."""

AdapterState = Literal["installed", "found", "file", "missing", "damaged"]


@dataclass(frozen=True, slots=True)
class LocalAdapter:
    """An adapter file that is here, or was."""

    name: str
    """What people type: chosen when it was taken in, else the stem of its file."""
    path: str
    """Absolute."""
    bytes: int
    sha256: str | None
    """Of the file as it is now; None until somebody computed it."""
    state: AdapterState
    """``installed`` was taken in; ``found`` lies beside a model; ``file`` was named by its path."""
    architecture: str = ""
    base: str = ""
    """The model it was trained for, as the file names it."""
    title: str = ""
    """``general.name``; "" where the file has none."""
    ranks: tuple[int, int] = (0, 0)
    alpha: float = 0.0
    pairs: int = 0
    """How many matrices it changes."""
    norms: int = 0
    """Vectors it brings that llama.cpp does not apply."""
    type: str = ""
    mtime_ns: int = 0
    """When the file that was hashed was changed last; 0 where nobody did."""

    @property
    def rank(self) -> str:
        """``16``, or ``8–64`` where they differ; "" where it is unknown."""
        low, high = self.ranks
        return f"{low}–{high}" if low != high else str(low or "")


class Adapters(Shelf):
    """The part of :class:`corral.models.library.library.Library` that is about adapters."""

    # --- what there is ---

    def adapters(self, *, found: bool = True) -> list[LocalAdapter]:
        """Those that were taken in, by name, then what else lies beside the models.

        Args:
            found: look for others; reads the beginning of every GGUF file beside the models.
        """
        taken = [_from_row(row) for row in self._adapter_rows()]
        return taken + (self._others({one.path for one in taken}) if found else [])

    def adapter(self, name: str) -> LocalAdapter:
        """The adapter a person means by its name or the path of its file.

        Raises:
            NotFound: there is none, or its file is gone.
            Refused: it is not a sound adapter, or no longer what it was when it came.
        """
        if path := names.existing_path(name):
            return self.inspect_adapter(path)
        rows = {row.name.casefold(): row for row in self._adapter_rows()}
        if row := rows.get(name.casefold()):
            return self._sound(_from_row(row))
        others = self._others(set())
        for one in others:
            if one.name.casefold() == name.casefold():
                return one
        if "/" in name or name.casefold().endswith(".gguf"):
            raise NotFound(f"There is no adapter file “{shorten(name, 120)}”")
        close = difflib.get_close_matches(name.casefold(), [*rows, *(o.name for o in others)], n=3)
        meant = f"Did you mean {', '.join(close)}? " if close else ""
        raise NotFound(
            f"There is no adapter called “{shorten(name, 80)}”",
            hint=f"{meant}“corral models adapters” lists them, and “{IMPORT}” takes one in",
        )

    def inspect_adapter(self, path: Path) -> LocalAdapter:
        """An adapter file, validated, whether it was taken in or not. Nothing is stored.

        Raises:
            NotFound, Refused: as :func:`corral.models.gguf.adapter.read_adapter`.
        """
        path = absolute(path)
        row = self._store.model_file(str(path))
        if row is not None and row.source == SOURCE:
            return self._sound(_from_row(row))
        return _from_header(read_adapter(path), "file")

    def _sound(self, adapter: LocalAdapter) -> LocalAdapter:
        if adapter.state == "missing":
            raise NotFound(
                f"The file of the adapter {adapter.name} is gone: {adapter.path}",
                hint="Bring it back, or take it in again from where it is now",
            )
        if adapter.state == "damaged":
            raise Refused(
                f"The file of the adapter {adapter.name} was changed since it came",
                title="Changed or damaged",
                hint=f"If that is right, take it in again with “{IMPORT}”",
            )
        return adapter

    # --- does it belong? ---

    def adapter_mismatch(self, adapter: LocalAdapter, model: LocalModel) -> str:
        """Why an adapter does not belong to a model, in plain words; empty where it does.

        Raises:
            NotFound, Refused: one of the two files is gone, or not sound.
        """
        return mismatch(
            read_adapter(Path(adapter.path)),
            self.header(model).architecture,
            self._tensors_of(path_of(model)),
        )

    def check_adapter(self, adapter: LocalAdapter, model: LocalModel) -> None:
        """The same, as an error.

        Raises:
            Refused: it does not belong to the model.
        """
        if reason := self.adapter_mismatch(adapter, model):
            raise does_not_belong(adapter.name, model.name, reason)

    def _tensors_of(self, path: Path) -> dict[str, Tensor]:
        """Kept as long as the file stays as it is; the last few models' only."""
        status = status_of(path)
        key = (path, *mark(status)) if status else (path, 0, 0)
        if key not in self._tensors:
            while len(self._tensors) >= 4:
                self._tensors.pop(next(iter(self._tensors)))
            self._tensors[key] = read_tensors(path)
        return self._tensors[key]

    # --- coming and going ---

    def import_adapter(
        self,
        path: Path,
        *,
        name: str | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> LocalAdapter:
        """Take an adapter in, where it lies: validated, read to its end, hashed, remembered.

        Args:
            name: what to call it instead of its file's name.

        Raises:
            NotFound, Refused: no such file, or not a sound adapter.
            UsageError: the name is taken, or cannot be one.
            Cancellation: ``cancelled`` said so.
        """
        path = absolute(path)
        header = read_adapter(path)
        old = self._store.model_file(str(path))
        taken = self._taken_names(path)
        chosen = names.own_name(name, taken) if name else old.name if old else None
        sha256, status = check_numbers(header, progress, cancelled)
        stem = names.of_file(path)
        row = ModelFile(
            path=str(path),
            name=chosen or names.unused_name(stem, stem, taken),
            family=None,
            quant=header.type,
            bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            sha256=sha256,
            source=SOURCE,
            format=None,
            added=old.added if old else self._clock(),
            header=_about(header),
            verified=self._clock(),
        )
        self._store.put_model_file(row)
        return _from_row(row)

    def forget_adapter(self, adapter: LocalAdapter) -> None:
        """Drop what is remembered about an adapter; its file stays.

        Raises:
            UsageError: it was never taken in.
        """
        row = self._store.model_file(adapter.path)
        if row is None or row.source != SOURCE:
            raise UsageError(f"{shorten(adapter.name, 80)} was never taken in")
        self._store.remove_model_file(adapter.path)

    def hashed(self, adapter: LocalAdapter, cancelled: Cancelled | None = None) -> LocalAdapter:
        """With its sha256; a file that was not taken in is read to its end for it, once.

        Raises:
            NotFound, Refused: it is gone, changed or holds what is no number.
            Cancellation: ``cancelled`` said so.
        """
        if adapter.sha256:
            return adapter
        path = Path(adapter.path)
        status = status_of(path)
        header = read_adapter(path)
        key = (path, *mark(status)) if status else (path, 0, 0)
        if key not in self._hashes:
            sha256, status = check_numbers(header, cancelled=cancelled)
            key = (path, *mark(status))
            self._hashes[key] = sha256
        found = _from_header(header, adapter.state, self._hashes[key])
        return replace(found, mtime_ns=key[2])

    # --- its parts ---

    def _adapter_rows(self) -> list[ModelFile]:
        return [row for row in self._store.model_files() if row.source == SOURCE]

    def _others(self, known: set[str]) -> list[LocalAdapter]:
        """Adapters that lie where models lie, by name; each name once."""
        models = {model.path for model in self._here() if model.path}
        folders = {Path(path).parent for path in models}
        if self._folder is not None:
            folders.add(self._folder / FOLDER)
        found: dict[str, LocalAdapter] = {}
        left = LOOKED_AT
        for folder in sorted(folders):
            for path in _gguf_files(folder):
                left -= 1
                if left < 0 or str(path) in known or str(path) in models:
                    continue
                try:
                    one = _from_header(read_adapter(path), "found")
                except CorralError:
                    continue  # Most are models, which say so in their first keys.
                found.setdefault(one.name.casefold(), one)
        return [found[name] for name in sorted(found)]


def does_not_belong(adapter: str, model: str, reason: str) -> Refused:
    return Refused(
        f"The adapter {shorten(adapter, 60)} does not belong to {shorten(model, 60)}: {reason}",
        title="Adapter refused",
        hint="Use it with the model it was trained for, in any quantization",
    )


def _gguf_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            found = [
                Path(entry.path)
                for _, entry in zip(range(LOOKED_AT), entries, strict=False)
                if entry.name.casefold().endswith(".gguf") and entry.is_file()
            ]
    except OSError:
        return []
    return sorted(found)


def _about(header: AdapterHeader) -> dict[str, object]:
    """What of a header is kept, so that a list need not read every file."""
    return {
        "name": header.name,
        "architecture": header.architecture,
        "base": header.base,
        "ranks": list(header.ranks),
        "alpha": header.alpha,
        "pairs": len(header.pairs),
        "norms": header.norms,
    }


def _from_header(
    header: AdapterHeader, state: AdapterState, sha256: str | None = None
) -> LocalAdapter:
    return LocalAdapter(
        name=names.of_file(header.path),
        path=str(header.path),
        bytes=header.bytes,
        sha256=sha256,
        state=state,
        architecture=header.architecture,
        base=header.base,
        title=header.name,
        ranks=header.ranks,
        alpha=header.alpha,
        pairs=len(header.pairs),
        norms=header.norms,
        type=header.type,
    )


def _from_row(row: ModelFile) -> LocalAdapter:
    status = status_of(Path(row.path))
    same = status is not None and mark(status) == (row.bytes, row.mtime_ns)
    about = row.header
    ranks = about.get("ranks")
    low, high = ranks if isinstance(ranks, list) and len(ranks) == 2 else (0, 0)
    return LocalAdapter(
        name=row.name,
        path=row.path,
        bytes=row.bytes,
        sha256=row.sha256 if same else None,
        state="missing" if status is None else "installed" if same else "damaged",
        architecture=str(about.get("architecture", "")),
        base=str(about.get("base", "")),
        title=str(about.get("name", "")),
        ranks=(int(low), int(high)),
        alpha=float(about.get("alpha") or 0.0),
        pairs=int(about.get("pairs") or 0),
        norms=int(about.get("norms") or 0),
        type=row.quant,
        mtime_ns=row.mtime_ns,
    )
