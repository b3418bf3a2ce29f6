"""What a pack says of itself: ``manifest.json``, checked before anything of it is believed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator

from corral.engine.figures import Model
from corral.errors import Refused
from corral.reserved import is_reserved

FILE = "manifest.json"
LIMIT = 1 << 20
"""Bytes of a manifest."""
MOST_FILES = 64
MOST_BYTES = 4 << 30
"""Of all files of a pack: the largest, for CUDA, have some hundred megabytes."""

NAME = re.compile(r"engine-[a-z0-9]([a-z0-9._+-]{0,78}[a-z0-9])?", re.ASCII)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)

Backend = Literal["cpu", "cuda", "metal", "vulkan"]
Short = Annotated[str, StringConstraints(max_length=200)]


class File(Model):
    """One file of a pack."""

    bytes: int = Field(ge=0, le=MOST_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Model):
    """A pack: what it was built from and how, and every file in it."""

    format: Literal[1]
    name: str = Field(pattern=rf"^{NAME.pattern}$")
    binding: Short
    """Version of llama-cpp-python: its structures and this library's are the same."""
    llama_cpp: str = Field(pattern=r"^[0-9a-f]{7,40}$")
    """Commit of llama.cpp."""
    ggml: Short
    flagset: Short
    """One of ``packaging/engine/flags.toml``."""
    title: Short
    backend: Backend
    platform: Short
    """As :func:`corral.engine.packs.binding.platform_tag`."""
    flags: dict[Short, Short] = Field(max_length=64)
    """What cmake was told."""
    files: dict[str, File] = Field(min_length=1, max_length=MOST_FILES)

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, File]) -> dict[str, File]:
        for name in files:
            if not is_plain(name) or name.casefold() == FILE:
                raise ValueError("a file has a name that is none here")
        if len({name.casefold() for name in files}) < len(files):
            raise ValueError("two files have names that only differ in upper and lower case")
        if sum(file.bytes for file in files.values()) > MOST_BYTES:
            raise ValueError("its files are larger than any engine")
        return files

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    def written(self) -> str:
        """The same manifest is always the same text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def is_plain(name: str) -> bool:
    """Whether a file may have this name on every system: no folder, nothing hidden or reserved."""
    return bool(_FILE_NAME.fullmatch(name)) and name[-1] != "." and not is_reserved(name)


def parse(data: bytes, where: str) -> Manifest:
    """A manifest out of a file's bytes.

    Args:
        where: what it is of, for the message.

    Raises:
        Refused: it is none, or says what cannot be.
    """
    if len(data) > LIMIT:
        raise refused(where, f"its {FILE} is too long")
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"])
        reason = detail["msg"].removeprefix("Value error, ")
        raise refused(
            where, f"its {FILE} is wrong{f' at {key}' if key else ''}: {reason}"
        ) from None


def read(folder: Path) -> bytes:
    """The bytes of a pack's manifest.

    Raises:
        Refused: there is none.
    """
    path = folder / FILE
    try:
        if path.is_symlink() or not path.is_file():
            raise refused(folder.name, f"it has no {FILE}: it is no engine pack, or half copied")
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise refused(folder.name, f"{FILE} cannot be read: {error.strerror or error}") from None


def refused(what: str, reason: str) -> Refused:
    return Refused(f"{what} is refused: {reason}", title="Engine pack refused")
