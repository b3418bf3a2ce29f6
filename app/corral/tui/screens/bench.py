"""How fast the model is on this machine: measured while one looks, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static
from textual.worker import Worker

from corral.benching.bench import Bench
from corral.benching.report import Report
from corral.errors import CorralError
from corral.text import shorten
from corral.tui import toasts
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top, bar
from corral.units import duration

if TYPE_CHECKING:
    from corral.tui.app import CorralApp

Tell = Callable[[str, float], None]

EXPLAIN = (
    "A prompt is read and answered, the conversation goes on, and it is opened again in a new "
    "process. Whatever else is busy makes it slower."
)
BAR = 24
_HINTS = {
    True: [("Esc", "stop", "close")],
    False: [("r", "measure again", "measure"), ("c", "copy", "copy"), ("Esc", "close", "close")],
}


class BenchScreen(Modal[Report | None]):
    """Measures as soon as it is open; gives the last report, or None where there is none.

    Args:
        measure: runs the bench; cancelled, it ends what it began.
        title: the model's, for the heading.
        busy: why now is no time for it, in one sentence; "" where it is.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "measure", show=False),
        Binding("c", "copy", show=False),
    ]

    def __init__(
        self,
        measure: Callable[[Tell], Awaitable[Report]],
        title: str,
        busy: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__()
        self._measure = measure
        self._title = title
        self._busy = busy
        self._measuring: Worker[None] | None = None
        self._leaving = False
        self._report: Report | None = None

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading("Measure this machine", shorten(self._title, 48))
            with VerticalScroll():
                yield Static(EXPLAIN, markup=False, classes="hint")
                yield Static("", markup=False, classes="progress")
                yield Static("", markup=False, classes="text figures")
                yield Notice()
            with Bottom():
                yield Hints(_HINTS[False])

    def on_mount(self) -> None:
        self.action_measure()

    @property
    def running(self) -> bool:
        """Whether it measures now."""
        return self._measuring is not None

    def action_measure(self) -> None:
        if self.running:
            return
        notice = self.query_one(Notice)
        if problem := self._busy():
            notice.say(problem, error=True)
            return
        notice.say("")
        self._measuring = self._run()
        self.query_one(Hints).tell(_HINTS[True])

    @work(exclusive=True, group="measure")
    async def _run(self) -> None:
        try:
            self._report = await self._measure(self._tell)
            self._show(self._report)
        except CorralError as error:
            self.query_one(Notice).fail(error)
        finally:
            self._measuring = None
            # At the end of the program the screen is still there, and nothing is left in it.
            if not self.is_open or not self.query(Hints):
                pass
            elif self._leaving:
                self.dismiss(self._report)
            else:
                self.query_one(".progress", Static).update("")
                self.query_one(Hints).tell(_HINTS[False])

    def _tell(self, what: str, done: float) -> None:
        if not self._leaving and self.is_open:
            share = f" {100 * done:3.0f} %  "
            line = Content.assemble(bar(done, BAR, "$accent"), share, (what, MUTED))
            self.query_one(".progress", Static).update(line)

    def _show(self, report: Report) -> None:
        titles = max(len(figure.title) for figure in report.figures)
        values = max(len(figure.shown) for figure in report.figures)
        lines = [
            Content.assemble(
                (figure.title.ljust(titles + 2), MUTED),
                (figure.shown.rjust(values), "bold"),
                (f"   {figure.note}", MUTED),
            )
            for figure in report.figures
        ]
        self.query_one(".figures", Static).update(Content("\n").join(lines))
        self.query_one(Notice).say(
            f"Measured in {duration(report.seconds)}: {report.title}. "
            "What is said about speed is corrected by it."
        )

    def action_copy(self) -> None:
        if self._report is not None:
            self.app.copy_to_clipboard(as_text(self._report))
            toasts.say(self, "Copied the figures")

    def action_close(self) -> None:
        """While it measures: end that first, so that nothing of it runs on."""
        if self._leaving:
            return
        if self._measuring is None:
            self.dismiss(self._report)
            return
        self._leaving = True
        self.query_one(".progress", Static).update(Content.styled("stopping …", MUTED))
        self._measuring.cancel()


def as_text(report: Report) -> str:
    """The figures for the clipboard."""
    titles = max(len(figure.title) for figure in report.figures)
    lines = [report.title, str(report.machine["processor"])]
    for figure in report.figures:
        note = f" ({figure.note})" if figure.note else ""
        lines.append(f"{figure.title.ljust(titles)}  {figure.shown}{note}")
    return "\n".join(lines) + "\n"


def open_bench(app: CorralApp) -> None:
    """Measure the model that answers in the conversation on the screen."""
    model, bench = app.chat.conversing.model, Bench(app.parts)
    name = model.name if model else None

    def busy() -> str:
        if app.chatting.running:
            return "An answer is being written. Measure when it is done."
        if app.chat.swap is not None:
            return "A model is being loaded. Measure when it is there."
        return ""

    async def measured(report: Report | None) -> None:
        if report is not None:
            await app.chat.conversing.find_model()  # What is recommended may be another now.
            app.chat.tell()

    async def measure(tell: Tell) -> Report:
        return await bench.run(name, tell)

    title = f"{model.title} · {model.quant}" if model else ""
    app.push_screen(BenchScreen(measure, title, busy), measured)
