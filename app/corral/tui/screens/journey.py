"""What takes its time, and how far it is: an import, an export, a backup."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from corral.errors import CorralError
from corral.models.files import Cancellation
from corral.text import clean, shorten
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Top, bar
from corral.units import gigabytes

Done = TypeVar("Done")
Progress = Callable[[int, int], None]
Job = Callable[[Progress, Callable[[], bool]], Done]
"""What runs in a thread; it is given where to tell how far it is, and whom to ask for the end."""

REFRESH_SECONDS = 0.1


def percent_line(done: int, total: int, width: int) -> Content:
    """A bar and a number: ``━━━━  43 %``."""
    fraction = min(1.0, max(0.0, done / total))
    shown = bar(fraction, max(8, width - 8), "$accent")
    return Content.assemble(shown, f" {int(100 * fraction):3d} %")


def bytes_line(done: int, total: int, width: int) -> Content:
    """The same with the bytes: ``━━━━  43 %  1.75 of 4.08 GB``."""
    read, whole = gigabytes(min(done, total), 2), gigabytes(total, 2)
    if read.partition(" ")[2] == whole.partition(" ")[2]:
        read = read.partition(" ")[0]
    return Content.assemble(percent_line(done, total, width - 20), (f"  {read} of {whole}", MUTED))


class JourneyScreen(Modal["Done | CorralError | None"]):
    """Runs one job in a thread and shows how far it is.

    Gives what the job gave, the error that stood in the way, or None where it was stopped.

    Args:
        title: what goes on, such as ``Importing``.
        what: what it is about; foreign text.
        remark: one sentence that says what stays as it is.
        line: how progress is written, given what is done, all of it, and the cells for a bar.
    """

    def __init__(
        self,
        title: str,
        what: str,
        remark: str,
        job: Job[Done],
        line: Callable[[int, int, int], Content] = percent_line,
    ) -> None:
        super().__init__()
        self._heading = title
        self._what = what
        self._remark = remark
        self._job = job
        self._line = line
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
                f"{shorten(self._what, 80)} cannot be read or written: {error.strerror or error}",
                title="Not done",
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
            shown.update(self._line(done, total, shown.size.width))

    def action_close(self) -> None:
        """The thread sees it at its next step; then the screen closes."""
        self._cancelled.set()
        self._refresh_progress()
