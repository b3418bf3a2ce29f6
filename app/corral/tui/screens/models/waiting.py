"""A slow call in a thread, and a box that says so when it takes longer than a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from textual import work
from textual.app import App, ComposeResult
from textual.widgets import Static

from corral.errors import CorralError
from corral.text import shorten
from corral.tui.asides import aside
from corral.tui.screens.modal import Bottom, Frame, Heading, Hints, Modal, Top

PATIENCE = 0.3
"""Seconds after which the box is shown: what is over sooner should not flash."""

T = TypeVar("T")


class Waiting(Modal["Outcome | None"]):
    """Runs a call; gives its outcome, or None where somebody did not want to wait for it."""

    def __init__(self, title: str, text: str, call: Callable[[], Any]) -> None:
        super().__init__()
        self._heading = title
        self._text = text
        self._call = call

    @classmethod
    async def run(
        cls, app: App[Any], title: str, text: str, call: Callable[..., T], *arguments: Any
    ) -> T | None:
        """What ``call`` gives; None where the person pressed Esc meanwhile.

        Raises:
            CorralError: as the call does.
        """
        outcome = await app.push_screen_wait(cls(title, text, lambda: call(*arguments)))
        return outcome.value() if outcome is not None else None

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading(self._heading)
            yield Static(shorten(self._text, 200), markup=False, classes="line")
            with Bottom():
                yield Hints([("Esc", "cancel", "close")])

    def on_mount(self) -> None:
        self.add_class("-hidden")
        self.set_timer(PATIENCE, lambda: self.remove_class("-hidden"))
        self._run()

    @work
    async def _run(self) -> None:
        try:
            outcome = Outcome(await aside(self._call))
        except CorralError as error:
            outcome = Outcome(error=error)
        if self.is_open:
            self.dismiss(outcome)


class Outcome:
    """What a call gave, or why it failed."""

    def __init__(self, given: Any = None, error: CorralError | None = None) -> None:
        self._given = given
        self._error = error

    def value(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._given
