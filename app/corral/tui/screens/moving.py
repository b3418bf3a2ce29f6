"""Long journeys on the screen: how far an import, export or backup is, and what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corral.errors import CorralError
from corral.models.files import Cancellation
from corral.moving.importing import Imported
from corral.text import clean, clean_line, shorten
from corral.tui.screens.modal import (
    MUTED,
    Bottom,
    Frame,
    Heading,
    Hints,
    Modal,
    Notice,
    Top,
    bar,
)

Done = TypeVar("Done")
Progress = Callable[[int, int], None]
Job = Callable[[Progress, Callable[[], bool]], Done]
"""What runs in a thread; it is given where to tell how far it is, and whom to ask for the end."""

REFRESH_SECONDS = 0.1
NAMES_SHOWN = 6

FORMATS: list[tuple[str, str]] = [
    ("markdown", "Markdown\tto read, and for notes"),
    ("json", "JSON\tthe whole tree; can be imported again"),
    ("html", "HTML\tone page for a browser, nothing fetched"),
    ("text", "Plain text\tfor printing and for mail"),
]


class JourneyScreen(Modal["Done | CorralError | None"]):
    """Runs one job in a thread and shows how far it is.

    Gives what the job gave, the error that stood in the way, or None where it was stopped.

    Args:
        title: what goes on, such as ``Importing``.
        what: what it is about; foreign text.
        remark: one sentence that says what stays as it is.
    """

    def __init__(self, title: str, what: str, remark: str, job: Job[Done]) -> None:
        super().__init__()
        self._heading = title
        self._what = what
        self._remark = remark
        self._job = job
        self._cancelled = threading.Event()
        self._progress = (0, 0)

    def compose(self) -> ComposeResult:
        with Frame(classes="-small"):
            with Top():
                yield Heading(self._heading)
            yield Static(shorten(self._what, 200), markup=False, classes="line")
            yield Static("", markup=False, classes="progress")
            yield Static(clean(self._remark), markup=False, classes="text muted")
            with Bottom():
                yield Hints([("Esc", "stop", "close")])

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._refresh_progress)
        self._run()

    @work
    async def _run(self) -> None:
        try:
            outcome: Done | CorralError | None = await asyncio.to_thread(
                self._job, self._on_progress, self._cancelled.is_set
            )
        except Cancellation:
            outcome = None
        except CorralError as error:
            outcome = error
        except OSError as error:
            outcome = CorralError(
                f"{shorten(self._what, 80)}: {error.strerror or error}", title="Not done"
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
        shown = self.query_one(".progress", Static)
        if self._cancelled.is_set():
            shown.update(Content("Stopping"))
        elif total > 0:
            fraction = min(1.0, done / total)
            width = max(8, shown.size.width - 8)
            shown.update(
                Content.assemble(bar(fraction, width, "$accent"), f" {int(100 * fraction):3d} %")
            )

    def action_close(self) -> None:
        """The thread sees it at its next step; then the screen closes."""
        self._cancelled.set()
        self._refresh_progress()


class ReportScreen(Modal[None]):
    """What an import brought, and which records could not be read.

    Args:
        summary: all of it in one line.
    """

    def __init__(self, done: Imported, summary: str) -> None:
        super().__init__()
        self._done = done
        self._summary = summary

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading("Imported")
                yield Static(clean(self._summary), markup=False, classes="hint")
            with VerticalScroll():
                yield Static(_problems(self._done), markup=False, classes="text")
            with Bottom():
                yield Notice()
                yield Hints([("↑↓", "scroll", ""), ("Esc", "close", "close")])

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _problems(done: Imported) -> Content:
    lines = []
    for one in done.problems:
        where = f"record {one.record}" if one.record else "the file"
        named = f" “{one.title}”" if one.title else ""
        lines.append(
            Content.assemble((where + clean_line(named), "bold"), f"  {shorten(one.reason, 200)}")
        )
    if done.failed > len(done.problems):
        lines.append(Content.assemble((f"and {done.failed - len(done.problems)} more", MUTED)))
    return Content("\n").join(lines)
