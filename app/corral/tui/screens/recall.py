"""Everything that was ever asked, searched as it is typed: one of it comes back into the box."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.store.prompts import Prompt
from corral.text import clean, shorten
from corral.tui import wording
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
)
from corral.units import age

PAUSE = 0.12
"""Seconds after the last key before it is searched."""

SHOWN = 200
BEFORE_MATCH = 20
"""Characters that are shown before the first word that was found."""

DETAIL_LINES = 4

Find = Callable[[str, int], list[Prompt]]
"""Prompts with all the words, the latest first, and at most so many; called in a thread."""


class _Rows(OptionList, can_focus=False):
    """The prompts; the keys stay with the words that are typed."""


class RecallScreen(Modal[int | None]):
    """Gives the message that holds the chosen prompt.

    Args:
        wanted: words to begin with.
    """

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,ctrl+up", "move(-1)", show=False, priority=True),
        Binding("down,ctrl+down", "move(1)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("enter", "choose", show=False, priority=True),
    ]

    def __init__(self, find: Find, wanted: str = "") -> None:
        super().__init__()
        self._find = find
        self._wanted = wanted
        self._prompts: list[Prompt] = []
        self._words: list[str] = []
        self._searched = False
        self._pause: Timer | None = None

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Earlier prompts")
                yield CleanInput(
                    self._wanted,
                    placeholder="Words that occur in it",
                    classes="filter",
                    select_on_focus=False,
                )
            yield _Rows(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([("Enter", "take it up", "choose"), ("Esc", "close", "close")])

    def on_mount(self) -> None:
        self._search()

    # --- searching --------------------------------------------------------------------------------

    @on(Input.Changed)
    def _on_typed(self) -> None:
        if self._pause is not None:
            self._pause.stop()
        self._pause = self.set_timer(PAUSE, self._search)

    @work(exclusive=True, group="search")
    async def _search(self) -> None:
        if not self.is_open:
            return
        wanted = self.query_one(Input).value
        try:
            found = await asyncio.to_thread(self._find, wanted, SHOWN)
        except CorralError as error:
            if self.is_open:
                self.query_one(Notice).fail(error)
            return
        if self.is_open:
            self._prompts, self._words = found, wanted.casefold().split()
            self._searched = True
            self._show(0)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self, at: int | None = None) -> None:
        if not self._searched or not self.is_open:
            return
        options, now = self.query_one(OptionList), time.time()
        at = options.highlighted if at is None else at
        width = max(20, options.scrollable_content_region.width - 2)
        options.set_options(Option(_row(one, self._words, width, now)) for one in self._prompts)
        options.highlighted = min(at or 0, len(self._prompts) - 1) if self._prompts else None
        count = len(self._prompts)
        self.query_one(Heading).tell(f"the latest {count}" if count == SHOWN else str(count or ""))
        self.query_one(".detail").display = bool(self._prompts)
        nothing = "Nothing that you asked has these words" if self._words else "Nothing was asked"
        self.query_one(Notice).say("" if self._prompts else nothing)

    # --- choosing ---------------------------------------------------------------------------------

    @property
    def _prompt(self) -> Prompt | None:
        number = self.query_one(OptionList).highlighted
        return self._prompts[number] if number is not None and self._prompts else None

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        if (prompt := self._prompt) is None:
            return
        lines = [line for line in clean(prompt.head).split("\n") if line.strip()]
        more = "" if prompt.is_whole and len(lines) <= DETAIL_LINES else " …"
        text = "\n".join(lines[:DETAIL_LINES]) + more
        where = shorten(prompt.title, 60) or "a conversation without a title"
        about = f"in “{where}”"
        if not prompt.is_whole:
            about += f" · {wording.number(prompt.length)} characters"
        self.query_one(".detail", Static).update(
            Content.assemble((about + "\n", MUTED), _marked(text, self._words))
        )

    def action_move(self, step: int) -> None:
        options, count = self.query_one(OptionList), len(self._prompts)
        if count:
            options.highlighted = min(count - 1, max(0, (options.highlighted or 0) + step))

    @on(OptionList.OptionSelected)
    def action_choose(self) -> None:
        if (prompt := self._prompt) is not None:
            self.dismiss(prompt.message)


def _row(prompt: Prompt, words: list[str], width: int, now: float) -> Content:
    """One line of it, from a little before what was found; its age on the right."""
    when = f"{age(max(0.0, now - prompt.created))} ago"
    room = max(8, width - len(when) - 2)
    line = " ".join(clean(prompt.head).split())
    first = min((at for word in words if (at := line.casefold().find(word)) >= 0), default=0)
    if first > room - BEFORE_MATCH:
        line = "…" + line[first - BEFORE_MATCH :]
    text = _marked(line, words).truncate(room, ellipsis=True, pad=True)
    return Content.assemble(text, ("  " + when, MUTED))


def _marked(text: str, words: list[str]) -> Content:
    """The text with every found word in the accent's colour."""
    content, folded = Content(text), text.casefold()
    if len(folded) != len(text):  # Some letters fold into two: the places would be wrong.
        return content
    for word in words:
        at = folded.find(word)
        while at >= 0:
            content = content.stylize("bold $accent", at, at + len(word))
            at = folded.find(word, at + len(word))
    return content
