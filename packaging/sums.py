"""SHA256SUMS of a folder: one line a file, as sha256sum writes and checks it, in C order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

NAME = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(folder: Path) -> Path:
    """Write it about every other file below the folder, but for a signature of it.

    Raises:
        ValueError: a file has a name that a line cannot hold.
    """
    lines = []
    for name in sorted(_names(folder), key=str.encode):
        if "\n" in name or "\\" in name:
            raise ValueError(f"a line of {NAME} cannot hold the name {name!r}")
        lines.append(f"{sha256(folder / name)}  {name}\n")
    path = folder / NAME
    path.write_bytes("".join(lines).encode())
    return path


def problems(folder: Path) -> Iterator[str]:
    """One sentence for each file that is not what SHA256SUMS says, is missing, or is extra."""
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        yield f"{NAME} cannot be read: {error}"
        return
    told = {}
    for line in lines:
        if (found := _LINE.fullmatch(line)) is None:
            yield f"{NAME} has a line that is none: {line!r}"
        elif told.get(found[2], found[1]) != found[1]:
            yield f"{NAME} says two things of {found[2]}"
        else:
            told[found[2]] = found[1]
    here = set(_names(folder))
    for name in sorted(told.keys() - here):
        yield f"{name} is missing"
    for name in sorted(here - told.keys()):
        yield f"{name} is not in {NAME}"
    for name in sorted(here & told.keys()):
        if sha256(folder / name) != told[name]:
            yield f"{name} is damaged: its sha256 is not the one in {NAME}"


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (NAME, SIGNATURE):
            yield name
