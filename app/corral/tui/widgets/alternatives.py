"""The likeliest tokens at a place of a text, in a small list under the editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.text import clean_line
from corral.tui.wording import meter

if TYPE_CHECKING:
    from corral.engine.protocol import LikelyToken
    from corral.likeliest import Alternatives as Found

BAR = 12
"""Cells of the longest bar."""


class Alternatives(Vertical):
    """↑ ↓ choose one, Enter takes it, ← → look at the token before and after."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "look(-1)", show=False),
        Binding("right", "look(1)", show=False),
    ]

    class Taken(Message):
        """One of them is to stand in the text."""

        def __init__(self, token: LikelyToken) -> None:
            super().__init__()
            self.token = token

    class Look(Message):
        """Another place is to be looked at."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self) -> None:
        super().__init__(classes="alternatives")
        self.found: Found | None = None
        self._list = OptionList()
        self._heading = Static("", markup=False, classes="line muted-line")

    def compose(self) -> ComposeResult:
        yield self._heading
        yield self._list

    @property
    def has_keys(self) -> bool:
        """Whether the keys go to it."""
        return self._list.has_focus

    def take_keys(self) -> None:
        self._list.focus()

    def wait(self, text: str) -> None:
        """Say what goes on before there is anything to show."""
        self._heading.update(Content(clean_line(text)))

    def tell(self, found: Found) -> None:
        """Show what was found, with the mark at the token that stands there."""
        self.found = found
        self._draw()
        tokens = [one.token for one in found.tokens]
        chosen = found.chosen
        self._list.highlighted = tokens.index(chosen) if chosen in tokens else 0

    def on_resize(self, _event: events.Resize) -> None:
        if self.found is not None:
            at = self._list.highlighted
            self._draw()
            self._list.highlighted = at

    def _draw(self) -> None:
        found = self.found
        assert found is not None
        what = "What could stand here" if found.chosen is not None else "What could come next"
        note = " · plain softmax, temperature 1" if self.size.width >= 56 else ""
        self._heading.update(Content.assemble((what, "bold"), (note, "$foreground-muted")))
        self._list.clear_options()
        self._list.add_options([Option(_row(one, found)) for one in found.tokens])

    @on(OptionList.OptionSelected)
    def _on_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self.found is not None:
            self.post_message(self.Taken(self.found.tokens[event.option_index]))

    def action_look(self, step: int) -> None:
        self.post_message(self.Look(step))


def _row(one: LikelyToken, found: Found) -> Content:
    """``61.32 %  ▰▰▰▰▰▰▱▱  ·llama  stands there``"""
    share = f"{100 * one.probability:6.2f} %"
    bar = meter(one.probability, BAR)
    style = "" if one.kind == "text" else "$foreground-muted"
    here = "  stands here" if one.token == found.chosen else ""
    return Content.assemble(
        share,
        "  ",
        (bar, "$accent"),
        "  ",
        (shown(one), style),
        (here, "$foreground-muted"),
    )


def shown(one: LikelyToken) -> str:
    """A token as a person reads it: spaces and line breaks have signs."""
    if one.kind != "text":
        what = "the end" if one.kind == "control" else "part of a character"
        return f"{clean_line(one.text)}  {what}"
    return clean_line(one.text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "·"))
