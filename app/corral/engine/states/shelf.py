"""The folder of kept states: what is there, what it takes, and what has to go.

Used by the worker and by the screen at the same time, and by several of each; so every method takes
what it finds, and a file that is gone meanwhile is gone. Only files of this package's own names are
ever removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from corral.engine.figures import Model
from corral.engine.states.files import NAME, TEMPORARY, make_private, write_private

DEFAULT_SHARE = 10
"""Per cent of the free disk that are used where a person did not say."""
DEFAULT_LIMIT = 20 * 10**9
CARD = "model.json"

_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CLEARED = "cleared"
_ALL = "@all"
_MARKS_SECONDS = 30 * 86400.0


class Card(Model):
    """``model.json``: whose states a folder holds, for lists and to see a file was replaced."""

    name: str
    """The model's file name without its ending."""
    file: str
    """Absolute path of the model."""
    fingerprint: str
    engine: str
    """Version of the binding."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one conversation by one model."""

    model: str
    """Name of the model's file; its key where even that is unknown."""
    conversation: str
    tokens: int
    """Of the longest prompt."""
    bytes: int
    used: float
    """Seconds since the epoch."""
    folder: Path


class Shelf:
    """All kept states below one folder; every method may be called in any thread and process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- what is there ----------------------------------------------------------------------------

    def entries(self) -> list[Kept]:
        """By conversation and model, the latest used first; nothing in an unreadable folder."""
        found = []
        for model in _folders(self.folder, _KEY):
            card = self.card(model.name)
            for conversation in _folders(model, _CONVERSATION):
                ends, size = [0], 0
                for file, taken in _files(conversation):
                    size += taken
                    if match := NAME.fullmatch(file.name):
                        ends.append(int(match[2]))
                if size:
                    with contextlib.suppress(OSError):
                        used = conversation.stat().st_mtime
                        name = card.name if card else model.name
                        found.append(
                            Kept(name, conversation.name, max(ends), size, used, conversation)
                        )
        return sorted(found, key=lambda one: one.used, reverse=True)

    def total(self) -> int:
        """Bytes of everything that is kept."""
        return sum(one.bytes for one in self.entries())

    def card(self, key: str) -> Card | None:
        """What a model's folder says about itself; None where it is missing or not sound."""
        try:
            return Card.model_validate_json((self.folder / key / CARD).read_bytes()[:65536])
        except (OSError, ValidationError):
            return None

    def has(self, conversation: str) -> bool:
        """Whether any model keeps something of a conversation."""
        return any((model / conversation).is_dir() for model in _folders(self.folder, _KEY))

    def touch(self, key: str, conversation: str, used: float) -> None:
        """Note when a conversation was used last, in seconds since the epoch."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / key / conversation, (used, used))

    @staticmethod
    def default_limit(free_disk: int) -> int:
        """Bytes that all states may take together where a person did not say."""
        return max(0, min(free_disk * DEFAULT_SHARE // 100, DEFAULT_LIMIT))

    # --- what a person removes --------------------------------------------------------------------

    def clear(self, conversation: str | None = None) -> int:
        """Remove what is kept of a conversation, or everything.

        A worker that still has it evaluated does not write it again, until the conversation goes
        on.

        Returns:
            Bytes that are free now.
        """
        mark = _ALL if conversation is None else conversation
        if conversation is not None and not _CONVERSATION.fullmatch(conversation):
            return 0
        with contextlib.suppress(OSError):
            make_private(self.folder / _CLEARED)
            path = self.folder / _CLEARED / mark
            path.touch(mode=0o600)
            now = time.time_ns()
            os.utime(path, ns=(now, now))
        freed = 0
        for model in _folders(self.folder, _KEY):
            for folder in _folders(model, _CONVERSATION):
                if conversation in (None, folder.name):
                    freed += remove(folder)
            _drop_empty(model)
        return freed

    def forget(self, conversation: str) -> int:
        """The conversation is deleted: nothing of it stays. As :meth:`clear`."""
        return self.clear(conversation)

    def cleared_since(self, conversation: str, used: float) -> bool:
        """Whether it was cleared after ``used`` (seconds since the epoch)."""
        for mark in (conversation, _ALL):
            with contextlib.suppress(OSError):
                if (self.folder / _CLEARED / mark).stat().st_mtime >= used:
                    return True
        return False

    # --- what goes by itself ----------------------------------------------------------------------

    def trim(self, limit: int, keep: Path | None = None, used_before: float | None = None) -> int:
        """Remove the conversations that were not used for the longest time, down to a limit.

        Args:
            limit: bytes that may stay.
            keep: the folder of a conversation that is not removed.
            used_before: what was used after that is not removed either, in seconds since the epoch.

        Returns:
            Bytes that are kept now; they may be more than the limit.
        """
        entries = self.entries()
        total = sum(one.bytes for one in entries)
        for one in reversed(entries):
            if total <= limit:
                break
            if one.folder != keep and (used_before is None or one.used < used_before):
                total -= remove(one.folder)
                _drop_empty(one.folder.parent)
        return total

    def tidy(self, card: Card) -> None:
        """Remove what no worker can use any more.

        That is: states of another engine version, states of a model that was replaced under the
        same name, and what a worker left that was killed while it wrote.

        Args:
            card: of the model that is loaded now.
        """
        for model in _folders(self.folder, _KEY):
            other = self.card(model.name)
            replaced = other is not None and (
                (other.file == card.file and other.fingerprint != card.fingerprint)
                or other.engine != card.engine
            )
            for folder in _folders(model, _CONVERSATION):
                if replaced:
                    remove(folder)
                else:
                    _remove_leftovers(folder)
            if replaced:
                _drop_empty(model)
        _remove_leftovers(self.folder)
        with contextlib.suppress(OSError):
            for mark in (self.folder / _CLEARED).iterdir():
                if time.time() - mark.stat().st_mtime > _MARKS_SECONDS:
                    mark.unlink()

    def label(self, key: str, card: Card) -> None:
        """Note whose folder ``key`` is.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.card(key) != card:
            make_private(self.folder / key)
            write_private(self.folder / key / CARD, card.model_dump_json().encode())


def remove(folder: Path) -> int:
    """Remove the states of one conversation of one model; gives the bytes that are free now."""
    freed = 0
    for file, size in _files(folder):
        with contextlib.suppress(OSError):
            file.unlink()
            freed += size
    with contextlib.suppress(OSError):
        folder.rmdir()
    return freed


def _drop_empty(model: Path) -> None:
    """Remove a model's folder where nothing but its card is left in it."""
    with contextlib.suppress(OSError):
        if {entry.name for entry in os.scandir(model)} <= {CARD}:
            (model / CARD).unlink(missing_ok=True)
            model.rmdir()


def _folders(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """States and leftovers with their sizes; whatever else lies there is somebody else's."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            ours = NAME.fullmatch(entry.name) or entry.name.endswith(TEMPORARY)
            if ours and entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_size


def _remove_leftovers(folder: Path) -> None:
    import psutil  # Not for the first frame.

    for file, _ in _files(folder):
        if not file.name.endswith(TEMPORARY):
            continue
        process = file.name.split("-", 1)[0]
        with contextlib.suppress(OSError, OverflowError):  # A name may have any number in it.
            old = time.time() - file.stat().st_mtime > 3600
            if old or not process.isdecimal() or not psutil.pid_exists(int(process)):
                file.unlink()
