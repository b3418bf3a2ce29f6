"""The small list above the text while a command is typed: what it may become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events, on
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from corral.text import clean_line, shorten

MOST = 200
"""Rows that are offered; more words leave fewer."""

NAME_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to go on."""

    text: str
    """What comes into the box."""
    note: str = ""
    """A few words about it."""
    shown: str = ""
    """How it reads in the list, where that is not the text itself."""


def matching(choices: Sequence[Choice], typed: str) -> list[Choice]:
    """Those with every typed word, the ones that begin so first."""
    words = typed.casefold().split()
    start = typed.strip().casefold()

    def key(choice: Choice) -> str:
        return f"{choice.text} {choice.shown}".casefold()

    found = [one for one in choices if all(word in key(one) for word in words)]
    found.sort(key=lambda one: not one.text.casefold().startswith(start))
    return found


class Completion(OptionList, can_focus=False):
    """Shows choices; the keys stay with the text, which calls :meth:`move` and :attr:`chosen`."""

    class Picked(Message):
        """A choice was clicked."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self.choices: list[Choice] = []
        self.moved = False
        """Whether a person went to the highlighted choice, so that Enter means it."""
        self.display = False

    @property
    def open(self) -> bool:
        return self.display

    @property
    def chosen(self) -> Choice | None:
        """The highlighted one; the first where none is."""
        if not self.open or not self.choices:
            return None
        return self.choices[self.highlighted or 0]

    def offer(self, choices: Sequence[Choice], *, first: bool = True) -> None:
        """Show other choices, none to hide the list; the same again change nothing.

        Args:
            first: highlight the first one at once.
        """
        choices = list(choices)[:MOST]
        if choices == self.choices and self.open == bool(choices):
            return
        self.choices, self.moved = choices, False
        self.display = bool(choices)
        self._lay_out()
        self.highlighted = 0 if choices and first else None

    def hide(self) -> None:
        self.offer([])

    def move(self, step: int) -> None:
        """Go up or down, around the ends."""
        self.moved = True
        if self.highlighted is None:
            self.highlighted = 0 if step > 0 else len(self.choices) - 1
        else:
            self.highlighted = (self.highlighted + step) % len(self.choices)

    def on_resize(self, event: events.Resize) -> None:
        if self.open:
            highlighted = self.highlighted
            self._lay_out()
            self.highlighted = highlighted

    def _lay_out(self) -> None:
        names = [shorten(one.shown or one.text, NAME_WIDTH) for one in self.choices]
        width = max((Content(name).cell_length for name in names), default=0)
        # The notes go first where there is little room.
        room = self.container_size.width - 6 if self.container_size.width else 80
        self.set_options(
            Option(_row(name, clean_line(one.note), width, room))
            for name, one in zip(names, self.choices, strict=True)
        )

    @on(OptionList.OptionSelected)
    def _on_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Picked(self.choices[event.option_index]))

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()


def _row(name: str, note: str, width: int, room: int) -> Content:
    if not note or room - width < 12:
        return Content(name)
    padded = Content(name).truncate(width, ellipsis=True, pad=True)
    return Content.assemble(padded, ("  " + note, "$quiet"))
