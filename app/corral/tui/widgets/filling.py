"""How many messages fill the screen, before any of them is a widget."""

from __future__ import annotations

from collections.abc import Iterable

from textual.geometry import Size

from corral.chat.conversation import Message

MOST = 30
"""Most messages that are widgets at once, but for pages that are being swapped."""

SCREENS = 2.0
"""How many screens of text are mounted when a conversation is opened."""


def fitting(messages: Iterable[Message], size: Size) -> int:
    """How many of the messages, in this order, fill so many screens; at least two."""
    width, height = max(20, size.width or 80), max(10, size.height or 24)
    rows = count = 0
    for message in messages:
        rows += 4 + min(600, len(message.text) // width + message.text.count("\n"))
        count += 1
        if count >= MOST or (count > 1 and rows > height * SCREENS):
            break
    return count
