"""Taking in the models that other programs brought, where they lie."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.text import shorten
from corral.tui.screens.journey import REFRESH_SECONDS, bytes_line
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.tui.screens.models.words import middle_cut, shown_path
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.library.adopting import Candidate
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel

ADOPT_HINT = (
    "Models that other programs on this machine already have. They are used where they lie: "
    "nothing is copied, moved or changed."
)
WHERE = "Looked for Ollama, LM Studio, Jan, GPT4All, KoboldCpp and the Hugging Face cache."


class AdoptScreen(Modal["list[LocalModel]"]):
    """Gives the models that were taken in."""

    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", show=False),
        Binding("enter", "adopt", show=False, priority=True),
    ]

    def __init__(self, library: Library) -> None:
        super().__init__()
        self._library = library
        self._candidates: list[Candidate] = []
        self._marked: set[int] = set()
        self._adopted: list[LocalModel] = []
        self._cancelled = threading.Event()
        self._busy = False
        self._progress = (0, 0)

    def compose(self) -> ComposeResult:
        with Frame(classes="-wide"):
            with Top():
                yield Heading("Adopt", "looking …")
                yield Static(ADOPT_HINT, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Static("", markup=False, classes="progress")
                yield Notice()
                yield Hints([("Esc", "close", "close")])

    def on_mount(self) -> None:
        self.set_interval(REFRESH_SECONDS, self._refresh_progress)
        self._find()

    @work(exclusive=True)
    async def _find(self) -> None:
        failed, findings = None, None
        try:
            findings = await asyncio.to_thread(self._library.adoptable, Path.home(), os.environ)
        except CorralError as error:
            failed = error
        if not self.is_open:
            return
        notice = self.query_one(Notice)
        self.query_one(Heading).tell("")
        if findings is None:
            assert failed is not None  # one of the two came
            notice.fail(failed)
            return
        found, skipped = findings.candidates, findings.skipped
        self._candidates = found
        # What is known already needs no adopting.
        self._marked = {number for number, one in enumerate(found) if not one.known}
        self.query_one(Heading).tell(f"{len(found)} found" if found else "")
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        left_out = f"Left out: {shorten(skipped[0].reason, 160)}{more}" if skipped else ""
        if found:
            self._show()
            self.query_one(OptionList).highlighted = 0
            notice.say(left_out)
        else:
            notice.say(f"Nothing was found. {WHERE} {left_out}")

    def _show(self) -> None:
        options = self.query_one(OptionList)
        highlighted = options.highlighted
        width = max(20, options.scrollable_content_region.width - 2)
        options.clear_options()
        options.add_options(
            Option(_row(one, width, marked=number in self._marked))
            for number, one in enumerate(self._candidates)
        )
        options.highlighted = highlighted
        count = len(self._marked)
        what = "1 model" if count == 1 else f"{count} models"
        hints = [("space", "mark", "mark")]
        hints += [("Enter", f"adopt {what}", "adopt")] if count else []
        self.query_one(Hints).tell([*hints, ("Esc", "close", "close")])

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is not None and number < len(self._candidates):
            detail = self.query_one(".detail", Static)
            path = shown_path(str(self._candidates[number].path))
            detail.update(Content(middle_cut(path, max(20, detail.size.width - 4))))

    @on(OptionList.OptionSelected)
    def action_mark(self) -> None:
        number = self.query_one(OptionList).highlighted
        if number is not None and number < len(self._candidates) and not self._busy:
            self._marked ^= {number}
            self._show()

    @work(exclusive=True)
    async def action_adopt(self) -> None:
        """Take in what is marked, one after the other: each is read once, to know it again."""
        chosen = [self._candidates[number] for number in sorted(self._marked)]
        if self._busy or not chosen:
            return
        self._busy = True
        self.query_one(Hints).tell([("Esc", "cancel", "close")])
        failed: CorralError | None = None
        try:
            for number, one in enumerate(chosen, 1):
                self._progress = (0, 0)
                self.query_one(Notice).say(f"{number} of {len(chosen)}: {shorten(one.name, 80)}")
                try:
                    self._adopted.append(
                        await asyncio.to_thread(
                            self._library.adopt, one, self._on_progress, self._cancelled.is_set
                        )
                    )
                except CorralError as error:
                    if self._cancelled.is_set():
                        break
                    failed = error
        finally:
            # Also when this screen goes away: the thread must not outlive it.
            self._cancelled.set()
        if failed is not None:
            from corral.tui.toasts import fail

            fail(self, failed)
        self.dismiss(self._adopted)

    def _on_progress(self, done: int, total: int) -> None:
        """Called in the thread; the timer looks at it."""
        self._progress = (done, total)

    def _refresh_progress(self) -> None:
        done, total = self._progress
        shown = self.query_one(".progress", Static)
        shown.set_class(self._busy, "-shown")
        if self._busy and self._cancelled.is_set():
            shown.update(Content("Stopping"))
        elif self._busy and total > 0:
            shown.update(bytes_line(done, total, shown.size.width))

    def action_close(self) -> None:
        """The thread sees it at its next block; then the screen closes."""
        if self._busy:
            self._cancelled.set()
        else:
            self.dismiss(self._adopted)


def _row(one: Candidate, width: int, *, marked: bool) -> Content:
    right = f"  {shorten(one.program, 18).ljust(18)}{gigabytes(one.bytes, 2).rjust(9)}"
    name = Content(shorten(one.name, 200))
    if one.known:
        name = name + Content.styled("  in the library", "$success")
    box = Content.styled("[x] " if marked else "[ ] ", "$accent")
    name = name.truncate(max(8, width - len(right) - 4), ellipsis=True, pad=True)
    return Content.assemble(box, name, (right, MUTED))
