"""One contender's answer in the compare screen, as it grows, and the table of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic, perf_counter, thread_time

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corral.chatting import Words, Working
from corral.comparing import FIGURES
from corral.text import clean, shorten
from corral.tui import wording
from corral.tui.screens.modal import MUTED
from corral.tui.widgets.markdown import AnswerMarkdown
from corral.tui.widgets.message import (
    ANSWER_LENGTH,
    ANSWER_LINES,
    COST_SHARE,
    LONGEST_GAP,
    SHORTEST_GAP,
    cut,
    remainder,
)

ROOMY = 62
"""Cells from which on the table has all of its columns."""


class Pane(Vertical):
    """Text that grows at a pace the screen can afford; nothing is rendered while it is hidden."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.text = ""
        """All of it, uncleaned."""
        self._working = "Starting"
        """What goes on before the words come."""
        self._tokens = 0
        self._since = 0.0
        self._shown = ""
        self._gap = SHORTEST_GAP
        self._last = 0.0
        self._writing = asyncio.Lock()
        self._title = Static("", markup=False, classes="title")
        self._body = AnswerMarkdown("")
        self._rest = Static("", markup=False, classes="note")
        self._state = Static("", markup=False, classes="note")

    def compose(self) -> ComposeResult:
        yield self._title
        with VerticalScroll(can_focus=False):
            yield self._body
            yield self._rest
        yield self._state

    @property
    def scroll(self) -> VerticalScroll:
        return self.query_one(VerticalScroll)

    def head(self, title: str, *, current: bool) -> None:
        """What stands above the text."""
        self._title.update(Content(shorten(title, max(8, self.size.width - 2))))
        self.set_class(current, "-current")

    def tell(self, state: Content, *, layout: bool = True) -> None:
        """What stands below it.

        Args:
            layout: whether it may take more lines than before.
        """
        self._state.update(state, layout=layout)

    async def grow(self, *, everything: bool = False) -> None:
        """Show what came since the last time, unless that was just now or nobody would see it."""
        if not self.display or (not everything and perf_counter() - self._last < self._gap):
            return
        async with self._writing:
            whole = self.text  # More comes while this is shown.
            at = cut(whole, ANSWER_LINES, ANSWER_LENGTH)
            text = whole[:at]
            if not everything and text.endswith("\r"):
                text = text[:-1]
            if text == self._shown:
                return
            spent, at_end = thread_time(), self.scroll.is_vertical_scroll_end
            if text.startswith(self._shown):
                await self._body.append(clean(text[len(self._shown) :]))
            else:
                await self._body.update(clean(text))
            self._shown = text
            more = remainder(whole, at)
            self._rest.update(Content(more))
            self._rest.display = bool(more)
            if everything:
                self._body.finish()
            elif at_end:
                self.scroll.scroll_end(animate=False)
            self._last = perf_counter()
            cost = thread_time() - spent
            self._gap = min(LONGEST_GAP, max(SHORTEST_GAP, COST_SHARE * cost))

    def take(self, event: Words | Working) -> None:
        """What is told while it is written."""
        if isinstance(event, Words):
            self.text += event.text
            self._tokens, self._working = event.tokens, ""
            self._since = self._since or monotonic()
        else:
            text, fraction = wording.progress(event, "")
            self._working = text + (f" {100 * fraction:.0f} %" if fraction is not None else "")

    @property
    def progress(self) -> str:
        """How far it is: ``Loading 40 %``, ``80 tokens · 12.3 tok/s``."""
        if self._working:
            return self._working
        elapsed = monotonic() - self._since
        rate = [wording.speed(self._tokens / elapsed)] if elapsed > 0.5 else []
        return " · ".join([wording.tokens(self._tokens), *rate])


def table(rows: Sequence[tuple[str, tuple[str, ...]]], at: int, width: int, most: int) -> Content:
    """A line a contender, below the names of its figures.

    Args:
        rows: what it is called, and its figures as :data:`corral.comparing.FIGURES` names them.
        at: the current one, which is always among those shown.
        most: rows there is room for.
    """
    columns = range(len(FIGURES)) if width >= ROOMY else (0, 1, 4)
    widths = [max(len(FIGURES[c]), *(len(row[c]) for _, row in rows)) for c in columns]
    left = max(8, width - sum(widths) - 2 * len(widths) - 2)
    head = "".join(f"  {FIGURES[c].rjust(w)}" for c, w in zip(columns, widths, strict=True))
    lines = [Content.styled(" " * (left + 2) + head, MUTED)]
    first = max(0, min(at - most // 2, len(rows) - most))
    for number, (label, row) in list(enumerate(rows))[first : first + most]:
        cells = "".join(f"  {row[c].rjust(w)}" for c, w in zip(columns, widths, strict=True))
        name = Content(("▸ " if number == at else "  ") + shorten(label, left))
        line = Content.assemble(name.truncate(left + 2, pad=True), cells)
        lines.append(line.stylize("bold") if number == at else line)
    return Content("\n").join(lines)
