"""Messages: what a person said, and answers while and after they are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import apsw

from corral.chat.conversation import Conversation, Message, Status, StopReason, title_from
from corral.errors import NotFound
from corral.store.conversations import fetch_conversation
from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import SELECT_MESSAGE, decode, storable, to_json, to_message
from corral.store.writers import is_running, this_process

_DELETE_WITH_DESCENDANTS = """
    WITH RECURSIVE below (id) AS (
        SELECT ?1 UNION SELECT m.id FROM message AS m JOIN below ON m.parent = below.id
    )
    DELETE FROM message WHERE id IN (SELECT id FROM below)
"""

_AT_THE_END = """
    WHERE id IN (
        WITH RECURSIVE up (id, parent, number) AS (
            SELECT m.id, m.parent, 1 FROM conversation AS c JOIN message AS m ON m.id = c.active
            WHERE c.id = ?1
            UNION ALL
            SELECT m.id, m.parent, number + 1 FROM up JOIN message AS m ON m.id = up.parent
            WHERE number < ?2
        )
        SELECT id FROM up
        UNION SELECT m.id FROM up CROSS JOIN message AS m ON m.parent = up.parent
    ) ORDER BY id
"""


def fetch_message(connection: apsw.Connection, id: int, *, deleted: bool = False) -> Message:
    """One message, below the nearest one that is not deleted.

    Args:
        deleted: also one that is deleted.

    Raises:
        NotFound: there is none, or it was deleted.
    """
    found = row(connection, SELECT_MESSAGE + "WHERE id = ?", (id,))
    if found is None:
        raise NotFound(f"There is no message {id}")
    message = to_message(found)
    gone = _deleted(connection, message.conversation)
    if id in gone and not deleted:
        raise NotFound(f"Message {id} was deleted", hint="Undo brings it back")
    return _hung(message, gone)


def fetch_messages(connection: apsw.Connection, conversation: int) -> list[Message]:
    """All messages of a conversation that are not deleted, by id."""
    found = rows(
        connection,
        SELECT_MESSAGE + "WHERE conversation = ? AND deleted IS NULL ORDER BY id",
        (conversation,),
    )
    gone = _deleted(connection, conversation)
    messages = [to_message(values) for values in found]
    return [_hung(message, gone) for message in messages] if gone else messages


def fetch_links(connection: apsw.Connection, conversation: int) -> dict[int, int | None]:
    """What each message that is not deleted hangs below; far less to read than the texts."""
    links: dict[int, int | None] = dict(
        rows(connection, "SELECT id, parent FROM message WHERE conversation = ?", (conversation,))
    )
    gone = _deleted(connection, conversation)
    return {id: _nearest(parent, gone) for id, parent in links.items() if id not in gone}


def _deleted(connection: apsw.Connection, conversation: int) -> dict[int, int | None]:
    """The deleted messages of a conversation, and what each of them hangs below."""
    return dict(
        rows(
            connection,
            "SELECT id, parent FROM message WHERE conversation = ? AND deleted IS NOT NULL",
            (conversation,),
        )
    )


def _hung(message: Message, gone: dict[int, int | None]) -> Message:
    """The message below the nearest one that is left."""
    if message.parent not in gone:
        return message
    return replace(message, parent=_nearest(message.parent, gone))


def _nearest(parent: int | None, gone: dict[int, int | None]) -> int | None:
    for _ in gone:
        if parent not in gone:
            break
        parent = gone[parent]
    return parent


class Messages(Part):
    def messages(self, conversation: int) -> list[Message]:
        """All messages of a conversation, every branch, by id; deleted ones are left out."""
        with self._database.snapshot() as connection:
            return fetch_messages(connection, conversation)

    def last_messages(self, conversation: int, count: int) -> list[Message]:
        """The end of the active path, with the siblings of its messages, by id.

        Nothing of a conversation without a message.

        Args:
            count: how many messages of the path there are at the most.
        """
        with self._database.snapshot() as connection:
            found = rows(connection, SELECT_MESSAGE + _AT_THE_END, (conversation, count))
            gone = _deleted(connection, conversation)
        return [_hung(to_message(values), gone) for values in found if values[0] not in gone]

    def message(self, id: int) -> Message:
        """One message.

        Raises:
            NotFound: there is none, or it was deleted.
        """
        with self._database.snapshot() as connection:
            return fetch_message(connection, id)

    def add_user(self, conversation: int, text: str, parent: int | None) -> Message:
        """Save what a person sent; when this returns, it survives a power cut.

        The message becomes the end of the active path, a draft it was made of is cleared (any other
        one stays: it may be another program's), and a conversation without a title gets one from
        the text.

        Raises:
            NotFound: there is no such conversation, or ``parent`` is no message of it.
        """
        now = self._clock()
        with self._database.write() as connection:
            owner = fetch_conversation(connection, conversation)
            if parent is not None and fetch_message(connection, parent).conversation != owner.id:
                raise NotFound(f"There is no message {parent} in conversation {conversation}")
            rows(
                connection,
                "INSERT INTO message (conversation, parent, role, text, status, created)"
                " VALUES (?, ?, 'user', ?, 'complete', ?)",
                (conversation, parent, storable(text), now),
            )
            id = connection.last_insert_rowid()
            rows(
                connection,
                "UPDATE conversation SET active = ?, draft = ?, updated = ?, title = ?"
                " WHERE id = ?",
                (
                    id,
                    "" if text.lstrip().startswith(owner.draft.strip()) else owner.draft,
                    now,
                    owner.title or storable(title_from(text)),
                    conversation,
                ),
            )
            return fetch_message(connection, id)

    def begin_answer(
        self, parent: int, *, model: dict[str, Any] | None, parameters: dict[str, Any] | None
    ) -> Message:
        """Add an empty answer that is being written by this process.

        Raises:
            NotFound: there is no message ``parent``.
        """
        now = self._clock()
        with self._database.write() as connection:
            conversation = fetch_message(connection, parent).conversation
            rows(
                connection,
                "INSERT INTO message (conversation, parent, role, text, status, created, model,"
                " parameters, writer) VALUES (?, ?, 'assistant', '', 'streaming', ?, ?, ?, ?)",
                (
                    conversation,
                    parent,
                    now,
                    to_json(model),
                    to_json(parameters),
                    this_process(),
                ),
            )
            id = connection.last_insert_rowid()
            rows(
                connection,
                "UPDATE conversation SET active = ?, updated = ? WHERE id = ?",
                (id, now, conversation),
            )
            return fetch_message(connection, id)

    def write_answer(self, id: int, text: str, model: dict[str, Any] | None = None) -> None:
        """Save what an answer says so far. An answer that is finished already keeps its text.

        Args:
            model: what makes it, as far as that is known: also an answer that never comes to its
                end says whose it is. None keeps what is there.

        Raises:
            NotFound: the answer no longer exists.
        """
        with self._database.write() as connection:
            rows(
                connection,
                "UPDATE message SET text = ?, model = coalesce(?, model)"
                " WHERE id = ? AND status = 'streaming'",
                (storable(text), to_json(model), id),
            )
            if connection.changes() == 0:
                fetch_message(connection, id, deleted=True)

    def finish_answer(
        self,
        id: int,
        *,
        text: str,
        status: Status,
        stop_reason: StopReason | None = None,
        error: str | None = None,
        model: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
        usage: dict[str, Any] | None = None,
        timings: dict[str, Any] | None = None,
    ) -> Message:
        """Save the end of an answer; from here on it can be found by searching.

        Args:
            model: None keeps what :meth:`begin_answer` was given; ``parameters`` likewise.

        Raises:
            NotFound: the answer no longer exists.
        """
        with self._database.write() as connection:
            rows(
                connection,
                "UPDATE message SET text = ?, status = ?, stop_reason = ?, error = ?,"
                " model = coalesce(?, model), parameters = coalesce(?, parameters),"
                " usage = ?, timings = ?, writer = NULL WHERE id = ?",
                (
                    storable(text),
                    status,
                    stop_reason,
                    None if error is None else storable(error),
                    to_json(model),
                    to_json(parameters),
                    to_json(usage),
                    to_json(timings),
                    id,
                ),
            )
            # Another corral may have deleted it meanwhile: it is whole when it is brought back.
            message = fetch_message(connection, id, deleted=True)
            rows(
                connection,
                "UPDATE conversation SET updated = ? WHERE id = ?",
                (self._clock(), message.conversation),
            )
            return message

    def unsend(self, id: int) -> Conversation:
        """Take back a message that could not be sent: its text becomes the draft.

        Everything below it goes too. It stands in front of a draft that was begun since.

        Raises:
            NotFound: it is no message of a person.
        """
        with self._database.write() as connection:
            message = fetch_message(connection, id)
            if message.role != "user":
                raise NotFound(f"Message {id} is an answer and cannot be taken back")
            owner = fetch_conversation(connection, message.conversation)
            draft = f"{message.text}\n\n{owner.draft}" if owner.draft else message.text
            rows(connection, _DELETE_WITH_DESCENDANTS, (id,))
            left = row(
                connection, "SELECT 1 FROM message WHERE conversation = ? LIMIT 1", (owner.id,)
            )
            # The title came from a text that is a draft again, and may be rewritten.
            title = owner.title if owner.titled or left else ""
            rows(
                connection,
                "UPDATE conversation SET draft = ?, active = ?, title = ? WHERE id = ?",
                (draft, message.parent, title, owner.id),
            )
            return fetch_conversation(connection, owner.id)

    def recover(self) -> int:
        """Mark answers whose process is gone as stopped; what was generated stays.

        Returns:
            How many there were.
        """
        streaming = "SELECT id, CAST(writer AS BLOB) FROM message WHERE status = 'streaming'"
        with self._database.read() as connection:
            found = rows(connection, streaming)
        alive = {writer for _, writer in found if is_running(decode(writer) or "")}
        gone = [(id, writer) for id, writer in found if writer not in alive]
        if not gone:
            return 0
        count = 0
        with self._database.write() as connection:
            for id, writer in gone:
                # Checked again: another program may have recovered it meanwhile.
                rows(
                    connection,
                    "UPDATE message SET status = 'stopped', stop_reason = 'stopped', writer = NULL"
                    " WHERE id = ? AND status = 'streaming' AND CAST(writer AS BLOB) IS ?",
                    (id, writer),
                )
                count += connection.changes()
        return count
