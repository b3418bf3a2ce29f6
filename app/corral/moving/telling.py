"""What every readable export tells in the same words: who wrote what, when, with which model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from corral import __version__
from corral.chat import texts
from corral.chat.conversation import Conversation, Message, active_path
from corral.store.moving import Whole

_UNSEEN: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
    **dict.fromkeys((0x2028, 0x2029), 0x0A),
}
"""What a terminal would obey. Everything else stays: scripts that are written from the right need
their marks, and a Makefile its tabs."""


_NUMBERS = ("ids", "pieces", "edited_from")
"""Parameters of an answer that only mean something to the program, as do those of the window."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message as it is read: who, when, the words, and what is known of their making."""

    who: str
    role: str
    when: str
    text: str
    ending: str
    """How the answer ended, where that is worth a word."""
    pinned: bool
    summary: str
    """What stands for everything above it in what the model sees."""
    facts: tuple[tuple[str, str], ...]
    """Label and value."""


@dataclass(frozen=True, slots=True)
class Told:
    """A conversation as it is read: the active path."""

    title: str
    facts: tuple[tuple[str, str], ...]
    system: str
    said: tuple[Said, ...]
    elsewhere: int
    """Messages on other branches, which only JSON holds."""


def tell(whole: Whole, exported: float) -> Told:
    """A conversation in words.

    Args:
        exported: seconds since the epoch.
    """
    path = active_path(whole.messages, whole.conversation.active)
    return Told(
        title=line(whole.conversation.title) or "Untitled",
        facts=tuple(_facts(whole.conversation, len(whole.messages), exported)),
        system=plain(whole.conversation.system),
        said=_as_text(path) if texts.is_text(whole.conversation) else tuple(map(_said, path)),
        elsewhere=len(whole.messages) - len(path),
    )


def plain(text: str) -> str:
    """Text without anything a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_UNSEEN)


def line(text: str) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())


def moment(seconds: float) -> str:
    """A date with its time and zone: ``2026-11-21 16:20:05 +01:00``."""
    try:
        stamp = datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):
        return "unknown"
    return f"{stamp[:19]} {stamp[19:]}"


def _facts(conversation: Conversation, messages: int, exported: float) -> Iterator[tuple[str, str]]:
    yield "Begun", moment(conversation.created)
    yield "Last used", moment(conversation.updated)
    yield "Messages", str(messages)
    for label, value in (
        ("Model", conversation.model or ""),
        ("Folder", conversation.folder),
        ("Preset", conversation.preset),
    ):
        if value:
            yield label, line(value)
    if conversation.parameters:
        yield "Parameters", _listed(conversation.parameters)
    yield "Exported", f"{moment(exported)} by corral {__version__}"


def _said(message: Message) -> Said:
    model = message.model or {}
    title, quant = str(model.get("title") or model.get("name") or ""), str(model.get("quant") or "")
    who = "You" if message.role == "user" else line(title) or "Answer"
    if message.role == "assistant" and title and quant:
        who += f" · {line(quant)}"
    return Said(
        who=who,
        role=message.role,
        when=moment(message.created),
        text=plain(message.text),
        ending=_ending(message),
        pinned=message.pinned,
        summary=plain(message.summary),
        facts=tuple(_provenance(message)) if message.role == "assistant" else (),
    )


def _as_text(path: Sequence[Message]) -> tuple[Said, ...]:
    """A text as the one thing it is, and who wrote how much of it."""
    text = texts.joined(path)
    if not text:
        return ()
    shares: Counter[str] = Counter()
    for message in path:
        shares[_said(message).who] += len(message.text)
    facts = [(who, f"{100 * size / len(text):.0f} % of the text") for who, size in shares.items()]
    facts += _provenance(path[-1]) if path[-1].model else ()
    return (
        replace(_said(path[-1]), who="Text", role="user", text=plain(text), facts=tuple(facts)),
    )


def _ending(message: Message) -> str:
    if message.role == "assistant" and "edited_from" in (message.parameters or {}):
        return "edited by hand"
    if message.status == "failed":
        return f"failed: {line(message.error)}" if message.error else "failed"
    if message.status in ("stopped", "streaming"):
        return "stopped"
    return "ended by the token limit" if message.stop_reason == "length" else ""


def _provenance(message: Message) -> Iterator[tuple[str, str]]:
    model, usage, timings = message.model or {}, message.usage or {}, message.timings or {}
    names = [str(model[key]) for key in ("name", "quant") if model.get(key)]
    if names:
        yield "Model", line(" · ".join(names))
    for label, key in (("File", "file"), ("SHA-256", "sha256"), ("Source", "source")):
        if model.get(key):
            yield label, line(str(model[key]))
    told = ("name", "title", "quant", "file", "sha256", "source")
    loaded = {key: value for key, value in model.items() if key not in told}
    if loaded:
        yield "Loaded with", _listed(loaded)
    made = message.parameters or {}
    shown = {k: v for k, v in made.items() if not k.startswith("window_") and k not in _NUMBERS}
    if shown:
        yield "Parameters", _listed(shown)
    if isinstance(pieces := made.get("pieces"), list) and pieces:
        yield "Parts", f"{len(pieces) + 1}, one behind the other"
    if usage:
        yield "Tokens", _listed(usage)
    if timings:
        yield "Timings", _listed(timings)


def _listed(values: Mapping[str, Any]) -> str:
    """``temperature 0.6, top_p 0.9``; what is not set is left out."""
    parts = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, float):
            shown = f"{value:.6g}"
        elif isinstance(value, str | int):
            shown = str(value)
        else:
            shown = json.dumps(value, ensure_ascii=False, default=str)
        parts.append(f"{name} {shown}")
    return line(", ".join(parts))
