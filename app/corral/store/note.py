"""The note beside the database: what it held, and who has it open.

An empty database is a valid one, so lost history would look like a new install. The note is what
tells them apart. It holds counts and process identities, never a word of a conversation.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from corral.placing import put
from corral.store.writers import is_running

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    conversations: int = 0
    messages: int = 0
    last_message: int = 0
    """The highest message id ever given out; it never falls, whatever is deleted."""
    open: tuple[str, ...] = ()
    """Processes that have the database open; a dead one did not close it."""
    suspect: bool = False
    """True once a read met damage: the next open looks at every page."""

    def others(self, writer: str) -> list[str]:
        """The other processes that have the database open and still run."""
        return [other for other in self.open if other != writer and is_running(other)]


def note_path(database: Path) -> Path:
    return database.with_name(database.name + ".note")


def read_note(database: Path) -> Note | None:
    """The note, or None where there is none that can be understood."""
    try:
        loaded = json.loads(note_path(database).read_bytes())
        return Note(
            conversations=int(loaded["conversations"]),
            messages=int(loaded["messages"]),
            last_message=int(loaded["last_message"]),
            open=tuple(str(writer) for writer in loaded["open"]),
            suspect=bool(loaded["suspect"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_note(database: Path, note: Note) -> None:
    """Replace the note in one step. A failure is logged: the note guards, it is not the history."""
    target = note_path(database)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    content = {
        "conversations": note.conversations,
        "messages": note.messages,
        "last_message": note.last_message,
        "open": list(note.open),
        "suspect": note.suspect,
    }
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(descriptor)
        put(temporary, target)
    except OSError as error:
        _log.warning("the note beside the history could not be written: %s", error)
        with contextlib.suppress(OSError):
            temporary.unlink()
