"""Whole conversations: read at one moment, taken in from elsewhere, and a copy of everything."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import apsw

from corral.chat.conversation import Conversation, Message
from corral.store.branches import renumbered
from corral.store.conversations import fetch_conversation
from corral.store.database import DamagedError, Database, row, rows
from corral.store.messages import fetch_messages
from corral.store.parts import Part
from corral.store.records import (
    SELECT_CONVERSATION,
    decode,
    storable,
    to_conversation,
    to_json,
)

Outcome = Literal["added", "extended", "known", "in the trash"]

_HISTORY = "history"
_COPY_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Whole:
    """A conversation with its whole tree; parents stand before what answers them.

    Of one that is to be taken in, the numbers of the messages only say what belongs together.
    """

    conversation: Conversation
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a conversation that was taken in."""

    id: int
    outcome: Outcome
    messages: int
    """How many are new here."""


@dataclass(frozen=True, slots=True)
class InTrash:
    """A conversation in the trash."""

    conversation: Conversation
    deleted: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy of the history holds."""

    conversations: int
    messages: int


class Moving(Part):
    def whole(self, id: int) -> Whole:
        """A conversation outside the trash and all its living messages, at one moment.

        Its origin says which conversation it is, wherever it is taken to.

        Raises:
            NotFound: there is none, or it is in the trash.
        """
        history = self.history_id()
        with self._database.snapshot() as connection:
            conversation = fetch_conversation(connection, id)
            messages = {message.id: message for message in fetch_messages(connection, id)}
        active = conversation.active
        if active not in messages:
            active = max(messages, default=None)
        origin = conversation.origin or _own_origin(history, id, conversation.created)
        return Whole(
            replace(conversation, origin=origin, active=active, messages=len(messages)),
            tuple(messages.values()),
        )

    def every_conversation(self) -> list[int]:
        """All outside the trash, archived ones too, in the order they were begun."""
        with self._database.read() as connection:
            found = rows(
                connection,
                "SELECT id FROM conversation WHERE deleted IS NULL ORDER BY created, id",
            )
        return [id for (id,) in found]

    def history_id(self) -> str:
        """What tells this history from others, made when it is first asked for."""
        with self._database.read() as connection:
            found = _recall_history(connection)
        if found:
            return found
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT OR IGNORE INTO memo VALUES (?, ?)",
                (_HISTORY, uuid.uuid4().hex),
            )
            return _recall_history(connection)

    def take_in(self, wholes: Sequence[Whole]) -> list[Taken]:
        """Insert conversations, all or none, and add to those that are here what they lack.

        Which one is here already is known by its origin; what differs in it stays as it is. What
        was deleted here does not come back.
        """
        history = self.history_id()
        with self._database.write() as connection:
            return [_take_in(connection, whole, history) for whole in wholes]

    def in_trash(self) -> list[InTrash]:
        """What is in the trash, the latest deleted first."""
        with self._database.read() as connection:
            found = rows(
                connection,
                SELECT_CONVERSATION + "WHERE c.deleted IS NOT NULL ORDER BY c.deleted DESC, c.id",
            )
        return [InTrash(to_conversation(values), values[-1]) for values in found]

    def copy_to(self, path: Path) -> Copied:
        """Write a copy of everything, as of one moment, into a new file.

        Others go on reading and writing meanwhile, also in this process: it has a connection of
        its own, unless the history is in memory.

        Raises:
            StoreError: it cannot be written, or the history is damaged.
        """
        if str(self._database.path) == ":memory:":
            _copy(self._database, path)
        else:
            own = Database(self._database.path, patience=_COPY_PATIENCE)
            try:
                _copy(own, path)
            finally:
                own.close(untouched=True)
        return examine(path)


def examine(path: Path) -> Copied:
    """Look at every page of a copy that nobody uses.

    Raises:
        DamagedError: it is no sound history.
    """
    copy = Database(path, patience=0)
    try:
        with copy.read() as connection:
            if rows(connection, "PRAGMA quick_check(1)") != [("ok",)]:
                raise DamagedError("The copy of the history is damaged")
            found = row(
                connection,
                "SELECT (SELECT count(*) FROM conversation), (SELECT count(*) FROM message)",
            )
    finally:
        copy.close(untouched=True)
    return Copied(*(found or (0, 0)))


def _copy(database: Database, path: Path) -> None:
    with database.read() as connection:
        # Unlike a copy of the file it has what is still in the -wal, and nothing that was deleted.
        rows(connection, "VACUUM INTO ?", (str(path),))


def _recall_history(connection: apsw.Connection) -> str:
    found = row(connection, "SELECT CAST(value AS BLOB) FROM memo WHERE key = ?", (_HISTORY,))
    return (decode(found[0]) if found else None) or ""


def _own_origin(history: str, id: int, created: float) -> str:
    """The moment tells apart what two restored copies of one history gave the same number."""
    return f"corral:{history}:{id}:{created:.3f}"


def _find(connection: apsw.Connection, origin: str, history: str) -> tuple[int, bool] | None:
    """The conversation of an origin, and whether it is in the trash."""
    found = row(
        connection,
        "SELECT id, deleted IS NOT NULL FROM conversation WHERE origin = ? AND origin <> ''"
        " ORDER BY id LIMIT 1",
        (storable(origin),),
    )
    if found is not None:
        return found[0], bool(found[1])
    _, _, rest = origin.partition(f"corral:{history}:")
    number = rest.partition(":")[0]
    if not number.isdecimal() or len(number) > 18:
        return None
    found = row(
        connection,
        "SELECT id, deleted IS NOT NULL, created FROM conversation WHERE id = ?",
        (int(number),),
    )
    if found is None or _own_origin(history, found[0], found[2]) != origin:
        return None
    return found[0], bool(found[1])


def _take_in(connection: apsw.Connection, whole: Whole, history: str) -> Taken:
    found = _find(connection, whole.conversation.origin, history)
    if found is None:
        id = _insert_conversation(connection, whole.conversation)
        numbers = _add_messages(connection, id, whole.messages, {})
        _settle(connection, id, whole, numbers)
        return Taken(id, "added", len(numbers))
    id, in_trash = found
    if in_trash:
        return Taken(id, "in the trash", 0)
    known = _known_messages(connection, id)
    before = {number for ids in known.values() for number, _ in ids}
    numbers = _add_messages(connection, id, whole.messages, known)
    fresh = set(numbers.values()) - before
    if not fresh:
        return Taken(id, "known", 0)
    _extend(connection, id, whole, numbers, fresh)
    return Taken(id, "extended", len(fresh))


def _insert_conversation(connection: apsw.Connection, conversation: Conversation) -> int:
    rows(
        connection,
        "INSERT INTO conversation (title, titled, pinned, archived, system, model, parameters,"
        " draft, created, updated, folder, preset, origin)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            storable(conversation.title),
            conversation.titled,
            conversation.pinned,
            conversation.archived,
            storable(conversation.system),
            None if conversation.model is None else storable(conversation.model),
            to_json(conversation.parameters or None),
            storable(conversation.draft),
            conversation.created,
            conversation.updated,
            storable(conversation.folder),
            storable(conversation.preset),
            storable(conversation.origin),
        ),
    )
    return connection.last_insert_rowid()


_Key = tuple[int | None, str, str]
"""Parent, role and text: what makes a message the same one."""
_Known = dict[_Key, list[tuple[int, bool]]]
"""Number of each, and whether it was deleted here."""


def _known_messages(connection: apsw.Connection, id: int) -> _Known:
    known: _Known = {}
    for message in fetch_messages(connection, id):
        key = (message.parent, message.role, message.text)
        known.setdefault(key, []).append((message.id, False))
    for number, parent, role, text in rows(
        connection,
        "SELECT id, parent, role, CAST(text AS BLOB) FROM message"
        " WHERE conversation = ? AND deleted IS NOT NULL ORDER BY id",
        (id,),
    ):
        known.setdefault((parent, role, decode(text) or ""), []).append((number, True))
    return known


def _add_messages(
    connection: apsw.Connection, id: int, messages: Sequence[Message], known: _Known
) -> dict[int, int]:
    """Insert what is not known; gives the numbers here of those that are alive."""
    numbers: dict[int, int] = {}
    remaining = {key: list(ids) for key, ids in known.items()}
    for message in messages:
        if message.parent is not None and message.parent not in numbers:
            continue  # It hangs below one that was deleted here.
        parent = None if message.parent is None else numbers[message.parent]
        same = remaining.get((parent, message.role, storable(message.text)))
        if same:
            number, deleted = same.pop(0)
            if not deleted:
                numbers[message.id] = number
            continue
        numbers[message.id] = _insert_message(connection, id, parent, message, numbers)
    return numbers


def _insert_message(
    connection: apsw.Connection,
    id: int,
    parent: int | None,
    message: Message,
    numbers: dict[int, int],
) -> int:
    rows(
        connection,
        "INSERT INTO message (conversation, parent, role, text, status, created, stop_reason,"
        " error, model, parameters, usage, timings, pinned, summary)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id,
            parent,
            message.role,
            storable(message.text),
            message.status,
            message.created,
            message.stop_reason,
            None if message.error is None else storable(message.error),
            to_json(message.model),
            to_json(renumbered(message.parameters, numbers)),
            to_json(message.usage),
            to_json(message.timings),
            message.pinned,
            storable(message.summary),
        ),
    )
    return connection.last_insert_rowid()


def _settle(connection: apsw.Connection, id: int, whole: Whole, numbers: dict[int, int]) -> None:
    active = numbers.get(whole.conversation.active or 0) or max(numbers.values(), default=None)
    rows(connection, "UPDATE conversation SET active = ? WHERE id = ?", (active, id))


def _extend(
    connection: apsw.Connection,
    id: int,
    whole: Whole,
    numbers: dict[int, int],
    fresh: set[int],
) -> None:
    """Go on to the new end where it continues what is shown here; else stay."""
    here = fetch_conversation(connection, id)
    active = numbers.get(whole.conversation.active or 0)
    parents = {numbers[m.id]: numbers.get(m.parent or 0) for m in whole.messages if m.id in numbers}
    at, above = active, set[int]()
    while at is not None:
        above.add(at)
        at = parents.get(at)
    follows = active in fresh and (here.active is None or here.active in above)
    rows(
        connection,
        "UPDATE conversation SET active = ?, updated = ? WHERE id = ?",
        (
            active if follows else here.active,
            max(here.updated, whole.conversation.updated),
            id,
        ),
    )
