"""A conversation is a tree of messages with one active path through it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant"]
Status = Literal["complete", "streaming", "stopped", "failed"]
StopReason = Literal["end", "length", "stopped", "error"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message; an answer also carries where it came from.

    ``model``, ``usage`` and ``timings`` are the objects of the command line's ``done`` line
    (see the contract in the README of the command line): plain JSON values.
    """

    id: int
    conversation: int
    parent: int | None
    role: Role
    text: str
    status: Status
    created: float
    """Seconds since the epoch."""
    stop_reason: StopReason | None = None
    error: str | None = None
    """Why it failed, in one plain sentence."""
    model: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    pinned: bool = False
    """Stays in what the model sees, whatever the window's policy leaves out."""
    summary: str = ""
    """What stands for everything above this message in what the model sees; "" is nothing."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a list of conversations shows, and what a turn needs besides the messages."""

    id: int
    title: str
    created: float
    updated: float
    messages: int = 0
    """How many messages the tree holds."""
    titled: bool = False
    """True once a person gave the title; a title made from the first message gives way to it."""
    pinned: bool = False
    archived: bool = False
    system: str = ""
    model: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    """The person's own sampling and load parameters; defaults are not stored."""
    active: int | None = None
    """The last message of the active path; None while there is no message."""
    draft: str = ""
    answered_by: str | None = None
    """Name of the model that gave the last answer of the active path."""
    folder: str = ""
    """Where a person filed it; levels are separated by ``/``, "" is none."""
    preset: str = ""
    """Name of the persona or task it was begun with, "" is none."""
    origin: str = ""
    """Which conversation of another history it is a copy of, "" for one's own."""


def active_path(messages: Iterable[Message], leaf: int | None) -> list[Message]:
    """The messages from the root to ``leaf``, oldest first; none where ``leaf`` is not there."""
    by_id = {message.id: message for message in messages}
    path: list[Message] = []
    while leaf is not None and (message := by_id.pop(leaf, None)) is not None:
        path.append(message)
        leaf = message.parent
    path.reverse()
    return path


def siblings(messages: Iterable[Message], message: Message) -> list[Message]:
    """All messages with the same parent and role, oldest first, ``message`` among them."""
    return sorted(
        (m for m in messages if m.parent == message.parent and m.role == message.role),
        key=lambda m: m.id,
    )


def latest_leaf(messages: Iterable[Message], start: int) -> int:
    """The newest leaf below ``start``: where walking to a sibling should land."""
    children: dict[int | None, list[int]] = {}
    for message in messages:
        children.setdefault(message.parent, []).append(message.id)
    while below := children.pop(start, None):  # Each only once, also in a damaged tree.
        start = max(below)
    return start


def title_from(text: str, width: int = 48) -> str:
    """A title made of the first line of the first message, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    cut = line[: width - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[width // 2 :] else cut).rstrip(" ,.;:-") + "…"
