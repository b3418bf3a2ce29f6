"""``config.toml`` to :class:`Settings` and back, keeping a person's comments.

A broken file never stops the program: what can be read is used, the rest falls back to its default,
and every problem is named with its line and key.
"""

from __future__ import annotations

import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from corral.engine.protocol import KvType, Sampling
from corral.paths import write_own


class EngineSettings(BaseModel):
    """``[engine]``: how models are loaded where a conversation does not say otherwise."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    pack: str = Field("auto", min_length=1, max_length=80)
    """Engine pack: its name, built-in, or auto for the best that works here."""
    n_ctx: int = Field(0, ge=0, le=1 << 20)
    """Context window in tokens; 0 is the model's own, at most 4096."""
    n_gpu_layers: int = Field(-1, ge=-1)
    """Layers to put on the GPU; -1 is all of them."""
    threads: int = Field(0, ge=0, le=512)
    """Threads for generation; 0 follows the machine's load."""
    threads_batch: int = Field(0, ge=0, le=512)
    """Threads for prompt evaluation; 0 follows the machine's load."""
    type_k: KvType = "f16"
    """Type of the K cache; q8_0 halves its memory."""
    type_v: KvType = "f16"
    """Type of the V cache; anything but f16 needs flash attention."""
    flash_attn: Literal["auto", "on", "off"] = "auto"
    rope_scaling: Literal["off", "linear", "yarn"] = "off"
    """How a window larger than the model was trained on is reached."""
    load_mode: Literal["auto", "read", "mmap", "mlock", "mmap+mlock", "direct_io"] = "auto"
    """How weights come into memory."""
    repack: bool = True
    """Copy weights into the processor's order: answers come faster, and loading takes longer."""
    pace: Literal["auto", "full", "quiet"] = "auto"
    """quiet uses fewer threads at a lower priority; auto is quiet on battery, full else."""
    lookup: bool = True
    """Guess ahead from what was said before; the text stays the same, it only comes faster."""
    exact: bool = True
    """Guess only as far as the text stays the same; else rounding decides ties."""
    draft: str = "auto"
    """A small model that guesses ahead: its name, auto for an installed one that fits, or off."""
    kv_disk: float = Field(-1.0, ge=-1, le=1e6)
    """Gigabytes of evaluated prompts kept on disk; 0 keeps none, -1 follows the free disk."""
    keep_warm: bool = True
    """Keep the models used before in memory as long as there is room, to go back at once."""
    idle_minutes: float = Field(30.0, ge=0, le=1e6)
    """A model that nobody used for so long leaves memory; 0 keeps it."""


class DownloadSettings(BaseModel):
    """``[downloads]``: where models go and how fast they come."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    folder: str = ""
    """Where downloaded models lie; empty is ``models`` in corral's data folder."""
    limit: float = Field(0.0, ge=0)
    """Megabytes a second over all connections; 0 is no limit."""
    connections: int = Field(4, ge=1, le=16)
    """Ranges of one file that may be fetched at the same time, where that is faster."""

    @field_validator("folder")
    @classmethod
    def _is_one_place(cls, folder: str) -> str:
        try:
            known = not folder or Path(folder).expanduser().is_absolute()
        except RuntimeError:  # nobody of that name has a home
            known = False
        if not known or "\0" in folder:
            raise ValueError("a folder begins with / or with ~")
        return folder


class Settings(BaseModel):
    """The whole file. Every field has a default; an empty file is a good file."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    theme: str = "altiplano"
    """altiplano (dark), puna (light), terminal (its own colours), or one of Textual's."""
    model: str | None = None
    """The model a new conversation starts with; none is the last one added, else the starter."""
    sidebar: bool = True
    """Whether the list of conversations is shown on wide screens."""
    vim: bool = False
    """Whether the box for the prompt has vim's keys."""
    engine: EngineSettings = Field(default_factory=EngineSettings)
    downloads: DownloadSettings = Field(default_factory=DownloadSettings)
    sampling: dict[str, Any] = Field(default_factory=dict)
    """``[sampling]``: sampling parameters for every conversation, over the model's own."""

    @field_validator("sampling")
    @classmethod
    def _known_sampling(cls, values: dict[str, Any]) -> dict[str, Any]:
        try:
            Sampling.model_validate({k: v for k, v in values.items() if k != "max_tokens"})
        except ValidationError as error:
            detail = error.errors()[0]
            raise ValueError(f"{detail['loc'][0]}: {detail['msg']}") from None
        return values


def load(path: Path) -> tuple[Settings, list[str]]:
    """The settings, and one plain sentence for each problem found in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings(), []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        return Settings(), [f"{path.name} cannot be read: {reason}; defaults are used"]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {len(text.splitlines())}, the end of the file"
        reason = str(error).replace("at end of document", end)
        return Settings(), [f"{path.name} is not valid TOML: {reason}; defaults are used"]
    problems: list[str] = []
    while True:
        try:
            return Settings.model_validate(values), problems
        except ValidationError as error:
            for detail in error.errors():
                keys = [str(part) for part in detail["loc"]]
                reason = f"{detail['msg'].removeprefix('Value error, ')}; the default is used"
                if detail["type"] == "extra_forbidden":  # Of a newer corral, or misspelt.
                    reason = "this corral has no such setting and leaves it alone"
                problems.append(
                    f"{path.name} line {_line_of(text, keys)}, key {'.'.join(keys)}: {reason}"
                )
                _drop(values, keys)


def save(path: Path, key: str, value: Any) -> bool:
    """Change one key and leave the rest of the file, comments too, as it is.

    Args:
        key: ``theme``, or with its table: ``engine.pace``.
        value: None takes the key out, so that its default counts.

    Returns:
        False where the file is not valid TOML: a person's broken file is theirs to mend.

    Raises:
        OSError: the file cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = tomlkit.document()
    except (ParseError, UnicodeDecodeError):
        return False
    *tables, key = key.split(".")
    place: MutableMapping[str, Any] = document
    for name in tables:
        if not isinstance(place.get(name), MutableMapping):
            if value is None:
                return True
            place[name] = tomlkit.table()
        place = place[name]
    if value is None:
        place.pop(key, None)
    else:
        place[key] = value
    write_own(path, tomlkit.dumps(document))
    return True


def _drop(values: dict[str, Any], keys: list[str]) -> None:
    """Remove the offending value: the deepest key of ``keys`` that stands in the file."""
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values.pop(key, None)
            return
        values = values[key]
    values.pop(keys[-1], None)


def _line_of(text: str, keys: list[str]) -> int:
    """The line where the deepest of ``keys`` is set, counted from 1; 1 where it is not found."""
    line, table = 1, ""
    for number, row in enumerate(text.splitlines(), 1):
        row = row.strip()
        if row.startswith("["):
            table = row.strip("[] ")
            if table == ".".join(keys):
                line = number
        name = row.partition("=")[0].strip().strip("\"'")
        if ".".join(filter(None, [table, name])) == ".".join(keys):
            return number
    return line
