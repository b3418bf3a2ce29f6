"""How fast this machine reads and writes kept states, and whether that beats evaluating again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, ValidationError

from corral.engine.figures import Model
from corral.engine.states.files import make_private, write_private

_FILE = "rates.json"
_OVERHEAD = 0.01
"""Seconds that any restore takes, however little it reads."""


class Measured(Model):
    """Bytes a second; what is not measured yet is what a modest SSD does."""

    read: FiniteFloat = Field(300e6, gt=0)
    write: FiniteFloat = Field(100e6, gt=0)
    """Until it is on the disk."""
    hand_over: FiniteFloat = Field(300e6, gt=0)
    """Until the system has it, and writes it some time later."""


class DiskRates:
    """The rates of one folder, kept in it from run to run."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._measured = Measured()
        self._changed = False
        with contextlib.suppress(OSError, ValidationError):
            self._measured = Measured.model_validate_json(self._path.read_bytes()[:4096])

    @property
    def now(self) -> Measured:
        return self._measured

    def note(self, name: Literal["read", "write", "hand_over"], size: int, seconds: float) -> None:
        """How long so many bytes took; half of the figure is the latest measurement."""
        if size >= 1 << 20:  # A few bytes measure the overhead alone.
            values = self._measured.model_dump()
            values[name] = (values[name] + size / max(seconds, 1e-6)) / 2
            self._measured = Measured(**values)
            self._changed = True

    def save(self) -> None:
        """Write them down where they changed.

        Raises:
            OSError: they cannot be written.
        """
        if self._changed:
            make_private(self._path.parent)
            write_private(self._path, self._measured.model_dump_json().encode())
            self._changed = False

    def pays(self, size: int, tokens: int, token_seconds: float) -> bool:
        """Whether reading ``size`` bytes is faster than evaluating ``tokens``.

        Args:
            token_seconds: for one token; 0 is unknown, and evaluating is seldom the faster one.
        """
        if token_seconds <= 0:
            return tokens > 0
        return _OVERHEAD + size / self._measured.read < tokens * token_seconds
