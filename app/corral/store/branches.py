"""The tree of a conversation: branches are deleted, brought back, forked, edited and gone on with.

A deleted message stays in its row until the trash is emptied. What hangs below it and was not
deleted along with it hangs below the nearest message that is left: only reading does that, so
bringing the message back gives the very same tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import apsw

from corral.chat.conversation import Conversation, Message
from corral.errors import NotFound, UsageError
from corral.store.conversations import fetch_conversation
from corral.store.database import Row, row, rows
from corral.store.messages import fetch_links, fetch_message
from corral.store.parts import Part
from corral.store.records import decode, from_json, storable, to_json
from corral.store.writers import is_running, this_process

_DELETE = """
    WITH RECURSIVE below (id) AS (
        SELECT ?1 UNION SELECT m.id FROM message AS m JOIN below ON m.parent = below.id
    )
    UPDATE message SET deleted = ?2 WHERE id IN (SELECT id FROM below) AND deleted IS NULL
"""

_COPIED = (
    "role, text, created, stop_reason, error, model, parameters, usage, timings, pinned, summary"
)

_STEP = 0.001
"""Seconds between two deletions at least: the time says what is brought back together."""

MESSAGE_KEYS = ("window_from", "window_summary", "edited_from")
"""Parameters of an answer that hold the id of a message of the same conversation."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted, or came back, in one go."""

    conversation: Conversation
    """As it is afterwards, with the message its active path ends with."""
    first: Message
    """The topmost of the messages."""
    messages: int
    """How many there are."""


