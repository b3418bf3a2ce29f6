"""The presets there are: those that come with corral, and a person's own files over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from corral.chat.presets import LARGEST, Preset, PresetError, parse
from corral.engine.params import Sampling
from corral.errors import CorralError, NotFound, Refused
from corral.paths import write_own
from corral.reserved import is_reserved
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
        # One that comes with corral is not meant where a person's own of that name is wrong.
        for problem in self._files():
            if isinstance(problem, _Wrong) and problem.name.casefold() == key:
                raise NotFound(str(problem), title="The preset cannot be used")
        presets = self.all()
        found = [one for one in presets if one.name.casefold() == key]
        found = found or [one for one in presets if key and one.name.casefold().startswith(key)]
        if len(found) == 1:
            return found[0]
        shown = shorten(name, 60)
        names = ", ".join(one.name for one in found or presets)
        which = "These begin so" if found else "There are"
        raise NotFound(f"There is no preset called {shown}", hint=f"{which}: {names}.")

    def has_own(self, name: str) -> bool:
        """Whether a person has a file of that name, be it a good one or not."""
        return self.folder is not None and (self.folder / f"{name}{ENDING}").exists()

    def text_of(self, preset: Preset) -> str:
        """The file as it stands; a person's own also where it is wrong and does not count.

        Raises:
            Refused: it can no longer be read.
        """
        path = Path(preset.path)
        if self.folder is not None and self.has_own(preset.name):
            path = self.folder / path.name
        try:
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise Refused(f"{path.name} can no longer be read") from None

    def save(self, name: str, text: str) -> Preset:
        """Write a person's own preset; one that comes with corral stays below it.

        Raises:
            Refused: the name or the text is no preset's, and nothing was written.
            CorralError: the file cannot be written; what was there before is whole.
        """
        if self.folder is None or not _NAME.fullmatch(name) or is_reserved(name):
            raise Refused(
                f"{shorten(name, 60)} cannot be the name of a preset",
                hint="Small letters, digits and hyphens, 40 at the most.",
            )
        path = self.folder / f"{name}{ENDING}"
        try:
            preset = parse(name, text, check=wrong_parameter, own=True, path=str(path))
        except PresetError as error:
            raise Refused(str(error), title="Not a preset yet") from None
        try:
            write_own(path, text)
        except OSError as error:
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
            text = path.read_text(encoding="utf-8-sig")
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
        self.name = path.stem
        self._error = error

    def __str__(self) -> str:
        return f"{self.name}{ENDING} {self._error}"


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
