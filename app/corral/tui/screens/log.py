"""The engine's log: its last lines, and whatever is added while one looks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Log

from corral.tui import toasts
from corral.tui.screens.modal import Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.tui.screens.models.words import shown_path
from corral.tui.screens.tailing import MOST_LINES, Tail
from corral.units import thousands

SECONDS = 0.5
"""How often the file is looked at."""


class LogScreen(Modal[None]):
    """Follows a log while it is open; stays where one has scrolled to.

    Args:
        path: the file; it may not exist yet.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("c", "copy", show=False)]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._tail = Tail(path)

    def compose(self) -> ComposeResult:
        with Frame():
            with Top():
                yield Heading("The engine's log", shown_path(str(self._path)))
                yield Notice()
            yield Log(highlight=False, auto_scroll=False)
            with Bottom():
                yield Hints(
                    [("↑↓←→", "scroll", ""), ("c", "copy", "copy"), ("Esc", "close", "close")]
                )

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        self._follow()
        self.set_interval(SECONDS, self._follow)

    @work(exclusive=True, group="follow")
    async def _follow(self) -> None:
        notice = self.query_one(Notice)
        try:
            fresh, text = await asyncio.to_thread(self._tail.read)
        except FileNotFoundError:
            notice.say("There is no log yet: the engine has not run, or it had nothing to say.")
            return
        except OSError as error:
            reason = error.strerror or "it is not a file"
            notice.say(f"The log cannot be read: {reason}", error=True)
            return
        self._add(fresh, text)
        notice.say("" if self.query_one(Log).line_count else "The log is empty.")

    def _add(self, fresh: bool, text: str) -> None:
        log = self.query_one(Log)
        at_end = fresh or log.is_vertical_scroll_end
        if not fresh and log.line_count > 2 * MOST_LINES:
            # Seldom, so that what stands on the screen does not move with every line.
            text = "\n".join(log.lines[-MOST_LINES:]) + text
            fresh = True
        if fresh:
            log.clear()
        if text:
            log.write(text, scroll_end=at_end)

    def action_copy(self) -> None:
        log = self.query_one(Log)
        lines = log.lines[: log.line_count]
        if lines:
            self.app.copy_to_clipboard("\n".join(lines))
            count = "1 line" if len(lines) == 1 else f"{thousands(len(lines))} lines"
            toasts.say(self, f"Copied {count} of the log")
