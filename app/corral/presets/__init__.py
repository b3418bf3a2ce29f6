"""The presets there are: those that come with corral, and a person's own files over them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from corral.chat.presets import LARGEST, Preset, PresetError, parse
from corral.engine.params import Sampling
from corral.errors import CorralError, NotFound, Refused
from corral.text import shorten

SHIPPED = Path(__file__).parent
ENDING = ".toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class Presets:
    """Reads presets when they are asked for: a file that was changed counts at once.

    Args:
        folder: of the person's own files; None where there is none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[tuple[int, int], Preset | PresetError]] = {}

    def all(self) -> list[Preset]:
        """Every good one: tasks, then personas, each by name."""
        found = {preset.name: preset for preset in self._files() if isinstance(preset, Preset)}
        return sorted(found.values(), key=lambda one: (one.kind == "persona", one.name))

    def problems(self) -> list[str]:
        """What is wrong with the others: file, line, key and reason, one sentence each."""
        return [str(found) for found in self._files() if isinstance(found, _Wrong)]

    def get(self, name: str) -> Preset:
        """One by name, or by the beginning of one that no other has.

        Raises:
            NotFound: there is none, or its file is wrong.
        """
        key = name.strip().casefold()
        presets = self.all()
        found = [one for one in presets if one.name.casefold() == key]
        found = found or [one for one in presets if key and one.name.casefold().startswith(key)]
        if len(found) == 1:
            return found[0]
        wrong = [problem for problem in self.problems() if problem.startswith(f"{name}{ENDING} ")]
        if wrong:
            raise NotFound(wrong[0], title="The preset cannot be used")
        shown = shorten(name, 60)
        names = ", ".join(one.name for one in found or presets)
        which = "These begin so" if found else "There are"
        raise NotFound(f"There is no preset called {shown}", hint=f"{which}: {names}.")

    def text_of(self, preset: Preset) -> str:
        """The file as it stands.

        Raises:
            Refused: it can no longer be read.
        """
        try:
            return Path(preset.path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise Refused(f"{Path(preset.path).name} can no longer be read") from None

    def save(self, name: str, text: str) -> Preset:
        """Write a person's own preset; one that comes with corral stays below it.

        Raises:
            Refused: the name or the text is no preset's, and nothing was written.
            CorralError: the file cannot be written; what was there before is whole.
        """
        if self.folder is None or not _NAME.fullmatch(name):
            raise Refused(
                f"{shorten(name, 60)} cannot be the name of a preset",
                hint="Small letters, digits and hyphens, 40 at the most.",
            )
        path = self.folder / f"{name}{ENDING}"
        try:
            preset = parse(name, text, check=wrong_parameter, own=True, path=str(path))
        except PresetError as error:
            raise Refused(str(error), title="Not a preset yet") from None
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            fresh.chmod(0o600)
            fresh.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise CorralError(
                f"{path} cannot be written: {error.strerror}", title="Not saved"
            ) from None
        return preset

    def remove(self, preset: Preset) -> None:
        """Delete a person's own preset.

        Raises:
            CorralError: it cannot be deleted, or it is none of theirs.
        """
        if not preset.own:
            raise Refused(f"{preset.name} comes with corral")
        try:
            Path(preset.path).unlink(missing_ok=True)
        except OSError as error:
            raise CorralError(
                f"{preset.path} cannot be deleted: {error.strerror}", title="Not deleted"
            ) from None

    def _files(self) -> list[Preset | _Wrong]:
        """What came of every file; a person's own comes after the one it stands for."""
        found: list[Preset | _Wrong] = []
        for folder in (SHIPPED, self.folder):
            if folder is None:
                continue
            try:
                paths = sorted(path for path in folder.iterdir() if path.suffix == ENDING)
            except OSError:
                continue  # Nobody made the folder yet.
            for path in paths:
                preset = self._file(path, own=folder is not SHIPPED)
                if isinstance(preset, PresetError):
                    found.append(_Wrong(path, preset))
                else:
                    found.append(preset)
        return found

    def _file(self, path: Path, *, own: bool) -> Preset | PresetError:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            known = self._read.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            if stat.st_size > 4 * LARGEST or not path.is_file():
                raise PresetError("It is no file, or a very large one")
            text = path.read_text(encoding="utf-8")
            result: Preset | PresetError = parse(
                path.stem, text, check=wrong_parameter, own=own, path=str(path)
            )
        except PresetError as error:
            result = error
        except UnicodeDecodeError:
            result = PresetError("It is not UTF-8 text")
        except OSError as error:
            return PresetError(f"It cannot be read: {error.strerror}")
        self._read[path] = (stamp, result)
        return result


class _Wrong:
    def __init__(self, path: Path, error: PresetError) -> None:
        self._path, self._error = path, error

    def __str__(self) -> str:
        return f"{self._path.name} {self._error}"


class _Answer(BaseModel):
    max_tokens: int = Field(0, ge=0, le=1 << 20)


def wrong_parameter(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first parameter that cannot be, and why."""
    for name, value in values.items():
        model: type[BaseModel] = _Answer if name in _Answer.model_fields else Sampling
        if name not in model.model_fields or name == "grammar":
            return name, "There is no such parameter of an answer"
        try:
            model.model_validate({name: value})
        except ValidationError as error:
            return name, error.errors()[0]["msg"]
    return None
