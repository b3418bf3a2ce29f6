"""corral's own export: one JSON object a conversation, with its whole tree and all provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral import __version__
from corral.chat.conversation import Conversation, Message, Role, Status, StopReason
from corral.chat.finding import tidy_folder
from corral.chat.window import POLICIES
from corral.engine.params import LoadSpec, Sampling
from corral.errors import Refused
from corral.store.moving import Whole
from corral.text import clean_line

FORMAT = "corral-conversation"
VERSION = 1

LATEST = 32_503_680_000.0
"""The year 3000: the calendar of Windows knows no moment after it."""

_LONGEST_TITLE = 1_000
_LONGEST_FOLDER = 200
_MOST_TOKENS = 1 << 20
_NOT_A_PERSON_S = ("path", "vocab_only")
_TOKENS = "ids"
_PIECES = "pieces"
_WORDS = ("name", "title", "file", "sha256", "quant")
_NUMBERS = ("n_ctx", "gpu_layers", "threads")

_Moment = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]


class _Message(BaseModel):
    model_config = ConfigDict(defer_build=True)

    id: int
    parent: int | None = None
    role: Role
    text: str
    status: Status = "complete"
    created: _Moment
    stop_reason: StopReason | None = None
    error: str | None = None
    model: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    pinned: bool = False
    summary: str = ""


class _Conversation(BaseModel):
    model_config = ConfigDict(defer_build=True)

    version: int
    origin: str = Field("", max_length=1_000)
    title: str = ""
    titled: bool = False
    created: _Moment
    updated: _Moment
    pinned: bool = False
    archived: bool = False
    folder: str = ""
    preset: str = ""
    system: str = ""
    model: str | None = None
    parameters: dict[str, Any] = {}
    draft: str = ""
    active: int | None = None
    messages: list[_Message]


def to_record(whole: Whole, exported: float) -> dict[str, Any]:
    """The object of a conversation, ready for JSON."""
    conversation = whole.conversation
    return {
        "format": FORMAT,
        "version": VERSION,
        "corral": __version__,
        "exported": exported,
        "origin": conversation.origin,
        "id": conversation.id,
        "title": conversation.title,
        "titled": conversation.titled,
        "created": conversation.created,
        "updated": conversation.updated,
        "pinned": conversation.pinned,
        "archived": conversation.archived,
        "folder": conversation.folder,
        "preset": conversation.preset,
        "system": conversation.system,
        "model": conversation.model,
        "parameters": conversation.parameters,
        "draft": conversation.draft,
        "active": conversation.active,
        "messages": [message_record(message) for message in whole.messages],
    }


def message_record(message: Message) -> dict[str, Any]:
    """The contract's object for a message, as ``history show`` and an export have it."""
    return {
        "id": message.id,
        "parent": message.parent,
        "role": message.role,
        "text": message.text,
        "status": message.status,
        "created": message.created,
        "stop_reason": message.stop_reason,
        "error": message.error,
        "model": message.model,
        "parameters": message.parameters,
        "usage": message.usage,
        "timings": message.timings,
        "pinned": message.pinned,
        "summary": message.summary,
    }


def is_record(value: Mapping[str, Any]) -> bool:
    """Whether an object says that it is one of these."""
    return value.get("format") == FORMAT


def from_record(value: Mapping[str, Any]) -> Whole:
    """The conversation of an object.

    Raises:
        Refused: it is from a newer corral, or makes no sense; the message says where.
    """
    version = value.get("version")
    if isinstance(version, int) and version > VERSION:
        raise Refused(
            f"It was exported by a newer corral: version {version}, this one knows {VERSION}",
            hint="Import it with the newer corral",
        )
    try:
        record = _Conversation.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise Refused(f"{where}: {detail['msg']}") from None
    messages = _tree(record.messages)
    numbers = {message.id for message in messages}
    return Whole(
        Conversation(
            id=0,
            title=record.title[:_LONGEST_TITLE],
            created=record.created,
            updated=record.updated,
            messages=len(messages),
            titled=record.titled,
            pinned=record.pinned,
            archived=record.archived,
            system=record.system,
            model=record.model,
            parameters=own_parameters(record.parameters),
            active=record.active if record.active in numbers else None,
            draft=record.draft,
            folder=tidy_folder(clean_line(record.folder)[:_LONGEST_FOLDER]),
            preset=record.preset,
            origin=record.origin or _origin(value),
        ),
        tuple(messages),
    )


def _origin(value: Mapping[str, Any]) -> str:
    """Of an object that does not say where it is from: the same one is there only once."""
    return f"record:{sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"


def _tree(records: list[_Message]) -> list[Message]:
    """The messages in the order they were written, each behind what it answers."""
    seen: set[int] = set()
    messages = []
    for record in sorted(records, key=lambda one: one.id):
        if record.id in seen:
            raise Refused(f"Two messages have the number {record.id}")
        if record.parent is not None and record.parent not in seen:
            raise Refused(f"Message {record.id} stands below {record.parent}, which is not there")
        seen.add(record.id)
        messages.append(_message(record))
    return messages


def _message(record: _Message) -> Message:
    # Nobody writes it here.
    streaming = record.status == "streaming"
    return Message(
        id=record.id,
        conversation=0,
        parent=record.parent,
        role=record.role,
        text=record.text,
        status="stopped" if streaming else record.status,
        created=record.created,
        stop_reason="stopped" if streaming else record.stop_reason,
        error=record.error,
        model=_plain_model(record.model),
        parameters=_made_with(record.parameters),
        usage=_figures(record.usage),
        timings=_figures(record.timings),
        pinned=record.pinned,
        summary=record.summary,
    )


def own_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a conversation can have; a wrong one would make it unusable."""
    return {name: value for name, value in values.items() if _is_own(name, value)}


def _is_own(name: str, value: Any) -> bool:
    if name in _NOT_A_PERSON_S:
        return False
    if name == "window":
        return value in POLICIES
    if name == "max_tokens":
        return isinstance(value, int) and 0 <= value <= _MOST_TOKENS
    if name in Sampling.model_fields:
        return _is(Sampling, name, value)
    # The draft model is called by its name, unlike what a worker is told.
    return name not in LoadSpec.model_fields or (
        isinstance(value, str) if name == "draft" else _is(LoadSpec, name, value)
    )


def _is(model: type[Sampling] | type[LoadSpec], name: str, value: Any) -> bool:
    needed = {"path": "/"} if model is LoadSpec else {}
    try:
        model.model_validate({**needed, name: value})
    except ValidationError:
        return False
    return True


def _made_with(parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """What an answer was made with. Its tokens are left out: read back, they would go to the model
    as they are, and a file could forge control tokens with them; its text says the same."""
    if parameters is None:
        return None
    made = {name: value for name, value in parameters.items() if name != _TOKENS}
    pieces = made.get(_PIECES)
    if pieces is not None and not (
        isinstance(pieces, list)
        and all(isinstance(one, dict) and _is_number(one.get("characters")) for one in pieces)
    ):
        del made[_PIECES]
    return made


def _plain_model(model: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a screen takes for a word is one, and a number is a number."""
    if model is None:
        return None
    return {
        name: value
        for name, value in model.items()
        if not (name in _WORDS and not isinstance(value, str | None))
        and not (name in _NUMBERS and not _is_number(value))
    }


def _figures(values: dict[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: value for name, value in values.items() if value is None or _is_number(value)}


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1 << 62  # An infinite one is not either.
    )
