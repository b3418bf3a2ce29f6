"""Texts that a person and a model write together: an edit becomes a branch, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from corral.chat.conversation import Message, title_from
from corral.chat.texts import Piece
from corral.errors import NotFound
from corral.store.conversations import fetch_conversation
from corral.store.database import rows
from corral.store.messages import fetch_message
from corral.store.parts import Part
from corral.store.records import storable, to_json

OWN = ("ids", "pieces")
"""Parameters of an answer that only count for its own text."""


class Texts(Part):
    def add_pieces(
        self, conversation: int, parent: int | None, pieces: Sequence[Piece]
    ) -> list[Message]:
        """Put pieces behind a message, one below the other; the last one ends the active path.

        A piece that is a part of a message is by whoever wrote that, and says with what it was
        made; ``edited_from`` names it. The draft is cleared.

        Raises:
            NotFound: there is no such conversation, or no such message in it.
        """
        now = self._clock()
        with self._database.write() as connection:
            owner = fetch_conversation(connection, conversation)
            if parent is not None and fetch_message(connection, parent).conversation != owner.id:
                raise NotFound(f"There is no message {parent} in conversation {conversation}")
            added: list[Message] = []
            for piece in pieces:
                source = (
                    fetch_message(connection, piece.source, deleted=True) if piece.source else None
                )
                made = {
                    key: value
                    for key, value in ((source and source.parameters) or {}).items()
                    if key not in OWN
                }
                answer = source is not None and source.role == "assistant"
                rows(
                    connection,
                    "INSERT INTO message (conversation, parent, role, text, status, created,"
                    " stop_reason, model, parameters) VALUES (?, ?, ?, ?, 'complete', ?, ?, ?, ?)",
                    (
                        conversation,
                        parent,
                        "assistant" if answer else "user",
                        storable(piece.text),
                        now,
                        "end" if answer else None,
                        to_json(source.model) if source is not None and answer else None,
                        to_json({**made, "edited_from": piece.source}) if answer else None,
                    ),
                )
                parent = connection.last_insert_rowid()
                added.append(fetch_message(connection, parent))
            title = owner.title or storable(title_from("".join(one.text for one in pieces)))
            rows(
                connection,
                "UPDATE conversation SET active = ?, draft = '', updated = ?, title = ?"
                " WHERE id = ?",
                (parent, now, title, conversation),
            )
            return added
