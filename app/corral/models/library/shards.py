"""Split models: the files that belong together, and what is kept about each of them.

llama.cpp cuts a model into complete GGUF files, ``…-00001-of-0000N.gguf`` and so on; the first is
the one that is named and loaded. Everything else is one file, which is its own only part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corral.models.files import mark, status_of
from corral.store.model_files import ModelFile

KEY = "parts"
"""Of the header that is stored with a model file; only split models have it."""

_NAME = re.compile(
    r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<end>\.gguf)", re.I | re.S
)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model, as it was when it was hashed."""

    name: str
    bytes: int
    mtime_ns: int
    sha256: str | None


def paths_of(path: Path, count: int) -> list[Path]:
    """All files of a model of ``count`` files, the first of which is ``path``."""
    match = _NAME.fullmatch(path.name)
    if count <= 1 or match is None:
        return [path]
    stem, total, end = match["stem"], match["count"], match["end"]
    return [path.with_name(f"{stem}-{n:05d}-of-{total}{end}") for n in range(1, count + 1)]


def is_later_part(name: str) -> bool:
    """Whether a file is one that the first of its model brings along."""
    match = _NAME.fullmatch(name)
    return match is not None and int(match["number"]) > 1


def sha256_of_all(hashes: Sequence[str]) -> str:
    """What stands for the contents of a model; see :attr:`LocalModel.sha256`."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256(b"".join(map(bytes.fromhex, hashes))).hexdigest()


def stored(parts: Sequence[Part]) -> dict[str, Any]:
    """What is added to the stored header."""
    return {KEY: [asdict(part) for part in parts]} if len(parts) > 1 else {}


def parts_of(row: ModelFile) -> list[Part]:
    """The files of a stored model, the first one first."""
    first = Part(Path(row.path).name, row.bytes, row.mtime_ns, row.sha256)
    try:
        return [Part(**part) for part in row.header.get(KEY, ())] or [first]
    except TypeError:
        return [first]


def places_of(row: ModelFile) -> list[Path]:
    """Where they are."""
    path = Path(row.path)
    # A name from the database is a name, whatever is in it.
    return [path, *(path.with_name(Path(part.name).name) for part in parts_of(row)[1:])]


def are_here(row: ModelFile) -> bool:
    return all(status_of(place) is not None for place in places_of(row))


def are_same(row: ModelFile) -> bool:
    """Whether every file has the size and the time stamp that it had when it was hashed."""
    for place, part in zip(places_of(row), parts_of(row), strict=True):
        status = status_of(place)
        if status is None or mark(status) != (part.bytes, part.mtime_ns):
            return False
    return True
