"""The catalogue: ``models.toml`` to families, files and licences, checked when it is read.

The catalogue knows what files do not say: the prompt format a model was trained on, its licence,
and the sha256 that a file must have. A person's own ``models.toml`` adds to it and overrides it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

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
PlainName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Repository = Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)?$")]
Revision = Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MOST = 10**15
"""Of anything that is counted: numbers beyond it could not be reckoned with."""
Count = Annotated[int, Field(ge=1, le=MOST)]
Percent = Annotated[float, Field(ge=-100, le=1000)]


class CatalogError(Refused):
    title = "The catalogue cannot be used"


class Licence(BaseModel):
    """What weights may be used for, and where that is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    title: Word
    accept: bool = False
    """Its text has to be accepted before the first download."""
    download: bool = True
    """False: files that are here are recognised and used, and none is downloaded."""
    repository: Repository = ""
    revision: Revision = ""
    files: tuple[PlainName, ...] = ()
    """Texts in the repository, kept beside the weights; the first is the licence itself."""
    url: str = Field("", pattern=r"^(https://[!-~]+)?$")
    summary: Annotated[str, Field(max_length=400, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""

    @model_validator(mode="after")
    def _has_its_text(self) -> Self:
        if (self.files or self.accept) and not (self.files and self.repository and self.revision):
            raise ValueError("a text needs repository, revision and files")
        return self


class File(BaseModel):
    """One file of a family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: FileName
    quant: Quant
    bytes: Count | None = None
    """The exact size, where it is known."""
    gigabytes: float = Field(0.0, gt=0, le=MOST / 1e9, validate_default=False)
    """Decimal; an estimate where ``bytes`` is not known."""
    sha256: Sha256 | None = None
    """Of the whole file."""
    parts: tuple[PlainName, ...] = ()
    """Where the hub has it only as raw cuts: their names, in the order they are joined."""

    @model_validator(mode="after")
    def _whole_or_parts(self) -> Self:
        if self.parts and (len(set(self.parts)) < 2 or self.sha256):
            raise ValueError("parts are two or more files, and have no sha256 of the whole")
        return self

    @model_validator(mode="before")
    @classmethod
    def _one_size(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if ("bytes" in data) == ("gigabytes" in data):
                raise ValueError("give bytes where the exact size is known, else gigabytes")
            if isinstance(data.get("bytes"), int):
                return data | {"gigabytes": min(data["bytes"], MOST) / 1e9}
        return data

    @property
    def verified(self) -> bool:
        """Whether exact size and sha256 are both known before the hub is asked."""
        return self.bytes is not None and self.sha256 is not None

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
    context: int = Field(0, ge=0, le=MOST)
    """Tokens; 0 where the file says it better."""
    draft: bool = False
    """Small, and with Llama 2's vocabulary: can guess ahead for a larger model."""
    repository: Repository = ""
    revision: Revision = ""
    package: str = Field("", pattern=r"^([a-z_][a-z0-9_]*)?$")
    """Import package whose folder holds the file, for models that come without a hub."""
    n_vocab: Count = 32_000
    n_layer: Count
    n_embd: Count
    n_head: Count
    n_head_kv: Count
    n_ff: Count
    quality: dict[Quant, Percent] = Field(default_factory=dict)
    """Percent of perplexity over fp16 that a quantization costs, where somebody measured it."""
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

    @property
    def card(self) -> str:
        """Address of the page about it; empty for a model that comes in a package."""
        return f"https://huggingface.co/{self.repository}" if self.repository else ""

    def file(self, quant: str) -> File | None:
        return next((file for file in self.files if file.quant == quant), None)


@dataclass(frozen=True)
class Catalog:
    """All families and licences, by name, in the order of the file."""

    families: dict[str, Family]
    licences: dict[str, Licence] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, own: Path | None = None) -> Catalog:
        """Reads and checks a catalogue.

        Args:
            own: a person's additions, where there are any; a table of theirs changes only the keys
                that it gives.

        Raises:
            CatalogError: it cannot be read; names the file, and the line and key where it can.
        """
        sources = [_Source.read(path)]
        if not sources[0].tables["family"]:
            raise sources[0].error("", "no [family.…]; it holds families and licences")
        if own is not None and own.exists():
            sources.append(_Source.read(own, str(own)))
        licences = {
            name: _checked(sources, "licence", name, Licence) for name in _names(sources, "licence")
        }
        families = {
            name: _checked(sources, "family", name, Family) for name in _names(sources, "family")
        }
        for family in families.values():
            if family.licence not in licences:
                source, line = _origin(sources, "family", family.name, ("licence",))
                why = f"no [licence.{family.licence}]"
                raise source.error(f"{family.name}.licence", why, line)
        return cls(families, licences)._without_twins(sources)

    def licence(self, name: str | None) -> Licence | None:
        return self.licences.get(name or "")

    def _without_twins(self, sources: list[_Source]) -> Catalog:
        seen: set[str] = set()
        for family, file in self._files:
            for mark in (file.file.casefold(), file.sha256 or ""):
                if mark in seen:
                    source, _ = _origin(sources, "family", family.name, ())
                    raise source.error(f"{family.name}.{file.quant}", f"{mark} is there twice")
                seen.update({mark} - {""})
        return self

    @cached_property
    def _files(self) -> list[tuple[Family, File]]:
        return [(family, file) for family in self.families.values() for file in family.files]

    @cached_property
    def _by_sha256(self) -> dict[str | None, tuple[Family, File]]:
        return {file.sha256: (family, file) for family, file in self._files if file.sha256}

    @cached_property
    def _by_name(self) -> dict[str, tuple[Family, File]]:
        return {file.file.casefold(): (family, file) for family, file in self._files}

    def by_file(self, name: str, size: int) -> tuple[Family, File] | None:
        """The file with this name, whatever its case, and this size in bytes."""
        found = self._by_name.get(name.casefold())
        return found if found and found[1].has_size(size) else None

    def by_sha256(self, sha256: str) -> tuple[Family, File] | None:
        return self._by_sha256.get(sha256)


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


@dataclass(frozen=True)
class _Source:
    """One file, taken apart but not checked."""

    title: str
    text: str
    tables: dict[str, dict[str, Any]]
    own: bool

    @classmethod
    def read(cls, path: Path, title: str = "") -> _Source:
        source = cls(shorten(title or path.name, 160), "", {}, bool(title))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror or "" if isinstance(error, OSError) else "it is not UTF-8"
            raise source.error("", f"it cannot be read: {reason}") from None
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise source.error("", str(error)) from None
        for key in tables:
            if key not in ("family", "licence") or not isinstance(tables[key], dict):
                what = f"the key {shorten(key, 40)} is unknown"
                raise source.error("", f"{what}; it holds only [family.…] and [licence.…]")
        return cls(source.title, text, {"family": {}, "licence": {}} | tables, source.own)

    def error(self, key: str, why: str, line: int | None = None) -> CatalogError:
        where = f"{self.title}, line {line}" if line else self.title
        key = f"{shorten(key, 80)}: " if key else ""
        hint = "move it away" if self.own else "install corral again"
        return CatalogError(
            f"{where}: {key}{shorten(why, 160)}", hint=f"Correct the file, or {hint}"
        )


def _names(sources: list[_Source], kind: str) -> list[str]:
    return list(dict.fromkeys(name for source in sources for name in source.tables[kind]))


_Table = TypeVar("_Table", bound=BaseModel)


def _checked(sources: list[_Source], kind: str, name: str, model: type[_Table]) -> _Table:
    fields: Any = {}
    for source in sources:
        entry = source.tables[kind].get(name, {})
        if not isinstance(entry, dict):
            raise source.error(f"{kind}.{name}", "is not a table")
        fields |= entry
    fields["name"] = name
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        place, why = _fault(error)
    source, line = _origin(sources, kind, name, place)
    raise source.error(".".join(map(str, (name, *place))), why, line)


def _fault(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Where and what; a misspelt key is also a missing one, and what is there says more."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    return fault["loc"], fault["msg"].removeprefix("Value error, ")


def _origin(
    sources: list[_Source], kind: str, name: str, location: tuple[int | str, ...]
) -> tuple[_Source, int | None]:
    """Where a fault is: the last file that has the key, else the last that has the table."""
    having = [source for source in sources if name in source.tables[kind]]
    with_key = [s for s in having if location and location[0] in s.tables[kind][name]]
    source = (with_key or having)[-1]
    return source, _line(source.text, kind, name, location)


def _line(text: str, kind: str, name: str, location: tuple[int | str, ...]) -> int | None:
    """The line a fault is in: as deep into its table as its keys can be found."""
    lines = text.splitlines()
    head = re.compile(rf"\s*\[{kind}\.[\"']?{re.escape(name)}[\"']?\]")
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
            if lines[number].lstrip().startswith(("[family", "[licence")):
                break
            if key.match(lines[number]):
                found = number
                break
    return found + 1
