"""The model files this machine is known to have."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from corral.store.database import Row, row, rows
from corral.store.parts import Part
from corral.store.records import decode, from_json, storable

_SELECT = """
    SELECT path, CAST(name AS BLOB), CAST(family AS BLOB), CAST(quant AS BLOB), bytes, mtime_ns,
    CAST(sha256 AS BLOB), CAST(source AS BLOB), CAST(format AS BLOB), added, CAST(header AS BLOB),
    CAST(repository AS BLOB), CAST(revision AS BLOB), damaged, verified
    FROM model_file
"""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One checkpoint on the disk."""

    path: str
    """Absolute, as the person gave it, resolved."""
    name: str
    """``family:QUANT`` where the file is known, else the stem of its name."""
    family: str | None
    quant: str
    bytes: int
    mtime_ns: int
    sha256: str | None
    source: str
    """``starter``, ``import``, ``adopted`` or ``download``."""
    format: str | None
    """The prompt format the person chose; None for the one the file asks for."""
    added: float
    header: dict[str, Any] = field(default_factory=dict)
    """What the validator read from the file."""
    repository: str | None = None
    """Where it was downloaded from, as ``owner/name``."""
    revision: str | None = None
    """The commit of the repository, 40 hexadecimal digits."""
    damaged: bool = False
    """Its contents were found to be wrong."""
    verified: float | None = None
    """When its contents were last found to be right."""


class ModelFiles(Part):
    def model_files(self) -> list[ModelFile]:
        """All of them, by name."""
        with self._database.read() as connection:
            found = rows(connection, _SELECT + "ORDER BY name, path")
        return [_to_model_file(values) for values in found]

    def model_file(self, path: str) -> ModelFile | None:
        """The row of one path, or None."""
        with self._database.read() as connection:
            found = row(connection, _SELECT + "WHERE path = ?", (os.fsencode(path),))
        return None if found is None else _to_model_file(found)

    def put_model_file(self, file: ModelFile) -> None:
        """Add a row, or replace the one with the same path."""
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT OR REPLACE INTO model_file VALUES"
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    os.fsencode(file.path),
                    storable(file.name),
                    _storable(file.family),
                    storable(file.quant),
                    file.bytes,
                    file.mtime_ns,
                    file.sha256,
                    file.source,
                    _storable(file.format),
                    file.added,
                    json.dumps(file.header),
                    _storable(file.repository),
                    file.revision,
                    int(file.damaged),
                    file.verified,
                ),
            )

    def remove_model_file(self, path: str) -> bool:
        """Forget a row; the file itself stays. False if there was none."""
        with self._database.write() as connection:
            rows(connection, "DELETE FROM model_file WHERE path = ?", (os.fsencode(path),))
            return connection.changes() > 0


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _to_model_file(values: Row) -> ModelFile:
    path, name, family, quant, size, mtime_ns, sha256, source, format, added, header = values[:11]
    repository, revision, damaged, verified = values[11:]
    return ModelFile(
        path=os.fsdecode(path),
        name=decode(name) or "",
        family=decode(family),
        quant=decode(quant) or "",
        bytes=size,
        mtime_ns=mtime_ns,
        sha256=decode(sha256),
        source=decode(source) or "",
        format=decode(format),
        added=added,
        header=from_json(header) or {},
        repository=decode(repository),
        revision=decode(revision),
        damaged=bool(damaged),
        verified=verified,
    )
