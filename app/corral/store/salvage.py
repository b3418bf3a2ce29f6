"""What to do with a damaged history: keep the file, and save its sound rows into a new one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from corral.chat.conversation import title_from
from corral.errors import StoreError
from corral.placing import put
from corral.store.database import Database, rows
from corral.store.pages import Value, records
from corral.store.schema import migrate

_TABLES = ("conversation", "message", "model_file", "memo", "download", "piece", "licence", "vote")
_LATER: dict[str, tuple[Value, ...]] = {
    "conversation": ("", "", ""),
    "message": (0, "", None),
    "model_file": (None, None, 0, None),
}
"""What rows that an older version wrote lack at their end."""
_HIGHEST_ID = 1 << 48
"""A higher row id is damage; the ids after it would soon run out."""
_COMPANIONS = ("-wal", "-shm", "-journal")

Columns = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What a damaged file was kept as, and how much of it was saved."""

    kept_as: Path | None
    conversations: int
    messages: int


def set_aside_and_salvage(path: Path, *, word: str, clock: Callable[[], float]) -> Salvaged:
    """Move the file and its -wal to a dated name and put a new one with its rows in its place.

    The new file is complete before the old one is moved; nothing is deleted or overwritten.

    Args:
        word: what the dated name says about the file, such as ``damaged``.

    Raises:
        StoreError: the new file cannot be written, or the old one cannot be moved.
    """
    fresh = _fresh(path)
    try:
        try:
            _discard(fresh)
            create_private(fresh)
            conversations, messages = _fill(fresh, path, clock)
        except BaseException:
            _discard(fresh)
            raise
        kept_as = _set_aside(path, word, clock())
        finish_replacing(path)
    except OSError as error:
        raise StoreError(
            f"The damaged history cannot be set aside: {error.strerror or error}",
            hint=f"Close other programs that use {path.name}, check its folder, and start again",
        ) from error
    return Salvaged(kept_as, conversations, messages)


def put_in_place(path: Path, ready: Path, *, word: str, now: float) -> Path | None:
    """Put a complete database in the place of another, which moves to a dated name.

    Args:
        ready: on the same file system; nothing of it may be in a -wal file.
        now: seconds since the epoch.

    Returns:
        Where the old one lies now; None if there was none.

    Raises:
        OSError: a file cannot be moved.
    """
    fresh = _fresh(path)
    _discard(fresh)
    put(ready, fresh)
    kept_as = _set_aside(path, word, now)
    finish_replacing(path)
    return kept_as


def finish_replacing(path: Path) -> None:
    """Put the new file in its place, also where a process was killed just before it could.

    The old file is moved only once the new one is complete, so a missing one means just that.
    """
    if not path.exists() and _fresh(path).exists():
        put(_fresh(path), path)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read; SQLite gives -wal and -shm its mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _discard(path: Path) -> None:
    for suffix in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").unlink()


def _set_aside(path: Path, word: str, now: float) -> Path | None:
    """Rename the file with all that belongs to it; None if there is nothing of it."""
    stamp = time.strftime("%Y-%m-%d-%H%M", time.localtime(now))
    base = f"{path}.{word}-{stamp}"
    target, count = base, 1
    while any(Path(f"{target}{suffix}").exists() for suffix in ("", *_COMPANIONS)):
        count += 1
        target = f"{base}-{count}"
    found = False
    for suffix in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            put(Path(f"{path}{suffix}"), Path(f"{target}{suffix}"))
            found = True
    return Path(target) if found else None


def _fill(fresh: Path, damaged: Path, clock: Callable[[], float]) -> tuple[int, int]:
    database = Database(fresh, patience=0)
    try:
        database.prepare()
        migrate(database, clock)
        with database.write() as connection:
            # A conversation names its last message, which is inserted later.
            rows(connection, "PRAGMA defer_foreign_keys = ON")
            shapes = {table: _shape(connection, table) for table in _TABLES}
            found = _collect(damaged, shapes)
            conversations, messages = found["conversation"], found["message"]
            _mend(conversations, messages, clock())
            for table in _TABLES:
                _insert(connection, table, shapes[table], found[table])
        # Only the file is renamed, so nothing may stay in its -wal; a full disk raises here.
        database.checkpoint()
        return len(conversations), len(messages)
    finally:
        database.close()


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    types: tuple[type, ...]
    """Python types a value of it can have; a real number without a fraction is stored as int."""
    required: bool
    key: bool
    row_id: bool


