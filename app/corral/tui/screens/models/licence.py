"""The licence of a model, shown in full and accepted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from corral.text import clean, shorten
from corral.tui.screens.modal import Bottom, Frame, Heading, Hints, Modal, Top

if TYPE_CHECKING:
    from corral.models.catalog import Licence


class LicenceScreen(Modal[bool]):
    """Gives True where the licence was accepted. Enter does not: nobody accepts by accident."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept", show=False),
        Binding("n", "close", show=False),
    ]

    def __init__(self, licence: Licence, text: str) -> None:
        super().__init__()
        self._licence = licence
        self._text = text

    def compose(self) -> ComposeResult:
        licence = self._licence
        with Frame(classes="-tall"):
            with Top():
                yield Heading(licence.title, "asked once")
            with VerticalScroll():
                yield Static(clean(self._text).strip(), markup=False, classes="text")
            with Bottom():
                if licence.url:
                    yield Static(shorten(licence.url, 200), markup=False, classes="muted")
                yield Hints(
                    [
                        ("a", "accept and download", "accept"),
                        ("Esc", "decline", "close"),
                        ("↑↓ PgUp PgDn", "read", ""),
                    ]
                )

    def action_accept(self) -> None:
        self.dismiss(True)

    def action_close(self) -> None:
        self.dismiss(False)
