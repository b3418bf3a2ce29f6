"""Asks for a folder; those that are there are offered while its name is typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from corral.text import clean_line, shorten
from corral.tui.screens.modal import Bottom, CleanInput, Frame, Heading, Hints, Modal, Top
from corral.tui.widgets.completion import Choice, Completion, matching

HINT = "A new name makes a new folder, Work/Trips one inside another; no name takes it out."


class FolderDialog(Modal[str | None]):
    """Gives the name of a folder as it was typed or chosen, "" for none, or None.

    Args:
        title: of what is filed; foreign text.
        folders: how many conversations each one holds.
        current: where it is now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("tab", "complete", show=False, priority=True),
    ]

    def __init__(self, title: str, folders: Mapping[str, int], current: str) -> None:
        super().__init__()
        self._title = title
        self._current = clean_line(current)
        self._choices = [
            Choice(clean_line(name), str(count) if count else "") for name, count in folders.items()
        ]
        self.completion = Completion()

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading("File into a folder", shorten(self._title, 40))
                yield Static(HINT, markup=False, classes="hint")
            yield CleanInput(self._current, placeholder="in no folder", select_on_focus=True)
            yield self.completion
            with Bottom():
                keys = [("Tab", "complete", "complete"), ("↑↓", "choose", "")]
                yield Hints(
                    [
                        *(keys if self._choices else []),
                        ("Enter", "file it", "submit"),
                        ("Esc", "cancel", "close"),
                    ]
                )

    def on_mount(self) -> None:
        self.completion.offer(self._choices, first=False)

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        if event.value != self._current or self.completion.choices != self._choices:
            self.completion.offer(matching(self._choices, event.value), first=False)

    def action_move(self, step: int) -> None:
        if self.completion.open:
            self.completion.move(step)

    def action_complete(self) -> None:
        if (choice := self.completion.chosen) is not None:
            field = self.query_one(Input)
            field.value = choice.text
            field.action_end()

    @on(Input.Submitted)
    def action_submit(self) -> None:
        choice = self.completion.chosen if self.completion.moved else None
        self.dismiss(choice.text if choice else self.query_one(Input).value.strip())

    @on(Completion.Picked)
    def _on_picked(self, event: Completion.Picked) -> None:
        event.stop()
        self.dismiss(event.choice.text)
