"""The rows of conversations in the sidebar, and how headings and found passages look in them."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from corral.store.search import MATCH_END, MATCH_START
from corral.text import clean_line
from corral.tui import keys


class ConversationList(OptionList):
    """The rows."""

    class FoldWanted(Message):
        """The folder under the cursor, or around it, is to be folded or unfolded."""

        def __init__(self, folded: bool) -> None:
            super().__init__()
            self.folded = folded

    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, f"screen.{key.action}", key.text, show=False)
            for key in keys.group("sidebar")
            if key.action and key.keys != "enter"
        ),
        Binding("left", "fold(True)", show=False),
        Binding("right", "fold(False)", show=False),
    ]

    def action_fold(self, folded: bool) -> None:
        self.post_message(self.FoldWanted(folded))


def heading(text: str, *, first: bool) -> Option:
    return Option(Content(text if first else f"\n{text}"), disabled=True)


def is_inside(option: Option) -> bool:
    """Whether a row stands in the folder above it."""
    return str(option.prompt).startswith("  ") and not option.disabled


def marked(snippet: str) -> Content:
    """A snippet with its matches highlighted, and the first of them near its beginning."""
    line = " ".join(clean_line(snippet).split())
    start = line.find(MATCH_START)
    if start > 14:
        cut = line.find(" ", start - 14)
        line = "…" + line[cut + 1 if 0 <= cut < start else start :]
    parts: list[str | tuple[str, str]] = []
    while line:
        before, found, line = line.partition(MATCH_START)
        parts.append(before)
        if found:
            word, _, line = line.partition(MATCH_END)
            parts.append((word, "bold $primary"))
    return Content.assemble(*parts)
