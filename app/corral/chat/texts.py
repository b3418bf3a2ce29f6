"""Texts that a person and a model write together: a conversation whose format is completion.

A text is the concatenation of the messages along the active path, to the letter: what the person
wrote is by ``user``, what the model wrote by ``assistant``, and any may follow any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from corral.chat.conversation import Conversation, Message
from corral.chat.formats import COMPLETION

FORMAT = "format"
"""Parameter of a conversation that says it is a text."""

TEXT_FROM = "window_text_from"
"""Parameter of a piece: so many characters at the beginning of the text the model did not see."""

ENOUGH = 16
"""Characters of unchanged text behind a change that are worth being told apart from it."""


class Piece(NamedTuple):
    """A piece of a text that is still to be stored."""

    text: str
    source: int | None
    """The message it is a part of, or all of; None for what the person wrote now."""


class Change(NamedTuple):
    """How a text became another one."""

    kept: int
    """How many pieces at the beginning stay whole."""
    pieces: list[Piece]
    """What comes behind them now."""


def is_text(conversation: Conversation | None) -> bool:
    """Whether a conversation is one text, and no dialogue."""
    return conversation is not None and conversation.parameters.get(FORMAT) == COMPLETION.name


def joined(path: Iterable[Message]) -> str:
    """The text of a path."""
    return "".join(message.text for message in path)


def seen_from(path: Sequence[Message]) -> int:
    """Where in its text the model's view began when it last wrote; 0 is the beginning."""
    for message in reversed(path):
        if message.role == "assistant" and message.model:
            start = (message.parameters or {}).get(TEXT_FROM)
            return start if isinstance(start, int) and start > 0 else 0
    return 0


def change(before: Sequence[tuple[int, str]], after: str) -> Change | None:
    """What a text became by an edit, in the pieces it has then; None where it is the same.

    Whose words they are stays known: only what was changed is the person's.

    Args:
        before: message and text of each piece.
    """
    old = "".join(text for _, text in before)
    if old == after:
        return None
    start = _common(old, after)
    end = _common(old[start:][::-1], after[start:][::-1])
    if end < ENOUGH:
        end = 0
    kept, at = 0, 0
    while kept < len(before) and at + len(before[kept][1]) <= start:
        at += len(before[kept][1])
        kept += 1
    found: list[Piece] = []
    if start > at:
        found.append(Piece(old[at:start], before[kept][0]))
    if new := after[start : len(after) - end]:
        found.append(Piece(new, None))
    found += _tail(before, len(old) - end)
    return Change(kept, found)


def _tail(before: Sequence[tuple[int, str]], start: int) -> Iterable[Piece]:
    """The pieces from a place of the text on, the first one perhaps in part."""
    at = 0
    for id, text in before:
        if text and at + len(text) > start:
            yield Piece(text[max(0, start - at) :], id)
        at += len(text)


def spans(before: Sequence[tuple[bool, str]], after: str) -> list[tuple[int, int]]:
    """Where the model's words stand in a text that was perhaps edited since.

    Args:
        before: for each piece, whether the model wrote it, and its text.
    """
    wrote = dict(enumerate(model for model, _ in before))
    numbered = [(number, text) for number, (_, text) in enumerate(before)]
    changed = change(numbered, after)
    whole = numbered if changed is None else numbered[: changed.kept]
    parts = [(text, wrote[number]) for number, text in whole]
    if changed is not None:
        parts += [(text, source is not None and wrote[source]) for text, source in changed.pieces]
    found: list[tuple[int, int]] = []
    at = 0
    for text, model in parts:
        if model and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + len(text))
        elif model and text:
            found.append((at, at + len(text)))
        at += len(text)
    return found


def _common(a: str, b: str) -> int:
    """How many characters at the beginning are the same; slices are compared in C."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
