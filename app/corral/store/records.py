"""Rows become the dataclasses of the domain, and back.

Text is read as bytes and decoded here: one flipped bit in a title must not make the whole list
unreadable. Values of JSON columns that cannot be understood count as absent for the same reason.
"""

from __future__ import annotations

import json
import re
from typing import Any

from corral.chat.conversation import Conversation, Message
from corral.store.database import Row

_SURROGATE = re.compile("[\ud800-\udfff]")

SELECT_CONVERSATION = """
    SELECT c.id, CAST(c.title AS BLOB), c.created, c.updated,
    (SELECT count(*) FROM message AS m WHERE m.conversation = c.id)
    - (SELECT count(*) FROM message AS m WHERE m.conversation = c.id AND m.deleted IS NOT NULL),
    c.titled, c.pinned, c.archived, CAST(c.system AS BLOB), CAST(c.model AS BLOB),
    CAST(c.parameters AS BLOB), c.active, CAST(c.draft AS BLOB),
    (SELECT CAST(m.model AS BLOB) FROM message AS m WHERE m.id = c.active),
    CAST(c.folder AS BLOB), CAST(c.preset AS BLOB),
    CAST(c.origin AS BLOB), c.deleted
    FROM conversation AS c
"""

SELECT_MESSAGE = """
    SELECT id, conversation, parent, role, CAST(text AS BLOB), status, created, stop_reason,
    CAST(error AS BLOB), CAST(model AS BLOB), CAST(parameters AS BLOB), CAST(usage AS BLOB),
    CAST(timings AS BLOB), pinned, CAST(summary AS BLOB)
    FROM message
"""


def storable(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def to_json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def from_json(value: bytes | None) -> dict[str, Any] | None:
    """The object in a JSON column, or None where there is none that can be understood."""
    if value is None:
        return None
    try:
        # As text, since finding out how bytes are encoded takes longer than reading them.
        loaded = json.loads(value.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def decode(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def to_conversation(values: Row) -> Conversation:
    """A conversation from a row of :data:`SELECT_CONVERSATION`."""
    id, title, created, updated, messages, titled, pinned, archived = values[:8]
    system, model, parameters, active, draft, answered_by, folder, preset, origin, _ = values[8:]
    answered = (from_json(answered_by) or {}).get("name")
    return Conversation(
        id=id,
        title=decode(title) or "",
        created=created,
        updated=updated,
        messages=messages,
        titled=bool(titled),
        pinned=bool(pinned),
        archived=bool(archived),
        system=decode(system) or "",
        model=decode(model),
        parameters=from_json(parameters) or {},
        active=active,
        draft=decode(draft) or "",
        answered_by=answered if isinstance(answered, str) else None,
        folder=decode(folder) or "",
        preset=decode(preset) or "",
        origin=decode(origin) or "",
    )


def to_message(values: Row) -> Message:
    """A message from a row of :data:`SELECT_MESSAGE`."""
    id, conversation, parent, role, text, status, created, stop_reason = values[:8]
    error, model, parameters, usage, timings, pinned, summary = values[8:]
    return Message(
        id=id,
        conversation=conversation,
        parent=parent,
        role=role,
        text=decode(text) or "",
        status=status,
        created=created,
        stop_reason=stop_reason,
        error=decode(error),
        model=from_json(model),
        parameters=from_json(parameters),
        usage=from_json(usage),
        timings=from_json(timings),
        pinned=bool(pinned),
        summary=decode(summary) or "",
    )
