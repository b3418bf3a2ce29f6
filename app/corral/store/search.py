"""Search in titles and messages while the person types."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import apsw

from corral.chat.conversation import Conversation
from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import SELECT_CONVERSATION, decode, storable, to_conversation

Value = int | float | str | bytes | None
"""What SQLite knows."""

MATCH_START = "\ue000"
MATCH_END = "\ue001"

_LONGEST_QUERY = 500
_MOST_WORDS = 24
_SNIPPET_MARGIN = 40

# FTS5 gives the best match first, and one row at a time: nothing is sorted or grouped here, and a
# snippet is only cut out of the first message of a conversation. The order of the tables is fixed:
# another one would ask FTS5 once for every message.
_IN_TEXTS = """
    SELECT m.conversation, s.rowid, s.rank, CASE WHEN first_of(m.conversation)
        THEN CAST(snippet(message_search, 0, ?2, ?3, '…', 14) AS BLOB) END
    FROM message_search AS s CROSS JOIN message AS m ON m.id = s.rowid
    CROSS JOIN conversation AS c ON c.id = m.conversation
    WHERE s.message_search MATCH ?1 AND c.deleted IS NULL
    AND s.rowid NOT IN (SELECT id FROM message WHERE deleted IS NOT NULL) ORDER BY s.rank
"""

_IN_TITLES = """
    SELECT c.id, CAST(highlight(title_search, 0, ?3, ?4) AS BLOB)
    FROM title_search AS s JOIN conversation AS c ON c.id = s.rowid
    WHERE s.title_search MATCH ?1 AND c.deleted IS NULL
    ORDER BY s.rank, c.updated DESC LIMIT ?2
"""

_LETTERS_IN_TEXTS = """
    SELECT m.conversation, max(m.id)
    FROM message AS m JOIN conversation AS c ON c.id = m.conversation
    WHERE m.text LIKE ?1 ESCAPE '\\' AND m.status <> 'streaming' AND c.deleted IS NULL
    AND m.deleted IS NULL
    GROUP BY m.conversation ORDER BY c.updated DESC LIMIT ?2
"""

_LETTERS_IN_TITLES = """
    SELECT id FROM conversation WHERE title LIKE ?1 ESCAPE '\\' AND deleted IS NULL
    ORDER BY updated DESC LIMIT ?2
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation that matches."""

    conversation: Conversation
    message: int | None
    """Its best matching message; None when only the title matches."""
    snippet: str
    """A piece of that message, or the title; the matched words stand between
    :data:`MATCH_START` and :data:`MATCH_END`."""


class Search(Part):
    def search(self, query: str, limit: int = 50) -> list[Hit]:
        """The best matching conversations, one hit each; those whose title matches come first.

        All words must occur; the last one may be unfinished. Where no word matches, and for signs
        that are no words, such as emoji, the letters are searched as they stand.
        """
        query = storable(query)[:_LONGEST_QUERY].replace("\0", " ").strip()
        if not query or limit <= 0:
            return []
        with self._database.snapshot() as connection:
            expression = to_expression(query)
            hits = _by_words(connection, expression, limit) if expression else []
            return hits or _by_letters(connection, query, limit)


def to_expression(query: str) -> str:
    """The query in FTS5's language, where every word is quoted and so means only itself.

    A phrase without any letter would match nothing and is left out.
    """
    words = [word for word in query.split() if any(map(_is_letter, word))][:_MOST_WORDS]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted) + "*" if quoted else ""


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LN"


def _by_words(connection: apsw.Connection, expression: str, limit: int) -> list[Hit]:
    texts = _in_texts(connection, expression, limit)
    marked = (expression, limit, MATCH_START, MATCH_END)
    titles: dict[int, bytes] = dict(rows(connection, _IN_TITLES, marked))
    ids = list(dict.fromkeys([*titles, *texts]))[:limit]
    conversations = _conversations(connection, ids)
    hits = []
    for id in ids:
        message, snippet = texts.get(id, (None, titles.get(id)))
        hits.append(Hit(conversations[id], message, decode(snippet) or ""))
    return hits


def _in_texts(
    connection: apsw.Connection, expression: str, limit: int
) -> dict[int, tuple[int, bytes | None]]:
    """The best message of each conversation with its snippet; the best conversation first."""
    seen: set[tuple[Value, ...]] = set()

    def first_of(*conversation: Value) -> Value:
        if conversation in seen:
            return False
        seen.add(conversation)
        return True

    connection.create_scalar_function("first_of", first_of, 1)
    found: list[tuple[float, int, int, bytes | None]] = []
    cursor = connection.execute(_IN_TEXTS, (expression, MATCH_START, MATCH_END))
    try:
        for conversation, message, rank, snippet in cursor:
            if len(found) >= limit and rank > found[-1][0]:
                break
            if snippet is not None:
                found.append((rank, -conversation, message, snippet))
    finally:
        cursor.close(True)  # An unfinished statement would hold on to an old state of the file.
        connection.create_scalar_function("first_of", None, 1)
    found.sort(key=lambda one: one[:2])
    return {-minus: (message, snippet) for _, minus, message, snippet in found[:limit]}


def _by_letters(connection: apsw.Connection, query: str, limit: int) -> list[Hit]:
    pattern = "%" + re.sub(r"([\\%_])", r"\\\1", query) + "%"
    texts: dict[int, int] = dict(rows(connection, _LETTERS_IN_TEXTS, (pattern, limit)))
    titles = [id for (id,) in rows(connection, _LETTERS_IN_TITLES, (pattern, limit))]
    ids = list(dict.fromkeys([*titles, *texts]))[:limit]
    conversations = _conversations(connection, ids)
    hits = []
    for id in ids:
        conversation = conversations[id]
        message = texts.get(id)
        text = conversation.title
        if message is not None:
            text = _text(
                row(connection, "SELECT CAST(text AS BLOB) FROM message WHERE id = ?", (message,))
            )
        hits.append(Hit(conversation, message, _cut_out(text, query)))
    return hits


def _conversations(connection: apsw.Connection, ids: list[int]) -> dict[int, Conversation]:
    """All of them; they are there, because a search found them in the same snapshot."""
    marks = ",".join("?" * len(ids))
    found = rows(connection, f"{SELECT_CONVERSATION} WHERE c.id IN ({marks})", ids)
    return {values[0]: to_conversation(values) for values in found}


def _text(found: tuple[bytes | None, ...] | None) -> str:
    return (decode(found[0]) if found else None) or ""


def _cut_out(text: str, query: str) -> str:
    """The surroundings of the first match, marked like FTS5's snippet."""
    found = re.search(re.escape(query), text, re.IGNORECASE)
    if found is None:
        return text[: 2 * _SNIPPET_MARGIN]
    start = max(0, found.start() - _SNIPPET_MARGIN)
    end = found.end() + _SNIPPET_MARGIN
    return (
        ("…" if start else "")
        + text[start : found.start()]
        + MATCH_START
        + found.group()
        + MATCH_END
        + text[found.end() : end]
        + ("…" if end < len(text) else "")
    )
