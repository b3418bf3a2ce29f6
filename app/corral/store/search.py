"""Search in titles and messages while the person types."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import apsw

from corral.chat.conversation import Conversation
from corral.chat.finding import Filters
from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import SELECT_CONVERSATION, decode, from_json, storable, to_conversation

Value = int | float | str | bytes | None
"""What SQLite knows."""

MATCH_START = "\ue000"
MATCH_END = "\ue001"

_LONGEST_QUERY = 500
_MOST_WORDS = 24
_SNIPPET_MARGIN = 40
_STEPS = 1_000
"""Steps of SQLite's machine between two looks at whether anybody still wants to know."""

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
    AND (?5 IS NULL OR c.id IN (SELECT value FROM json_each(?5)))
    ORDER BY s.rank, c.updated DESC LIMIT ?2
"""

_LETTERS_IN_TEXTS = """
    SELECT m.conversation, max(m.id)
    FROM message AS m JOIN conversation AS c ON c.id = m.conversation
    WHERE m.text LIKE ?1 ESCAPE '\\' AND m.status <> 'streaming' AND c.deleted IS NULL
    AND m.deleted IS NULL
    AND (?3 IS NULL OR c.id IN (SELECT value FROM json_each(?3)))
    GROUP BY m.conversation ORDER BY c.updated DESC LIMIT ?2
"""

_LETTERS_IN_TITLES = """
    SELECT id FROM conversation WHERE title LIKE ?1 ESCAPE '\\' AND deleted IS NULL
    AND (?3 IS NULL OR id IN (SELECT value FROM json_each(?3)))
    ORDER BY updated DESC LIMIT ?2
"""

_PLACES = """
    SELECT id, CAST(folder AS BLOB), CAST(preset AS BLOB), created, updated, pinned, archived,
    CAST(model AS BLOB) FROM conversation WHERE deleted IS NULL
    ORDER BY pinned DESC, updated DESC, id DESC