class Branches(Part):
    def delete_message(self, id: int, *, branch: bool = True) -> Deletion:
        """Delete a message until it is brought back or the trash is emptied.

        An answer that another corral is writing there goes on being written into its row.

        Args:
            branch: take along everything below it; else what follows stays.

        Raises:
            NotFound: there is none, or it is deleted already.
        """
        with self._database.write() as connection:
            message = fetch_message(connection, id)
            owner = fetch_conversation(connection, message.conversation)
            when = max(self._clock(), (_latest(connection, owner.id) or 0.0) + _STEP)
            if branch:
                rows(connection, _DELETE, (id, when))
            else:
                rows(connection, "UPDATE message SET deleted = ? WHERE id = ?", (when, id))
            count = connection.changes()
            _move_active(connection, owner, message.parent)
            return Deletion(fetch_conversation(connection, owner.id), message, count)

    def deletion(self, conversation: int) -> Deletion | None:
        """What :meth:`undo_deletion` would bring back; None where nothing is deleted."""
        with self._database.snapshot() as connection:
            return _deletion(connection, conversation)

    def undo_deletion(self, conversation: int) -> Deletion:
        """Bring back what was deleted last, and make it the active path; also after a restart.

        Raises:
            NotFound: nothing of this conversation is deleted.
        """
        with self._database.write() as connection:
            found = _deletion(connection, conversation)
            if found is None:
                raise NotFound("Nothing of this conversation was deleted", title="Nothing to undo")
            rows(
                connection,
                "UPDATE message SET deleted = NULL WHERE conversation = ? AND deleted = ?",
                (conversation, _latest(connection, conversation)),
            )
            leaf = _leaf(fetch_links(connection, conversation), found.first.id)
            rows(
                connection, "UPDATE conversation SET active = ? WHERE id = ?", (leaf, conversation)
            )
            first = fetch_message(connection, found.first.id)
            return Deletion(fetch_conversation(connection, conversation), first, found.messages)

    def fork(self, conversation: int, at: int | None = None) -> Conversation:
        """A new conversation that begins with a copy of a path, provenance and all.

        Args:
            at: the last message that is copied; None for the end of the active path.

        Raises:
            NotFound: there is no such conversation, or no such message in it.
            UsageError: it has no message yet.
        """
        now = self._clock()
        with self._database.write() as connection:
            owner = fetch_conversation(connection, conversation)
            at = owner.active if at is None else at
            if at is None:
                raise UsageError("There is no message to fork at", title="Nothing to fork")
            path = _path(connection, conversation, at)
            title = storable(f"{owner.title} · fork" if owner.title else "")
            rows(
                connection,
                "INSERT INTO conversation (title, titled, system, model, parameters, folder,"
                " preset, created, updated) SELECT ?, titled, system, model, parameters, folder,"
                " preset, ?, ? FROM conversation WHERE id = ?",
                (title, now, now, conversation),
            )
            fork = connection.last_insert_rowid()
            ids = _copy(connection, path, fork)
            _renumber(connection, ids)
            rows(connection, "UPDATE conversation SET active = ? WHERE id = ?", (ids[at], fork))
            return fetch_conversation(connection, fork)

    def edit_answer(self, id: int, text: str) -> Message:
        """A sibling of an answer with a text of the person's; ``edited_from`` says of which.

        Raises:
            NotFound: there is none.
            UsageError: it is a message of the person's.
        """
        now = self._clock()
        with self._database.write() as connection:
            answer = _answer(connection, id)
            parameters = {**_made_with(answer), "edited_from": id}
            rows(
                connection,
                "INSERT INTO message (conversation, parent, role, text, status, created,"
                " stop_reason, model, parameters)"
                " VALUES (?, ?, 'assistant', ?, 'complete', ?, 'end', ?, ?)",
                (
                    answer.conversation,
                    answer.parent,
                    storable(text),
                    now,
                    to_json(answer.model),
                    to_json(parameters),
                ),
            )
            return _activate(connection, connection.last_insert_rowid(), answer.conversation, now)

    def resume_answer(self, id: int) -> Message:
        """Make an answer one that this process is writing: in its row where nothing follows it.

        Where something does, what follows keeps the answer it followed: the text goes on in a new
        sibling that begins with the same words.

        Raises:
            NotFound: there is none.
            UsageError: it is no answer, or another process is writing it.
        """
        now = self._clock()
        with self._database.write() as connection:
            answer = _answer(connection, id)
            if _is_written(connection, id):
                raise UsageError(
                    "This answer is being written at the moment", title="Still writing"
                )
            # Also what is deleted follows: it may come back.
            if row(connection, "SELECT 1 FROM message WHERE parent = ? LIMIT 1", (id,)):
                ids = _copy(connection, [id], answer.conversation, parent=answer.parent)
                id = ids[id]
            rows(
                connection,
                "UPDATE message SET status = 'streaming', stop_reason = NULL, error = NULL,"
                " writer = ? WHERE id = ?",
                (this_process(), id),
            )
            return _activate(connection, id, answer.conversation, now)

    def discard_copy(self, id: int, active: int | None) -> bool:
        """Remove a copy of :meth:`resume_answer` for good; False where something follows it.

        Args:
            active: what the active path ended with before, and does again where it is still there.
        """
        with self._database.write() as connection:
            if row(connection, "SELECT 1 FROM message WHERE parent = ? LIMIT 1", (id,)):
                return False
            owner = fetch_message(connection, id, deleted=True).conversation
            rows(connection, "UPDATE conversation SET active = ? WHERE active = ?", (active, id))
            rows(connection, "DELETE FROM message WHERE id = ?", (id,))
            _move_active(connection, fetch_conversation(connection, owner), None)
            return True

    def mark_message(
        self, id: int, *, pinned: bool | None = None, summary: str | None = None
    ) -> Message:
        """Change what is kept beside a message's words; None leaves it as it is.

        Raises:
            NotFound: there is none.
        """
        with self._database.write() as connection:
            fetch_message(connection, id)
            rows(
                connection,
                "UPDATE message SET pinned = coalesce(?, pinned), summary = coalesce(?, summary)"
                " WHERE id = ?",
                (pinned, None if summary is None else storable(summary), id),
            )
            return fetch_message(connection, id)


def renumbered(
    parameters: Mapping[str, Any] | None, ids: Mapping[int, int]
) -> dict[str, Any] | None:
    """Parameters of an answer in another conversation: they name the messages that are there.

    Args:
        ids: the number of each message there, by the one it had.
    """
    if parameters is None:
        return None
    found = dict(parameters)
    for name in MESSAGE_KEYS:
        if name in found:
            id = found.pop(name)
            if isinstance(id, int) and id in ids:
                found[name] = ids[id]
            elif name == "edited_from":
                found[name] = (
                    None  # The model's own answer is not there; these are a person's words.
                )
    if isinstance(gaps := found.get("window_gaps"), list):
        pairs = [gap for gap in gaps if isinstance(gap, list) and len(gap) == 2]
        found["window_gaps"] = [
            [ids[first], ids[last]]
            for first, last in pairs
            if isinstance(first, int) and isinstance(last, int)
            if first in ids and last in ids
        ]
    return found


