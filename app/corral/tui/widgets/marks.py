"""What stands between messages about what the model sees: lines, and summaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from corral.chat.conversation import Message
from corral.chat.window import Seen
from corral.text import clean
from corral.tui.widgets.line import Line

LONGEST = 8_000
"""Characters of a summary that are shown."""


class Marks(NamedTuple):
    """What stands above one message."""

    ends: Literal["", "top", "gap"] = ""
    """A gap ends here, that began with the first message or later."""
    begins: bool = False
    summary: str = ""

    def widgets(self) -> list[Widget]:
        """The lines and the summary, from above."""
        above: list[Widget] = [WindowLine(_ENDS[self.ends])] if self.ends else []
        if self.summary:
            above.append(SummaryBlock(self.summary))
        return [*above, WindowLine(_BEGINS)] if self.begins else above


NO_MARKS = Marks()
MARKS = "WindowLine, SummaryBlock"
"""Selects them."""


def marks_of(path: Sequence[Message], seen: Seen) -> dict[int, Marks]:
    """The marks of a path, by message."""
    below = {message.id for message in path[1:]} if seen.gaps else set()
    marks: dict[int, Marks] = {}
    for begin, end in seen.gaps:
        if begin in below:
            marks[begin] = Marks(begins=True)
        # The beginning of a long path may not be read yet.
        marks[end] = Marks(ends="gap" if begin in below else "top")
    if seen.summary_at is not None:
        for message in path:
            if message.id == seen.summary_at:
                before = marks.get(message.id, NO_MARKS)
                marks[message.id] = before._replace(summary=message.summary.strip())
    return marks


_ENDS = {
    "top": "the model no longer sees anything above this line",
    "gap": "the model sees again from here on",
}
_BEGINS = "the model no longer sees what follows"


class WindowLine(Line):
    """Says where what the model sees begins, and where it ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def render(self) -> Content:
        width = self.content_size.width
        said = Content.assemble(("── ", "$faint"), (f"{self._text} ", "$quiet"))
        return said.append_text("─" * max(0, width - said.cell_length), "$faint")


class SummaryBlock(Static):
    """What stands for the messages above it in what the model sees."""

    def __init__(self, summary: str) -> None:
        heading = ("Summary of what is above · s edits it", "$quiet")
        shown = Content.assemble(heading, "\n", clean(summary[:LONGEST]))
        super().__init__(shown, markup=False)
