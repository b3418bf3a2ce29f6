"""The first and the last line of the models screen: what the machine has, and what keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corral.tui.keys import group
from corral.tui.screens.help import key_line
from corral.tui.screens.modal import Bottom, Frame, Heading, Hints, Modal, Top
from corral.tui.screens.models.entries import Entry
from corral.tui.widgets.line import Line, Part
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.fit.machine import Machine


class MachineLine(Line):
    """▲ corral, Models, and what is free of memory, graphics memory and disk."""

    def __init__(self) -> None:
        super().__init__(_title(), separator="   ", classes="machine")

    def tell(self, machine: Machine, disk: int) -> None:
        """Show these; ``disk`` in free bytes where downloads go."""
        self.show(_title(), _facts(machine, disk))


def _title() -> list[Part]:
    return [Part("▲ corral", "bold $primary", 4), Part("Models", "bold")]


def _facts(machine: Machine, disk: int) -> list[Part]:
    memory = f"{machine.memory_available / 1e9:.1f} of {gigabytes(machine.memory_total)} free"
    parts = [_fact("RAM", memory, 1)]
    if devices := machine.devices:
        total = sum(one.memory_total for one in devices)
        free = sum(one.memory_free for one in devices)
        name = "GPU" if len(devices) == 1 else f"{len(devices)} GPUs"
        parts.append(_fact(name, f"{free / 1e9:.1f} of {gigabytes(total)} free", 2))
    return [*parts, _fact("disk", f"{disk / 1e9:.0f} GB free", 3)]


def _fact(name: str, value: str, rank: int) -> Part:
    return Part(Content.assemble((name, "$quiet"), " ", value), "", rank)


class KeysScreen(Modal[None]):
    """Every key of the models screen."""

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading("Models", "keys")
            with VerticalScroll():
                lines = Content("\n").join([key_line(key) for key in group("models")])
                yield Static(lines, markup=False, classes="text")
            with Bottom():
                yield Hints([("↑↓", "scroll", ""), ("Esc", "close", "close")])


class Keys(Line):
    """The keys that do something with the highlighted row; each can be clicked."""

    def __init__(self) -> None:
        super().__init__(separator="  ", classes="keys")

    def tell_filter(self) -> None:
        """Show what works while a filter is typed."""
        self.show(
            [Part("to the list", "$quiet", key="Enter"), Part("move", "$quiet", 2, key="↑↓")],
            [Part("show all again", "$quiet", 0, "screen.close", "Esc")],
        )

    def tell(self, entry: Entry | None, downloads: int, *, more: str) -> None:
        """Show what can be done with ``entry``.

        Args:
            downloads: how many there are.
            more: what ``m`` would show.
        """
        words = _words(entry, downloads, more)
        parts = []
        for rank, action in enumerate(words, 1):
            key = next(key for key in group("models") if key.action == action)
            parts.append(Part(words[action], "$quiet", rank, f"screen.{action}", key.short))
        closing = Part("close", "$quiet", 2, "screen.close", "Esc")
        self.show(parts, [Part("keys", "$quiet", 9, "screen.help", "F1"), closing])


def _words(entry: Entry | None, downloads: int, more: str) -> dict[str, str]:
    """A word for each action that makes sense, the most useful first."""
    words: dict[str, str] = {}
    if entry is not None:
        model, download = entry.model, entry.download
        if download is not None:
            going = download.state in ("running", "queued")
            words["pause"] = "pause" if going else "resume"
            words["cancel"] = "cancel"
            if downloads > 1:
                words["forward(-1)"] = "sooner"
                words["forward(1)"] = "later"
        elif model.state == "installed":
            words["choose"] = "choose"
        elif model.state == "available":
            words["choose"] = "download"
        if entry.verifying is not None:
            words["cancel"] = "cancel"
    words |= {"filter": "filter"} | ({"every": more} if more else {})
    words |= {"import_file": "import", "adopt": "adopt", "search_hub": "hub"}
    if entry is not None and entry.model.path and entry.download is None:
        words |= {"verify": "verify", "remove": "remove"}
    words |= {"details": "details", "sort": "sort", "clean_up": "clean up"}
    if entry is not None and entry.model.state == "installed":
        words["set_format"] = "format"
    return words
