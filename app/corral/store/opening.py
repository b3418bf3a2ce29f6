"""From a path to a database that can be trusted, or one sentence why not."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from corral.errors import StoreError
from corral.store import reserve
from corral.store.database import (
    MEMORY,
    DamagedError,
    Database,
    DiskFullError,
    row,
    rows,
)
from corral.store.note import Note, read_note, write_note
from corral.store.salvage import (
    Salvaged,
    create_private,
    finish_replacing,
    put_in_place,
    set_aside_and_salvage,
)
from corral.store.schema import migrate, recognise, refuse_newer_file
from corral.store.writers import this_process

_OTHERS = 0o077
"""The mode bits of everybody but the owner."""


def open_database(
    path: Path | None, *, clock: Callable[[], float], patience: float
) -> tuple[Database, list[str]]:
    """Open a database, new or old, with its tables up to date.

    A damaged file is set aside and its sound rows are saved; so is an empty file where the note
    says that there was a history.

    Args:
        path: None for a database in memory.
        patience: seconds to wait for another program's lock.

    Returns:
        The database, and plain sentences for the person about what was found.

    Raises:
        StoreError: it is locked, newer, another application's, or cannot be read or written.
    """
    if path is None:
        database = Database(MEMORY, patience=patience)
        database.prepare()
        migrate(database, clock)
        return database, []
    path = Path(os.path.realpath(path))
    try:
        if path.exists() and not path.is_file():
            raise StoreError(f"The history cannot be opened: {path} is no ordinary file")
        refuse_newer_file(path)
        try:
            opened = _open_in_turn(path, clock, patience)
        except DiskFullError:
            if not reserve.give_back(path):
                raise
            opened = _open_in_turn(path, clock, patience)
            opened[1].append("The disk is full: what is there can be read, but little be saved")
            return opened
        reserve.keep(path)
        return opened
    except OSError as error:
        raise StoreError(
            f"The history file cannot be used: {error.strerror or error}",
            hint="Check that its folder exists, belongs to you and can be written to",
        ) from error


def _open_in_turn(
    path: Path, clock: Callable[[], float], patience: float
) -> tuple[Database, list[str]]:
    with _turn(path, patience):
        return _open_file(path, clock, patience)


def close_database(database: Database) -> None:
    """Close a database and write into its note what it holds; harmless when closed already."""
    if database.path == MEMORY or database.closed:
        database.close()
        return
    try:
        counts = _count(database)
    except StoreError:
        counts = None
    database.close()
    before = read_note(database.path) or Note()
    write_note(
        database.path,
        replace(
            counts or before,
            open=tuple(writer for writer in before.open if writer != this_process()),
            suspect=database.damaged or before.suspect,
        ),
    )


def prepare_copy(path: Path, clock: Callable[[], float]) -> Note:
    """Check every page of a copy that nobody uses, and bring its tables up to date.

    Returns:
        What it holds.

    Raises:
        StoreError: a newer corral wrote it, or it is none of corral's.
        DamagedError: it is not sound.
    """
    refuse_newer_file(path)
    database = Database(path, patience=0)
    try:
        if not recognise(database):
            raise DamagedError("It is not a history of corral's")
        _check_pages(database)
        database.prepare()
        migrate(database, clock)
        counts = _count(database)
        # Only the file is renamed, so nothing may stay in its -wal; a full disk raises here.
        database.checkpoint()
    finally:
        database.close()
    return counts


def replace_database(
    path: Path, ready: Path, *, word: str, clock: Callable[[], float], patience: float
) -> Path | None:
    """Put a copy that :func:`prepare_copy` looked at in the place of the history.

    What is there moves to a dated name with all that belongs to it; nothing is deleted.

    Args:
        word: what the dated name says, such as ``before-restore``.

    Returns:
        Where the old history lies now; None if there was none.

    Raises:
        StoreError: another corral has it open, or a file cannot be moved.
    """
    path = Path(os.path.realpath(path))
    with _turn(path, patience):
        refuse_while_open(path)
        counts = prepare_copy(ready, clock)
        try:
            kept_as = put_in_place(path, ready, word=word, now=clock())
        except OSError as error:
            raise StoreError(
                f"The history cannot be replaced: {error.strerror or error}",
                hint=f"Check the folder of {path.name}; nothing was deleted",
            ) from error
        write_note(path, counts)
    return kept_as


def refuse_while_open(path: Path) -> None:
    """Let nobody change the history below another corral.

    Raises:
        StoreError: one has it open.
    """
    note = read_note(Path(os.path.realpath(path)))
    if note is not None and (others := note.others("")):
        processes = ", ".join(other.partition(":")[0] for other in others)
        raise StoreError(
            "Another corral has the history open",
            hint=f"Close it (process {processes}), then try again",
        )


def _open_file(
    path: Path, clock: Callable[[], float], patience: float
) -> tuple[Database, list[str]]:
    notices: list[str] = []
    note = read_note(path)
    finish_replacing(path)
    if _is_lost(path, note):
        notices.append(_replace_lost(path, note, clock))
        note = None
    if not path.exists():
        create_private(path)
    notices += _make_private(path)
    try:
        database, counts = _open_checked(path, note, clock, patience)
    except DamagedError as error:
        notices.append(_replace_damaged(path, note, clock, error))
        note = None
        database, counts = _open_checked(path, note, clock, patience)
    running = note.others(this_process()) if note else []
    write_note(path, replace(counts, open=(*running, this_process())))
    if note is not None and counts.last_message < note.last_message:
        notices.append(
            "The history is older than when it was last used: newer messages are missing"
        )
    return database, notices


@contextlib.contextmanager
def _turn(path: Path, patience: float) -> Iterator[None]:
    """Let one process at a time open a file: one may be creating, changing or replacing it.

    The lock is one of SQLite's own: it works everywhere and ends with the process that holds it.
    The empty file stays: if it were removed, two processes could hold locks on two files.
    """
    lock = Path(f"{path}.lock")
    with contextlib.suppress(FileExistsError):
        create_private(lock)
    database = Database(lock, patience=patience)
    try:
        with database.read() as connection:
            rows(connection, "BEGIN EXCLUSIVE")
        yield
    finally:
        database.close()


def _size(path: Path, suffix: str = "") -> int:
    try:
        return Path(f"{path}{suffix}").stat().st_size
    except FileNotFoundError:
        return 0


def _is_lost(path: Path, note: Note | None) -> bool:
    """Whether the file is empty or gone although something says that there was a history."""
    had_data = _size(path, "-wal") > 0 or (note is not None and note.conversations > 0)
    return had_data and _size(path) == 0


def _replace_lost(path: Path, note: Note | None, clock: Callable[[], float]) -> str:
    told = "The history file is empty" if path.exists() else "The history file is gone"
    if note is not None and note.conversations:
        held = _counted(note.conversations, "conversation")
        told += f", but it held {held} when it was last used"
    return told + _outcome(set_aside_and_salvage(path, word="empty", clock=clock))


def _replace_damaged(
    path: Path, note: Note | None, clock: Callable[[], float], error: DamagedError
) -> str:
    others = note.others(this_process()) if note else []
    if others:
        processes = ", ".join(other.partition(":")[0] for other in others)
        raise StoreError(
            "The history file is damaged, and another corral has it open",
            hint=f"Close the other one (process {processes}), then start again",
        ) from error
    return "The history was damaged" + _outcome(
        set_aside_and_salvage(path, word="damaged", clock=clock)
    )


def _outcome(salvaged: Salvaged) -> str:
    kept = f"; it was set aside as {salvaged.kept_as.name}" if salvaged.kept_as else ""
    conversations = _counted(salvaged.conversations, "conversation")
    messages = _counted(salvaged.messages, "message")
    return f"{kept}, {conversations} with {messages} were salvaged"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _make_private(path: Path) -> list[str]:
    if os.name != "posix" or not stat.S_IMODE(path.stat().st_mode) & _OTHERS:
        return []
    path.chmod(0o600)
    return ["The history file could be read by other users of this computer; it is private now"]


def _open_checked(
    path: Path, note: Note | None, clock: Callable[[], float], patience: float
) -> tuple[Database, Note]:
    """The open database and what it holds."""
    unclean = _size(path, "-wal") > 0 or _size(path, "-journal") > 0
    running = note is not None and bool(note.others(this_process()))
    suspect = note is not None and note.suspect
    database = Database(path, patience=patience)
    try:
        if not recognise(database):
            if note is not None:
                raise DamagedError("The history file is no longer one of corral's")
            raise StoreError(
                f"{path} is the database of another application",
                hint="Set CORRAL_HOME to another folder; the file is unchanged",
            )
        database.prepare()
        # Another corral that still runs explains the -wal file; else somebody did not close.
        if suspect or (unclean and not running):
            _check_pages(database)
        migrate(database, clock)
        return database, _count(database)
    except BaseException:
        database.close(untouched=True)
        raise


def _check_pages(database: Database) -> None:
    with database.read() as connection:
        found = rows(connection, "PRAGMA quick_check(1)")
    if found != [("ok",)]:
        raise DamagedError("The history file is damaged")


def _count(database: Database) -> Note:
    with database.snapshot() as connection:
        counts = row(
            connection,
            "SELECT (SELECT count(*) FROM conversation), (SELECT count(*) FROM message),"
            " (SELECT seq FROM sqlite_sequence WHERE name = 'message')",
        )
    conversations, messages, last_message = counts or (0, 0, 0)
    return Note(conversations, messages, last_message or 0)
