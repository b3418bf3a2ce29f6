"""Whether the contents of a model are what they were, by reading them; and where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corral.errors import NotFound
from corral.models import files
from corral.models.files import Cancelled, Progress, mark, status_of
from corral.models.library import names, shards
from corral.models.library.local import LocalModel
from corral.models.library.shards import Part
from corral.models.library.shelf import Shelf, path_of, wrong_contents
from corral.models.transfer.pieces import damaged
from corral.store.model_files import ModelFile
from corral.text import shorten
from corral.units import thousands


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading a whole model showed."""

    ok: bool
    sha256: str
    """What its contents have now."""
    path: Path
    """The file that is damaged; of several parts the first that is."""
    damaged_pieces: list[int]
    """Numbers of its pieces that are not as they were downloaded: they can be fetched again. Empty
    where they are not known: the file is to be got again."""
    reason: str = ""
    """One plain sentence without full stop; empty where all is well."""


class Verifying(Shelf):
    def verify(
        self,
        model: LocalModel,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Verdict:
        """Reads all of a model and remembers what was found, until the next time.

        It is compared with the catalogue where that knows it, else with what it was when it came.

        Raises:
            NotFound: it is not here.
            Refused: it cannot be read, or changes meanwhile.
            Cancellation: ``cancelled`` said so; then nothing is remembered.
        """
        path = path_of(model)
        row = self._row_of(model)
        if row is None and model.source == "starter":
            row = self._starter_row(model)
        expected = self._expected(model, row)
        seen: list[Part] = []
        verdict: Verdict | None = None
        done, total = 0, sum(part.bytes for part in expected)
        for place, part in zip(_places(path, row), expected, strict=True):
            status = status_of(place)
            if status is None:
                raise NotFound(
                    f"The file of {model.name} is gone: {shorten(str(place), 160)}",
                    hint=names.get_again(model, self.catalog),
                )
            sha256, pieces = damaged(
                place,
                self._store.pieces(place),
                part.bytes,
                files.shifted(progress, done, total),
                cancelled,
            )
            done += part.bytes
            seen.append(Part(part.name, *mark(status), sha256))
            if verdict is None and part.sha256 not in (None, sha256):
                reason = _reason(status.st_size - part.bytes, pieces)
                verdict = Verdict(False, sha256, place, pieces, reason)
        whole = shards.sha256_of_all([part.sha256 or "" for part in seen])
        self._remember(row, seen, whole, sound=verdict is None)
        return replace(verdict, sha256=whole) if verdict else Verdict(True, whole, path, [])

    def _expected(self, model: LocalModel, row: ModelFile | None) -> Sequence[Part]:
        file = model.family.file(model.quant) if model.family else None
        known = file.sha256 if file else None
        if row is None:
            return [Part(model.file, model.bytes, 0, known)]
        parts = shards.parts_of(row)
        if len(parts) == 1:
            # A starter that was never read has no hash of its own.
            return [replace(parts[0], sha256=known or row.sha256)]
        return parts

    def _remember(
        self, row: ModelFile | None, seen: Sequence[Part], sha256: str, *, sound: bool
    ) -> None:
        if row is None:
            return
        if not sound:
            self._store.put_model_file(replace(row, damaged=True, verified=None))
            return
        header = {key: value for key, value in row.header.items() if key != shards.KEY}
        self._store.put_model_file(
            replace(
                row,
                sha256=sha256,
                bytes=sum(part.bytes for part in seen),
                mtime_ns=seen[0].mtime_ns,
                header=header | shards.stored(seen),
                damaged=False,
                verified=self._clock(),
            )
        )

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
        path = path_of(model)
        row = self._row_of(model)
        if row and row.sha256 and not row.damaged and shards.are_same(row):
            return replace(model, sha256=row.sha256)
        if row or model.source == "starter":
            verdict = self.verify(model, progress, cancelled)
            if not verdict.ok:
                file = model.family.file(model.quant) if model.family else None
                known = "in the catalogue" if file and file.sha256 else "it had when it came"
                raise wrong_contents(path, f"not the one {known}")
            now = self._row_of(model)
            verified = now.verified if now else None
            return replace(model, sha256=verdict.sha256, state="installed", verified=verified)
        status = status_of(path)
        if status and (known_hash := self._hashes.get((path, *mark(status)))):
            return replace(model, sha256=known_hash)
        sha256, status = files.sha256_of(path, progress, cancelled)
        file = model.family.file(model.quant) if model.family else None
        if file and file.sha256 and file.sha256 != sha256:
            raise wrong_contents(path, "not the one in the catalogue")
        self._hashes[path, *mark(status)] = sha256
        return replace(model, sha256=sha256)


def _places(path: Path, row: ModelFile | None) -> list[Path]:
    return shards.places_of(row) if row else [path]


def _reason(more: int, pieces: Sequence[int]) -> str:
    if more:
        what = "many" if more > 0 else "few"
        return f"it has {thousands(abs(more))} bytes too {what}"
    if len(pieces) == 1:
        return "one piece of it is not what was downloaded"
    if pieces:
        return f"{len(pieces)} pieces of it are not what was downloaded"
    return "its contents changed: the sha256 is another one"
