"""Conversations: create, list, change, put in the trash, delete for good."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

import apsw

from corral.chat.conversation import Conversation
from corral.errors import NotFound, StoreError
from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import SELECT_CONVERSATION, storable, to_conversation, to_json

_LIST_HINT = "`corral history list` shows what there is"

KEPT_IN_TRASH = 30 * 86_400.0
"""Seconds that what was deleted can be brought back."""

_ANY_TRASH = """
    SELECT 1 FROM conversation WHERE deleted <= ?1
    UNION ALL SELECT 1 FROM message WHERE deleted IS NOT NULL AND deleted <= ?1 LIMIT 1
"""


class Changes(TypedDict, total=False):
    """What :meth:`Conversations.update_conversation` can change; only what is given is."""

    title: str
    """A given title stays; an empty one lets the next message give it."""
    pinned: bool
    archived: bool
    system: str
    model: str | None
    parameters: dict[str, Any]
    active: int | None
    draft: str
    folder: str
    preset: str


def fetch_conversation(connection: apsw.Connection, id: int) -> Conversation:
    """A conversation that is not in the trash.

    Raises:
        NotFound: there is none, or it is in the trash.
    """
    found = row(connection, SELECT_CONVERSATION + "WHERE c.id = ?", (id,))
    if found is None:
        raise NotFound(f"There is no conversation {id}", hint=_LIST_HINT)
    if found[-1] is not None:
        raise NotFound(f"Conversation {id} is in the trash", hint="Restore it first")
    return to_conversation(found)


class Conversations(Part):
    def create_conversation(
        self,
        *,
        title: str = "",
        system: str = "",
        model: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Conversation:
        """Add an empty conversation. A title given here is a given title."""
        now = self._clock()
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT INTO conversation"
                " (title, titled, system, model, parameters, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    storable(title),
                    bool(title),
                    storable(system),
                    None if model is None else storable(model),
                    to_json(parameters),
                    now,
                    now,
                ),
            )
            return fetch_conversation(connection, connection.last_insert_rowid())

    def conversation(self, id: int) -> Conversation:
        """One conversation.

        Raises:
            NotFound: there is none, or it is in the trash.
        """
        with self._database.read() as connection:
            return fetch_conversation(connection, id)

    def conversations(
        self, *, archived: bool = False, limit: int | None = None
    ) -> list[Conversation]:
        """Those outside the trash, pinned ones first, then the most recently used."""
        with self._database.read() as connection:
            found = rows(
                connection,
                SELECT_CONVERSATION + "WHERE c.deleted IS NULL AND c.archived = ?"
                " ORDER BY c.pinned DESC, c.updated DESC, c.id DESC LIMIT ?",
                (archived, -1 if limit is None else limit),
            )
        return [to_conversation(values) for values in found]

    def conversations_with(self, models: Iterable[str]) -> int:
        """How many outside the trash were given one of these names of a model, in any case."""
        names = [storable(name) for name in models]
        with self._database.read() as connection:
            found = row(
                connection,
                "SELECT count(*) FROM conversation WHERE deleted IS NULL AND"
                " model COLLATE NOCASE IN (SELECT value FROM json_each(?))",
                (json.dumps(names),),
            )
        return int(found[0]) if found else 0

    def titles(self) -> dict[int, str]:
        """The title of every conversation by its id, those in the trash included."""
        with self._database.read() as connection:
            return dict(rows(connection, "SELECT id, title FROM conversation"))

    def latest(self) -> Conversation | None:
        """The most recently used one that is neither archived nor in the trash."""
        with self._database.read() as connection:
            found = row(
                connection,
                SELECT_CONVERSATION + "WHERE c.deleted IS NULL AND c.archived = 0"
                " ORDER BY c.updated DESC, c.id DESC LIMIT 1",
            )
        return None if found is None else to_conversation(found)

    def update_conversation(self, id: int, **changes: Unpack[Changes]) -> Conversation:
        """Change what is given. The place in the list stays: only messages move it.

        Raises:
            NotFound: there is no such conversation, or ``active`` is no message of it.
        """
        columns: dict[str, Any] = {}
        for name, value in changes.items():
            match value:
                case dict():
                    columns[name] = to_json(value)
                case str():
                    columns[name] = storable(value)
                case _:
                    columns[name] = value
        if "title" in changes:
            columns["titled"] = bool(changes["title"])
        with self._database.write() as connection:
            fetch_conversation(connection, id)
            active = changes.get("active")
            if active is not None and not row(
                connection,
                "SELECT 1 FROM message WHERE id = ? AND conversation = ? AND deleted IS NULL",
                (active, id),
            ):
                raise NotFound(f"There is no message {active} in conversation {id}")
            if columns:
                assignments = ", ".join(f"{name} = ?" for name in columns)
                rows(
                    connection,
                    f"UPDATE conversation SET {assignments} WHERE id = ?",  # noqa: S608 - own names
                    (*columns.values(), id),
                )
            return fetch_conversation(connection, id)

    def trash(self, id: int) -> None:
        """Hide a conversation until it is restored or the trash is emptied.

        Raises:
            NotFound: there is none, or it is in the trash already.
        """
        with self._database.write() as connection:
            fetch_conversation(connection, id)
            rows(
                connection,
                "UPDATE conversation SET deleted = ? WHERE id = ?",
                (self._clock(), id),
            )

    def restore(self, id: int) -> None:
        """Take a conversation out of the trash.

        Raises:
            NotFound: it does not exist, or no longer.
        """
        with self._database.write() as connection:
            rows(connection, "UPDATE conversation SET deleted = NULL WHERE id = ?", (id,))
            fetch_conversation(connection, id)

    def empty_trash(self, older_than: float = 0.0) -> int:
        """Delete for good what has been in the trash for at least that many seconds.

        Deleted messages go with it, also those of conversations that stay.

        Returns:
            How many conversations were deleted.
        """
        before = self._clock() - older_than
        with self._database.read() as connection:
            if not row(connection, _ANY_TRASH, (before,)):
                return 0
        with self._database.write() as connection:
            found = rows(connection, "SELECT id FROM conversation WHERE deleted <= ?", (before,))
            for (id,) in found:
                _remove(connection, id)
            _remove_messages(connection, before)
        self._scrub("What was in the trash was deleted")
        return len(found)

    def delete(self, id: int) -> None:
        """Delete for good, in the trash or not: no byte of it stays in the files of the history.

        Raises:
            NotFound: there is no such conversation.
        """
        with self._database.write() as connection:
            if not row(connection, "SELECT 1 FROM conversation WHERE id = ?", (id,)):
                raise NotFound(f"There is no conversation {id}", hint=_LIST_HINT)
            _remove(connection, id)
        self._scrub()

    def _scrub(self, said: str = "The conversation was deleted") -> None:
        """The text is gone already, so what fails here is told and is no error."""
        try:
            if self._database.scrub():
                return
            reason = "another program is reading the history"
        except StoreError as error:
            reason = error.message
        self.notices.append(f"{said}, but traces of its text may stay in the file: {reason}")


def _remove(connection: apsw.Connection, id: int) -> None:
    rows(connection, "UPDATE conversation SET active = NULL WHERE id = ?", (id,))
    rows(connection, "DELETE FROM message WHERE conversation = ?", (id,))
    rows(connection, "DELETE FROM conversation WHERE id = ?", (id,))


def _remove_messages(connection: apsw.Connection, before: float) -> None:
    """Delete messages for good; what hangs below one, and stays, hangs below the one above it."""
    found = rows(
        connection,
        "SELECT id FROM message WHERE deleted IS NOT NULL AND deleted <= ?",
        (before,),
    )
    for (id,) in found:
        rows(
            connection,
            "UPDATE message SET parent = (SELECT parent FROM message WHERE id = ?1)"
            " WHERE parent = ?1",
            (id,),
        )
        rows(connection, "DELETE FROM message WHERE id = ?", (id,))