def _shape(connection: apsw.Connection, table: str) -> list[_Column]:
    types: dict[str, tuple[type, ...]] = {
        "INTEGER": (int,),
        "REAL": (int, float),
        "TEXT": (str,),
        "BLOB": (bytes,),
    }
    info = rows(connection, f"PRAGMA table_info({table})")
    alone = sum(bool(key) for *_, key in info) == 1
    return [
        _Column(name, types[kind], bool(required), bool(key), alone and key and kind == "INTEGER")
        for _, name, kind, required, _, key in info
    ]


def _collect(damaged: Path, shapes: dict[str, list[_Column]]) -> dict[str, dict[Any, Columns]]:
    """The rows of each table by their key; a table is told by the number and types of columns."""
    found: dict[str, dict[Any, Columns]] = {table: {} for table in shapes}
    for row_id, stored in records(damaged, Path(f"{damaged}-wal")):
        for table, shape in shapes.items():
            later = _LATER.get(table, ())
            values = stored + later if len(stored) + len(later) == len(shape) else stored
            if not _fits(shape, values) or not 0 < row_id < _HIGHEST_ID:
                continue
            columns: Columns = {
                column.name: row_id if column.row_id else value
                for column, value in zip(shape, values, strict=True)
            }
            if table != "message" or _is_message(columns):
                keys = [columns[column.name] for column in shape if column.key]
                found[table][keys[0] if len(keys) == 1 else tuple(keys)] = columns
    return found


def _fits(shape: list[_Column], values: tuple[Value, ...]) -> bool:
    return len(shape) == len(values) and all(
        # NaN, which nobody stores, is unequal to itself.
        (value is None and (column.row_id or not column.required))
        or (not column.row_id and isinstance(value, column.types) and value == value)
        for column, value in zip(shape, values, strict=True)
    )


def _is_message(columns: Columns) -> bool:
    """Whether the columns that hold one of a few words do."""
    return (
        columns["role"] in ("user", "assistant")
        and columns["status"] in ("complete", "streaming", "stopped", "failed")
        and columns["stop_reason"] in (None, "end", "length", "stopped", "error")
    )


def _mend(conversations: dict[int, Columns], messages: dict[int, Columns], now: float) -> None:
    """Replace what the rows refer to and what was not saved."""
    last: dict[tuple[int, str], int] = {}
    newest: dict[int, int] = {}
    for id, message in sorted(messages.items()):
        owner = message["conversation"]
        if owner not in conversations:
            conversations[owner] = _replacement(owner, message, now)
        conversation = conversations[owner]
        conversation["updated"] = max(conversation["updated"], message["created"])
        if message["parent"] is not None and not _is_parent(
            messages.get(message["parent"]), message
        ):
            # Whatever stood between is lost: it continues the last one of the other role.
            other = "assistant" if message["role"] == "user" else "user"
            message["parent"] = last.get((owner, other))
        last[owner, message["role"]] = newest[owner] = id
        # Nobody writes it any more, so it is recovered like the answer of a process that is gone.
        message["writer"] = None
    for id, conversation in conversations.items():
        active = messages.get(conversation["active"])
        if active is None or active["conversation"] != id:
            conversation["active"] = newest.get(id)


def _is_parent(parent: Columns | None, message: Columns) -> bool:
    return (
        parent is not None
        and parent["conversation"] == message["conversation"]
        and parent["id"] < message["id"]
    )


def _replacement(id: int, message: Columns, now: float) -> Columns:
    """A conversation whose own row is lost."""
    return {
        "id": id,
        "title": title_from(message["text"]),
        "titled": 0,
        "pinned": 0,
        "archived": 0,
        "system": "",
        "model": None,
        "parameters": None,
        "active": None,
        "draft": "",
        "created": message["created"] or now,
        "updated": message["created"] or now,
        "deleted": None,
        "folder": "",
        "preset": "",
        "origin": "",
    }


def _insert(
    connection: apsw.Connection, table: str, shape: list[_Column], found: dict[Any, Columns]
) -> None:
    names = ", ".join(column.name for column in shape)
    places = ", ".join(f":{column.name}" for column in shape)
    statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - own names

    def in_order() -> Iterator[Columns]:
        for _, columns in sorted(found.items()):
            yield columns

    connection.executemany(statement, in_order())
