"""Bringing in a model file: asking for its path, and showing how far its check has come."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from corral.errors import CorralError
from corral.text import clean_line, shorten
from corral.tui.screens.completing import complete, typed_path
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    CleanInput,
    Frame,
    Heading,
    Hints,
    Modal,
    Top,
    bar,
)
from corral.units import gigabytes

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
REFRESH_SECONDS = 0.2


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


class ImportScreen(Modal["LocalModel | CorralError | None"]):
    """Imports one file in a thread and shows how far it has read.

    Gives the model, the error that stood in the way, or None where it was cancelled.
    """

    def __init__(
        self, library: Library, path: str, *, how: How = "in place", format: str | None = None
    ) -> None:
        super().__init__()
        self._library = library
        self._path = typed_path(path)
        self._how = how
        self._format = format
        self._cancelled = threading.Event()
        self._progress = (0, 0)

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading("Importing")
            yield Static(shorten(self._path.name, 200), markup=False, classes="line")
            yield Static("Looking at the file", markup=False, classes="progress")
            yield Static(_WHAT[self._how], markup=False, classes="text muted")
            with Bottom():
                yield Hints([("Esc", "cancel", "close")])

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._refresh_progress)
        self._run()

    @work
    async def _run(self) -> None:
        try:
            outcome: LocalModel | CorralError | None = await asyncio.to_thread(
                self._library.import_file,
                self._path,
                how=self._how,
                format=self._format,
                progress=self._on_progress,
                cancelled=self._cancelled.is_set,
            )
        except CorralError as error:
            outcome = None if self._cancelled.is_set() else error
        except OSError as error:
            outcome = CorralError(
                f"{clean_line(self._path.name)} cannot be read: {error.strerror or 'unknown'}"
            )
        finally:
            # Also when this screen goes away: the thread must not outlive it.
            self._cancelled.set()
        self.dismiss(outcome)

    def _on_progress(self, done: int, total: int) -> None:
        """Called in the thread; the timer looks at it."""
        self._progress = (done, total)

    def _refresh_progress(self) -> None:
        done, total = self._progress
        if self._cancelled.is_set():
            self.query_one(".progress", Static).update(Content("Stopping"))
        elif total > 0:
            width = max(8, self.query_one(".progress").size.width - 28)
            self.query_one(".progress", Static).update(progress_line(done, total, width))

    def action_close(self) -> None:
        """The thread sees it at its next block; then the screen closes."""
        self._cancelled.set()
        self._refresh_progress()


def progress_line(done: int, total: int, width: int) -> Content:
    """A bar, and the same in numbers: ``━━━━  43 %  1.75 of 4.08 GB``."""
    fraction = min(1.0, max(0.0, done / total))
    read, whole = gigabytes(min(done, total), 2), gigabytes(total, 2)
    if read.partition(" ")[2] == whole.partition(" ")[2]:
        read = read.partition(" ")[0]
    return Content.assemble(
        bar(fraction, width, "$accent"),
        f" {int(fraction * 100):3d} %",
        (f"  {read} of {whole}", MUTED),
    )
