"""Bringing in a model file: asking for its path, and showing how far its check has come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from corral.text import shorten
from corral.tui.screens.completing import complete, typed_path
from corral.tui.screens.journey import JourneyScreen, bytes_line
from corral.tui.screens.modal import Bottom, CleanInput, Frame, Heading, Hints, Modal, Top

if TYPE_CHECKING:
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel

PATH_HINT = "The path of a GGUF file. How it comes in is asked next; it may stay where it lies."

HOWS = [
    ("in place", "Use it where it lies\tnothing is copied or moved"),
    ("hard link", "Hard link\ta second name in corral's folder, no space used"),
    ("move", "Move it\tit leaves its folder for corral's"),
    ("copy", "Copy it\tthe file stays, its size is needed once more"),
]
"""Ways to take a file in, the one that changes nothing first."""

_WHAT = {
    "in place": "It is read once, to check it and to know it again. It stays where it is.",
    "hard link": "It is read once, to check it. It gets a second name; no space is used.",
    "move": "It is checked first, then moved. Until that is done it stays where it is.",
    "copy": "It is copied and checked. The file itself stays as it is.",
}
How = Literal["in place", "hard link", "move", "copy"]
NAMES_SHOWN = 6


class PathDialog(Modal[str | None]):
    """Asks for the path of a file; Tab completes it. Gives what was typed, or None.

    Args:
        value: what stands in the field at first.
        hint: one sentence above it.
        endings: of the files that are offered besides folders.
        kind: what such a file is called.
        yes: what Enter does.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False, priority=True),
    ]

    def __init__(
        self,
        value: str = "~/",
        title: str = "Import a model file",
        hint: str = PATH_HINT,
        *,
        endings: tuple[str, ...] = (".gguf",),
        kind: str = "GGUF file",
        yes: str = "go on",
    ) -> None:
        super().__init__()
        self._value = value
        self._heading = title
        self._hint = hint
        self._endings = endings
        self._kind = kind
        self._yes = yes
        self._completed = ""

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading(self._heading)
                yield Static(self._hint, markup=False, classes="hint")
            yield CleanInput(self._value, select_on_focus=False)
            yield Static("", markup=False, classes="names")
            with Bottom():
                yield Hints(
                    [
                        ("Tab", "complete", "complete"),
                        ("Enter", self._yes, "submit"),
                        ("Esc", "cancel", "close"),
                    ]
                )

    @on(Input.Submitted)
    def action_submit(self) -> None:
        typed = self.query_one(Input).value.strip()
        if typed:
            self.dismiss(typed)

    @work(exclusive=True)
    async def action_complete(self) -> None:
        field = self.query_one(Input)
        typed = field.value
        text, names = await asyncio.to_thread(complete, typed, self._endings)
        if field.value != typed:
            return
        self._completed = text
        if text != typed:
            field.value = text
            field.action_end()
        self._show([] if len(names) == 1 else names, found=bool(names) or text != typed)

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        if event.value != self._completed:
            self._show([], found=True)

    def _show(self, names: list[str], *, found: bool) -> None:
        lines = names[:NAMES_SHOWN]
        if len(names) > NAMES_SHOWN:
            lines.append(f"and {len(names) - NAMES_SHOWN} more")
        if not found:
            lines = [f"No folder and no {self._kind} begins like this"]
        shown = self.query_one(".names", Static)
        shown.update(Content("\n".join(shorten(line, 200) for line in lines)))
        shown.set_class(bool(lines), "-shown")


class ImportScreen(JourneyScreen):
    """Imports one file; gives the model."""

    def __init__(
        self, library: Library, path: str, *, how: How = "in place", format: str | None = None
    ) -> None:
        file = typed_path(path)

        def job(progress, cancelled) -> LocalModel:
            return library.import_file(
                file, how=how, format=format, progress=progress, cancelled=cancelled
            )

        super().__init__("Importing", file.name, _WHAT[how], job, bytes_line)
