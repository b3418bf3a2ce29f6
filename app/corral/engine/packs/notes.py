"""What is remembered of packs between two starts: hashes of their files, and verdicts.

A cache: whatever is wrong with it, it is as if nothing had been written down.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral.engine.packs.verdict import Verdict
from corral.paths import write_own

MOST = 64
"""Verdicts that are kept: of drivers and packs that were here before, too."""
MOST_HASHES = 512


class _Written(BaseModel):
    model_config = ConfigDict(defer_build=True)

    hashes: dict[str, str] = Field(default_factory=dict)
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    used: str = ""


class Notes:
    """Read once, written when something new is known.

    Args:
        path: the file; below a folder that only its owner may enter.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = _Written()
        with contextlib.suppress(OSError, UnicodeDecodeError, ValidationError):
            self._written = _Written.model_validate_json(path.read_text(encoding="utf-8"))
        self.hashes = dict(self._written.hashes)
        self._passing: dict[str, Verdict] = {}
        """Of this start only."""

    def verdict(self, key: str) -> Verdict | None:
        return self._passing.get(key) or self._written.verdicts.get(key)

    def note(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; one that another try could change only as long as the program runs."""
        self._passing.pop(key, None)
        verdicts = {one: said for one, said in self._written.verdicts.items() if one != key}
        if verdict.lasting:
            verdicts[key] = verdict
        else:
            self._passing[key] = verdict
        while len(verdicts) > MOST:
            del verdicts[next(iter(verdicts))]
        self._written = self._written.model_copy(update={"verdicts": verdicts})
        self.keep()

    @property
    def used(self) -> str:
        """The pack of the last worker that got ready; "" before the first."""
        return self._written.used

    def note_used(self, name: str) -> None:
        if name != self.used:
            self._written = self._written.model_copy(update={"used": name})
            self.keep()

    def keep(self) -> None:
        """Write it down; that it cannot be written costs only time at the next start."""
        hashes = dict(list(self.hashes.items())[-MOST_HASHES:])
        written = self._written.model_copy(update={"hashes": hashes})
        with contextlib.suppress(OSError):
            write_own(self._path, written.model_dump_json())
        self._written = written

    @property
    def changed(self) -> bool:
        """Whether there are hashes that are not written yet."""
        return self.hashes != self._written.hashes
