"""The catalogue: ``models.toml`` to families and their files, checked when it is read.

The catalogue knows what files do not say: the prompt format a model was trained on, its licence,
and the sha256 that a file must have.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import corral
from corral.chat.formats import FORMATS
from corral.engine.protocol import Sampling
from corral.errors import Refused
from corral.text import shorten

NAME = "models.toml"

Word = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Name = Annotated[str, Field(max_length=80, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Quant = Annotated[str, Field(max_length=16, pattern=r"^[A-Z0-9][A-Z0-9_]*$")]
FileName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


class CatalogError(Refused):
    title = "The catalogue cannot be used"


class File(BaseModel):
    """One file of a family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FileName
    quant: Quant
    bytes: Count | None = None
    """The exact size, where it is known."""
    gigabytes: float = Field(0.0, gt=0, validate_default=False)
    """Decimal; an estimate where ``bytes`` is not known."""
    sha256: Sha256 | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_size(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if ("bytes" in data) == ("gigabytes" in data):
                raise ValueError("give bytes where the exact size is known, else gigabytes")
            if isinstance(data.get("bytes"), int):
                return data | {"gigabytes": data["bytes"] / 1e9}
        return data

    def has_size(self, size: int) -> bool:
        """Whether ``size`` bytes can be this file: exactly where known, else within 1 %."""
        if self.bytes is not None:
            return size == self.bytes
        return abs(size - self.gigabytes * 1e9) <= self.gigabytes * 1e7


class Family(BaseModel):
    """A checkpoint in all its quantizations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    title: Word
    size: Word
    """As people say it: ``7B``."""
    kind: Literal["chat", "base"]
    licence: Name
    format: Word
    default_system: str = ""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Values of :class:`corral.engine.protocol.Sampling` that its authors recommend."""
    context: int = Field(0, ge=0)
    """Tokens; 0 where the file says it better."""
    repository: str = Field("", pattern=r"^([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)?$")
    revision: str = Field("", pattern=r"^([0-9a-f]{40})?$")
    package: str = Field("", pattern=r"^([a-z_][a-z0-9_]*)?$")
    """Import package whose folder holds the file, for models that come without a hub."""
    n_layer: Count
    n_embd: Count
    n_head: Count
    n_head_kv: Count
    n_ff: Count
    recommended: Quant
    files: Annotated[tuple[File, ...], Field(min_length=1)]

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in FORMATS:
            raise ValueError(f"“{value}” is not one of {', '.join(FORMATS)}")
        return value

    @field_validator("sampling")
    @classmethod
    def _known_sampling(cls, value: dict[str, Any]) -> dict[str, Any]:
        Sampling.model_validate(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        quants = [file.quant for file in self.files]
        if len(set(quants)) < len(quants):
            raise ValueError("a quantization is listed twice")
        if self.recommended not in quants:
            raise ValueError(f"the recommended {self.recommended} is not among its files")
        if bool(self.repository) == bool(self.package) or bool(self.repository) > bool(
            self.revision
        ):
            raise ValueError("give repository and revision, or package")
        return self

    def file(self, quant: str) -> File | None:
        return next((file for file in self.files if file.quant == quant), None)


@dataclass(frozen=True)
class Catalog:
    """All families, by name, in the order of the file."""

    families: dict[str, Family]

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Reads and checks a catalogue.

        Raises:
            CatalogError: it cannot be read; names the file, and the line and key where it can.
        """
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogError(f"{path.name} cannot be read: {_reason(error)}") from None
        try:
            tables = tomllib.loads(source)
        except tomllib.TOMLDecodeError as error:
            raise _error(path, None, "", str(error)) from None
        unknown = [key for key in tables if key != "family"]
        entries = tables.get("family")
        if unknown or not isinstance(entries, dict) or not entries:
            what = f"the key {shorten(unknown[0], 40)} is unknown" if unknown else "no [family.…]"
            raise _error(path, None, "", f"{what}; it holds only families")
        families: dict[str, Family] = {}
        for name, entry in entries.items():
            fields = {"name": name, **entry} if isinstance(entry, dict) else entry
            try:
                families[name] = Family.model_validate(fields)
            except ValidationError as error:
                # A misspelt key is also a missing one: what is there says more.
                faults = error.errors(include_url=False)
                fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
                line = _line(source, name, fault["loc"])
                key = ".".join(map(str, (name, *fault["loc"])))
                raise _error(path, line, key, fault["msg"].removeprefix("Value error, ")) from None
        return cls(families)._without_twins(path)

    def _without_twins(self, path: Path) -> Catalog:
        seen: set[str] = set()
        for family, file in self._files:
            for mark in (file.file.casefold(), file.sha256 or ""):
                if mark in seen:
                    raise _error(
                        path, None, f"{family.name}.{file.quant}", f"{mark} is there twice"
                    )
                seen.update({mark} - {""})
        return self

    @cached_property
    def _files(self) -> list[tuple[Family, File]]:
        return [(family, file) for family in self.families.values() for file in family.files]

    def by_file(self, name: str, size: int) -> tuple[Family, File] | None:
        """The file with this name, whatever its case, and this size in bytes."""
        wanted = name.casefold()
        for family, file in self._files:
            if file.file.casefold() == wanted and file.has_size(size):
                return family, file
        return None

    def by_sha256(self, sha256: str) -> tuple[Family, File] | None:
        for family, file in self._files:
            if file.sha256 == sha256:
                return family, file
        return None


def find_catalogue() -> Path:
    """``models.toml`` inside the installed package, or at the root of a checkout.

    Raises:
        CatalogError: it is in neither place.
    """
    package = Path(corral.__file__).parent
    for place in (package / NAME, package.parent.parent / NAME):
        if place.is_file():
            return place
    raise CatalogError(f"{NAME} is missing from the installed package", hint="Install corral again")


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else "it is not UTF-8"


def _error(path: Path, line: int | None, key: str, why: str) -> CatalogError:
    where = f"{path.name}, line {line}" if line else path.name
    key = f"{shorten(key, 80)}: " if key else ""
    return CatalogError(
        f"{where}: {key}{shorten(why, 160)}", hint="Correct the file, or install corral again"
    )


def _line(source: str, name: str, location: tuple[int | str, ...]) -> int | None:
    """The line a fault is in: as deep into the family's table as its keys can be found."""
    lines = source.splitlines()
    head = re.compile(rf"\s*\[family\.[\"']?{re.escape(name)}[\"']?\]")
    start = next((number for number, line in enumerate(lines) if head.match(line)), None)
    if start is None:
        return None
    found = start
    for part in location:
        if isinstance(part, int):
            items = [n for n, line in enumerate(lines) if n > found and line.lstrip()[:1] == "{"]
            return (items[part] if part < len(items) else found) + 1
        key = re.compile(rf"\s*[\"']?{re.escape(part)}[\"']?\s*=")
        for number in range(start + 1, len(lines)):
            if lines[number].lstrip().startswith("[family"):
                break
            if key.match(lines[number]):
                found = number
                break
    return found + 1
