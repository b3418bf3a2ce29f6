"""The first frame: the outline of the chat screen, there before the chat screen can be.

It imports nothing but Textual's core, and keeps what is typed until there is a box to type in.
"""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from corral.text import clean_line
from corral.tui import keys
from corral.tui.widgets.line import Line, Part


class Entrance(Screen[None]):
    """Header, sidebar, box and keys as empty outlines, in the places the real ones will have."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012 - as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012 - as in Textual

    def __init__(self, *, sidebar: bool = True) -> None:
        super().__init__(classes="" if sidebar else "-no-sidebar")
        self.typed = ""
        """What came from the keyboard meanwhile."""
        self.message = ""
        """What was typed before Enter: to be sent as soon as somebody can answer."""

    def compose(self) -> ComposeResult:
        yield Line(
            [Part("▲", "bold $primary"), Part("corral", "bold $primary", 3)],
            separator=" ",
            id="header",
        )
        with Horizontal(id="rooms"):
            yield Static(
                Content.styled(" ⌕ search all chats", "$text-muted"), id="sidebar", markup=False
            )
            with Vertical(id="room"):
                yield Vertical()
                yield Static(
                    Content.styled("Ask anything", "$text-muted"), id="prompt", markup=False
                )
        footer = [key for key in keys.KEYS if key.footer and key.action != "stop"]
        footer.sort(key=lambda key: key.action == "command_palette")
        parts = [
            Part(key.footer, "$text-muted", rank, key=key.short)
            for rank, key in enumerate(footer, 1)
        ]
        yield Line(parts[:-1], parts[-1:], separator="   ", id="keys")

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            if self.typed.strip() and not self.message:
                self.message, self.typed = self.typed, ""
        elif event.is_printable and event.character:
            self.typed += event.character
        elif event.key == "ctrl+j":
            self.typed += "\n"
        elif event.key == "backspace":
            self.typed = self.typed[:-1]
        self._show_typed()

    def on_paste(self, event: events.Paste) -> None:
        self.typed += event.text
        self._show_typed()

    def _show_typed(self) -> None:
        if self.typed or self.message:
            line = self.typed.rpartition("\n")[2][-200:]
            self.query_one("#prompt", Static).update(Content(clean_line(line)))