"""

_ANSWERED_BY = """
    SELECT DISTINCT conversation, CAST(model AS BLOB) FROM message
    WHERE model IS NOT NULL AND deleted IS NULL
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A conversation that matches."""

    conversation: Conversation
    message: int | None
    """Its best matching message; None when only the title matches."""
    snippet: str
    """A piece of that message, or the title; the matched words stand between
    :data:`MATCH_START` and :data:`MATCH_END`. Empty where there were no words."""


class Search(Part):
    def search(
        self,
        query: str,
        limit: int = 50,
        filters: Filters = Filters(),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Hit]:
        """The best matching conversations, one hit each; those whose title matches come first.

        All words must occur; the last one may be unfinished. Where no word matches, and for signs
        that are no words, such as emoji, the letters are searched as they stand. Filters without
        words find all they admit, pinned ones first, then the most recently used.

        Args:
            cancelled: asked again and again; where it says so nothing is found any more. Of a
                hundred thousand messages those with one letter take seconds, and all others wait.
        """
        query = storable(query)[:_LONGEST_QUERY].replace("\0", " ").strip()
        if not (query or filters) or limit <= 0:
            return []
        with self._database.snapshot() as connection, _unless(cancelled, connection):
            wanted = admitted(connection, filters) if filters else None
            if not query:
                ids = list(wanted or ())[:limit]
                found = conversations_of(connection, ids)
                return [Hit(found[id], None, "") for id in ids]
            expression = to_expression(query)
            hits = _by_words(connection, expression, limit, wanted) if expression else []
            return hits or _by_letters(connection, query, limit, wanted)
        return []

    def model_names(self) -> list[str]:
        """Of every model that is chosen in a conversation or gave an answer, in their order."""
        with self._database.snapshot() as connection:
            found = set().union(*_models(connection).values())
        return sorted(found, key=str.casefold)


@contextlib.contextmanager
def _unless(cancelled: Callable[[], bool], connection: apsw.Connection) -> Iterator[None]:
    """Statements end early, and the block with them, once ``cancelled`` says so."""
    connection.set_progress_handler(cancelled, _STEPS)
    try:
        yield
    except apsw.InterruptError:
        pass
    finally:
        connection.set_progress_handler(None)


def admitted(connection: apsw.Connection, filters: Filters) -> dict[int, None]:
    """The conversations outside the trash that the filters admit, in the order of the list."""
    found: dict[int, None] = {}
    for id, folder, preset, created, updated, pinned, archived, _ in rows(connection, _PLACES):
        if filters.admits(
            folder=decode(folder) or "",
            preset=decode(preset) or "",
            created=created,
            updated=updated,
            pinned=bool(pinned),
            archived=bool(archived),
        ):
            found[id] = None
    if filters.model:
        models = _models(connection)
        found = {id: None for id in found if filters.admits_models(models.get(id, ()))}
    return found


def _models(connection: apsw.Connection) -> dict[int, set[str]]:
    """The names of the models of each conversation."""
    names: dict[int, set[str]] = {}
    for id, *_, model in rows(connection, _PLACES):
        if chosen := decode(model):
            names.setdefault(id, set()).add(chosen)
    known: dict[bytes, str | None] = {}
    for id, model in rows(connection, _ANSWERED_BY):
        if model not in known:
            name = (from_json(model) or {}).get("name")
            known[model] = name if isinstance(name, str) else None
        if answered := known[model]:
            names.setdefault(id, set()).add(answered)
    return names


def to_expression(query: str) -> str:
    """The query in FTS5's language, where every word is quoted and so means only itself.

    A phrase without any letter would match nothing and is left out.
    """
    words = [word for word in query.split() if any(map(_is_letter, word))][:_MOST_WORDS]
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted) + "*" if quoted else ""


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LN"


_Wanted = dict[int, None] | None
"""The only conversations that may be found; None is all."""


def _by_words(
    connection: apsw.Connection, expression: str, limit: int, wanted: _Wanted
) -> list[Hit]:
    texts = _in_texts(connection, expression, limit, wanted)
    marked = (expression, limit, MATCH_START, MATCH_END, _listed(wanted))
    titles: dict[int, bytes] = dict(rows(connection, _IN_TITLES, marked))
    ids = list(dict.fromkeys([*titles, *texts]))[:limit]
    conversations = conversations_of(connection, ids)
    hits = []
    for id in ids:
        message, snippet = texts.get(id, (None, titles.get(id)))
        hits.append(Hit(conversations[id], message, decode(snippet) or ""))
    return hits


def _listed(wanted: _Wanted) -> str | None:
    return None if wanted is None else json.dumps(list(wanted))


def _in_texts(
    connection: apsw.Connection, expression: str, limit: int, wanted: Container[Value] | None
) -> dict[int, tuple[int, bytes | None]]:
    """The best message of each conversation with its snippet; the best conversation first."""
    seen: set[Value] = set()

    def first_of(*values: Value) -> Value:
        (conversation,) = values
        if conversation in seen or (wanted is not None and conversation not in wanted):
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


def _by_letters(connection: apsw.Connection, query: str, limit: int, wanted: _Wanted) -> list[Hit]:
    pattern = "%" + re.sub(r"([\\%_])", r"\\\1", query) + "%"
    asked = (pattern, limit, _listed(wanted))
    texts: dict[int, int] = dict(rows(connection, _LETTERS_IN_TEXTS, asked))
    titles = [id for (id,) in rows(connection, _LETTERS_IN_TITLES, asked)]
    ids = list(dict.fromkeys([*titles, *texts]))[:limit]
    conversations = conversations_of(connection, ids)
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


def conversations_of(connection: apsw.Connection, ids: list[int]) -> dict[int, Conversation]:
    """All of them; they are there, because they were found in the same snapshot."""
    chosen = "WHERE c.id IN (SELECT value FROM json_each(?))"
    found = rows(connection, SELECT_CONVERSATION + chosen, (json.dumps(ids),))
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
