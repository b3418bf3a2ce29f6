"""The small notes in which other programs say what their files are; foreign, and therefore checked.

What is missing, too large or of another shape says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from corral.errors import CorralError
from corral.models.gguf.header import open_model

_MOST = 1_000_000
"""Bytes of a note."""


class _Layer(BaseModel):
    media_type: str = Field("", alias="mediaType", max_length=200)
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Manifest(BaseModel):
    layers: Annotated[list[_Layer], Field(max_length=1000)]


@dataclass(frozen=True, slots=True)
class OllamaModel:
    weights: list[str]
    """sha256 of each file with weights."""
    adapter: bool


def ollama(path: Path) -> OllamaModel | None:
    """What a manifest of Ollama says; None if it is none."""
    try:
        manifest = _Manifest.model_validate_json(_read(path))
    except (ValidationError, ValueError):
        return None
    kinds = {"model": list[str](), "adapter": list[str]()}
    for layer in manifest.layers:
        kind = layer.media_type.removeprefix("application/vnd.ollama.image.")
        if kind in kinds:
            kinds[kind].append(layer.digest.removeprefix("sha256:"))
    return OllamaModel(kinds["model"], bool(kinds["adapter"]))


_OBJECT = TypeAdapter(dict[str, Any])


def _json(path: Path) -> dict[str, Any]:
    try:
        return _OBJECT.validate_json(_read(path))
    except (ValidationError, ValueError):
        return {}


def json_text(path: Path, key: str) -> str:
    value = _json(path).get(key)
    return value if isinstance(value, str) and "\0" not in value else ""


def kobold(path: Path) -> list[str]:
    """The model files that a ``.kcpps`` of KoboldCpp names."""
    settings = _json(path)
    found = []
    for key in ("model_param", "model"):
        value = settings.get(key)
        values = value if isinstance(value, list) else [value]
        found += [text for text in values if isinstance(text, str) and text and "\0" not in text]
    return found


def metadata(path: Path) -> tuple[str, str]:
    """Commit and etag of a file, as the hub's library writes them beside it."""
    lines = [*_read(path).decode("utf-8", "replace").splitlines(), "", ""]
    return lines[0].strip(), lines[1].strip()


def line(path: Path) -> str:
    return _read(path).decode("utf-8", "replace").strip().partition("\n")[0].replace("\0", "")


def yaml_text(path: Path, key: str) -> str:
    """A plain value of the first level; nothing else of YAML is read."""
    return _value(path, rf"{key}:\s*(.+)")


def ini_text(path: Path, key: str) -> str:
    return _value(path, rf"{key}\s*=\s*(.+)")


def _value(path: Path, pattern: str) -> str:
    text = _read(path).decode("utf-8", "replace")
    match = re.search(rf"(?m)^{pattern}$", text)
    return match[1].strip().strip("\"'").replace("\0", "") if match else ""


def _read(path: Path) -> bytes:
    """All of a small file, empty where there is none; never waits for a pipe."""
    try:
        with open_model(path) as (file, status):
            return file.read(_MOST) if status.st_size <= _MOST else b""
    except (CorralError, OSError, ValueError):
        return b""
