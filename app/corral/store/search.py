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

MATCH_START = "\ue000"
MATCH_END = "\ue001"

_LONGEST_QUERY = 500
_MOST_WORDS = 24
_SNIPPET_MARGIN = 40

_IN_TEXTS = """
    SELECT m.conversation, m.id, min(s.rank)
    FROM message_search AS s
    JOIN message AS m ON m.id = s.rowid
    JOIN conversation AS c ON c.id = m.conversation
    WHERE s.message_search MATCH ?1 AND c.deleted IS NULL
    GROUP BY m.conversation ORDER BY min(s.rank), m.conversation DESC LIMIT ?2
"""

_IN_TITLES = """
    SELECT c.id FROM title_search AS s JOIN conversation AS c ON c.id = s.rowid
    WHERE s.title_search MATCH ?1 AND c.deleted IS NULL
    ORDER BY s.rank, c.updated DESC LIMIT ?2
"""

_TEXT_SNIPPET = """
    SELECT CAST(snippet(message_search, 0, ?3, ?4, '…', 14) AS BLOB)
    FROM message_search WHERE message_search MATCH ?1 AND rowid = ?2
"""

_TITLE_SNIPPET = """
    SELECT CAST(highlight(title_search, 0, ?3, ?4) AS BLOB)
    FROM title_search WHERE title_search MATCH ?1 AND rowid = ?2
"""

_LETTERS_IN_TEXTS = """
    SELECT m.conversation, max(m.id)
    FROM message AS m JOIN conversation AS c ON c.id = m.conversation
    WHERE m.text LIKE ?1 ESCAPE '\\' AND m.status <> 'streaming' AND c.deleted IS NULL
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
    texts: dict[int, int] = {
        conversation: message
        for conversation, message, _ in rows(connection, _IN_TEXTS, (expression, limit))
    }
    titles = [id for (id,) in rows(connection, _IN_TITLES, (expression, limit))]
    hits = []
    for id in list(dict.fromkeys([*titles, *texts]))[:limit]:
        message = texts.get(id)
        sql, found = (_TITLE_SNIPPET, id) if message is None else (_TEXT_SNIPPET, message)
        snippet = row(connection, sql, (expression, found, MATCH_START, MATCH_END))
        hits.append(Hit(_conversation(connection, id), message, _text(snippet)))
    return hits


def _by_letters(connection: apsw.Connection, query: str, limit: int) -> list[Hit]:
    pattern = "%" + re.sub(r"([\\%_])", r"\\\1", query) + "%"
    texts: dict[int, int] = dict(rows(connection, _LETTERS_IN_TEXTS, (pattern, limit)))
    titles = [id for (id,) in rows(connection, _LETTERS_IN_TITLES, (pattern, limit))]
    hits = []
    for id in list(dict.fromkeys([*titles, *texts]))[:limit]:
        conversation = _conversation(connection, id)
        message = texts.get(id)
        text = conversation.title
        if message is not None:
            text = _text(
                row(connection, "SELECT CAST(text AS BLOB) FROM message WHERE id = ?", (message,))
            )
        hits.append(Hit(conversation, message, _cut_out(text, query)))
    return hits


def _conversation(connection: apsw.Connection, id: int) -> Conversation:
    found = row(connection, SELECT_CONVERSATION + "WHERE c.id = ?", (id,))
    assert found is not None  # same snapshot as the search
    return to_conversation(found)


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