def _made_with(answer: Message) -> dict[str, Any]:
    """What an answer was made with, but for what only counts for its own text."""
    own = ("ids", "pieces")
    return {key: value for key, value in (answer.parameters or {}).items() if key not in own}


def _answer(connection: apsw.Connection, id: int) -> Message:
    message = fetch_message(connection, id)
    if message.role != "assistant":
        raise UsageError(f"Message {id} is no answer", title="Not an answer")
    return message


def _is_written(connection: apsw.Connection, id: int) -> bool:
    found = row(
        connection,
        "SELECT CAST(writer AS BLOB) FROM message WHERE id = ? AND status = 'streaming'",
        (id,),
    )
    return found is not None and is_running(decode(found[0]) or "")


def _activate(connection: apsw.Connection, id: int, conversation: int, now: float) -> Message:
    rows(
        connection,
        "UPDATE conversation SET active = ?, updated = ? WHERE id = ?",
        (id, now, conversation),
    )
    return fetch_message(connection, id)


def _latest(connection: apsw.Connection, conversation: int) -> float | None:
    """When something of a conversation was deleted last."""
    found = row(
        connection,
        "SELECT max(deleted) FROM message WHERE conversation = ? AND deleted IS NOT NULL",
        (conversation,),
    )
    return found[0] if found else None


def _deletion(connection: apsw.Connection, conversation: int) -> Deletion | None:
    owner = fetch_conversation(connection, conversation)
    found: list[Row] = rows(
        connection,
        "SELECT id, parent FROM message WHERE conversation = ? AND deleted = ? ORDER BY id",
        (conversation, _latest(connection, conversation)),
    )
    if not found:
        return None
    ids = {id for id, _ in found}
    top = next((id for id, parent in found if parent not in ids), found[0][0])
    return Deletion(owner, fetch_message(connection, top, deleted=True), len(found))


def _move_active(connection: apsw.Connection, owner: Conversation, parent: int | None) -> None:
    """Where the active path ended in what is deleted: to the newest message beside or above it."""
    links = fetch_links(connection, owner.id)
    if owner.active in links:
        return
    if parent is None:
        parent = max((id for id, above in links.items() if above is None), default=None)
    leaf = None if parent is None else _leaf(links, parent)
    rows(connection, "UPDATE conversation SET active = ? WHERE id = ?", (leaf, owner.id))


def _leaf(links: Mapping[int, int | None], start: int) -> int:
    """The newest end below a message."""
    newest: dict[int | None, int] = {}
    for id, parent in links.items():
        newest[parent] = max(id, newest.get(parent, id))
    for _ in links:  # No more steps than messages: a damaged chain may be a ring.
        if start not in newest:
            break
        start = newest[start]
    return start


def _path(connection: apsw.Connection, conversation: int, leaf: int) -> list[int]:
    """The ids from the first message to ``leaf``."""
    links = fetch_links(connection, conversation)
    if leaf not in links:
        raise NotFound(f"There is no message {leaf} in conversation {conversation}")
    path: list[int] = []
    at: int | None = leaf
    while at is not None and at in links and len(path) < len(links):
        path.append(at)
        at = links[at]
    path.reverse()
    return path


def _copy(
    connection: apsw.Connection, path: list[int], conversation: int, parent: int | None = None
) -> dict[int, int]:
    """Copy messages, each below the one before; gives the new id of each old one.

    An answer that is being written is copied as far as it has come.
    """
    ids: dict[int, int] = {}
    for old in path:
        rows(
            connection,
            f"INSERT INTO message (conversation, parent, status, {_COPIED})"  # noqa: S608
            " SELECT ?1, ?2, CASE status WHEN 'streaming' THEN 'stopped' ELSE status END,"
            f" {_COPIED} FROM message WHERE id = ?3",
            (conversation, parent, old),
        )
        parent = ids[old] = connection.last_insert_rowid()
    return ids


def _renumber(connection: apsw.Connection, ids: Mapping[int, int]) -> None:
    """Let the parameters of the copies in another conversation name the copies."""
    for new in ids.values():
        found = row(connection, "SELECT CAST(parameters AS BLOB) FROM message WHERE id = ?", (new,))
        before = from_json(found[0]) if found else None
        after = renumbered(before, ids)
        if after != before:
            rows(
                connection,
                "UPDATE message SET parameters = ? WHERE id = ?",
                (to_json(after), new),
            )
