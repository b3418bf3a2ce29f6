"""One message of the transcript: a person's words behind a bar, an answer with its figures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter, thread_time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.timer import Timer
from textual.widgets import Static

from corral.chat.conversation import Message
from corral.text import clean
from corral.tui import wording
from corral.tui.turns import Live
from corral.tui.widgets.line import Line, Part
from corral.tui.widgets.marks import MARKS, NO_MARKS, Marks
from corral.tui.widgets.placed import Placed

TICK = 0.1
"""How often a running answer is looked at, in seconds."""

FIGURES_GAP = 0.2
"""The figures below it move so often, in seconds, while no words come: with words they move when
those are painted, for each step paints the screen."""

SHORTEST_GAP = 0.2
LONGEST_GAP = 0.5
COST_SHARE = 30.0
"""Words are added again after so many times the CPU time that adding the last ones took.

The model computes on the same cores: what the screen takes, it has to wait for.
"""

QUESTION_LINES = 40
QUESTION_LENGTH = 8_000
ANSWER_LINES = 600
ANSWER_LENGTH = 40_000
"""What is rendered of one message; the rest is counted, and copied with it."""

_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]+\]:", re.MULTILINE)


def cut(text: str, lines: int, length: int) -> int:
    """Where to cut a text that is longer than ``lines`` or ``length``; its end where it is not."""
    at = -1
    for _ in range(lines):
        at = text.find("\n", at + 1)
        if at < 0:
            return min(len(text), length)
    return min(at, length)


def remainder(text: str, at: int) -> str:
    """One line about what comes after a cut; "" where nothing does."""
    if at >= len(text):
        return ""
    lines = text.count("\n", at) or 1
    what = f"{wording.number(lines)} more {'line' if lines == 1 else 'lines'}"
    return f"… {what}, {wording.number(len(text) - at)} characters; copying takes them all"


class Heading(Line):
    """Who speaks, and which of several siblings this is."""

    def __init__(self) -> None:
        super().__init__(separator=" ", classes="heading")

    def action_sibling(self, step: int) -> None:
        view = self.query_ancestor(MessageView)
        self.post_message(MessageView.SiblingWanted(view.message, step))


class MessageView(Vertical, Placed):
    """What every message has: its row of the store, its place among siblings, its marks."""

    class SiblingWanted(TextualMessage):
        """Somebody wants the branch before or after this message."""

        def __init__(self, message: Message, step: int) -> None:
            super().__init__()
            self.message = message
            self.step = step

    def __init__(self, message: Message, place: tuple[int, int], marks: Marks = NO_MARKS) -> None:
        super().__init__()
        self.message = message
        self.place = place
        self._marks = marks

    async def set_marks(self, marks: Marks) -> None:
        """Show where what the model sees begins and ends, and what stands for the rest."""
        if marks == self._marks:
            return
        self._marks = marks
        if not self.is_attached:  # Not composed yet, or taken away meanwhile.
            return
        await self.query_children(MARKS).remove()
        if above := marks.widgets():
            await self.mount_all(above, before=0)

    def branches(self) -> list[Part]:
        """``pinned  ‹ 2/3 ›``; nothing where it is not, and where there is only one."""
        at, of = self.place
        pin = [Part("pinned", "$accent")] if self.message.pinned else []
        if of < 2:
            return pin
        before = "$accent" if at > 1 else "$faint"
        after = "$accent" if at < of else "$faint"
        return [
            *pin,
            Part("‹", before, click="sibling(-1)"),
            Part(f"{at}/{of}", "$quiet"),
            Part("›", after, click="sibling(1)"),
        ]

    async def renew(self, message: Message, place: tuple[int, int]) -> None:
        """Take a newer state of the same message."""
        self.message, self.place = message, place


class QuestionView(MessageView):
    """What a person said."""

    def __init__(self, message: Message, place: tuple[int, int], marks: Marks = NO_MARKS) -> None:
        super().__init__(message, place, marks)
        self.heading = Heading()

    def compose(self) -> ComposeResult:
        yield from self._marks.widgets()
        yield self.heading
        at = cut(self.message.text, QUESTION_LINES, QUESTION_LENGTH)
        shown = Content(clean(self.message.text[:at]))
        if more := remainder(self.message.text, at):
            shown = Content.assemble(shown, "\n", (more, "$quiet"))
        yield Static(shown, classes="said", markup=False)

    def on_mount(self) -> None:
        self._show()

    async def renew(self, message: Message, place: tuple[int, int]) -> None:
        await super().renew(message, place)
        self._show()

    def _show(self) -> None:
        branches = self.branches()
        self.heading.display = bool(branches)
        self.heading.show([], branches)


class AnswerView(MessageView):
    """What a model said, also while it is still saying it.

    While the answer runs, its text is taken from the turn at a pace the screen can afford, and not
    at all while nobody would see it.

    Args:
        live: the running turn, if this answer is being written now.
        visible: whether new words would be seen.
    """

    def __init__(
        self,
        message: Message,
        place: tuple[int, int],
        marks: Marks,
        live: Live | None,
        visible: Callable[[], bool],
    ) -> None:
        # The first frame does not wait for the Markdown parser and the highlighter.
        from corral.tui.widgets.markdown import AnswerMarkdown

        super().__init__(message, place, marks)
        self._live = live
        self._visible = visible
        self._text = live.turn.text if live else message.text
        self._taken = cut(self._text, ANSWER_LINES, ANSWER_LENGTH)
        """How much of the text is in the Markdown widget."""
        self._lines = self._text.count("\n", 0, self._taken)
        self._full = self._taken < len(self._text)
        self._gap = SHORTEST_GAP
        self._last = 0.0
        self._figures_at = 0.0
        self._frame = 0
        self._timer: Timer | None = None
        self._hint = ""
        """What helps against the failure, while that is known."""
        self._writing = asyncio.Lock()
        self.heading = Heading()
        self.body = AnswerMarkdown(clean(self._text[: self._taken]))
        self.rest = Static("", markup=False, classes="rest")
        self.figures = Line(separator=" · ", classes="figures")
        self.trouble = Static("", markup=False, classes="trouble")

    @property
    def text(self) -> str:
        """The whole answer as far as it is known, uncleaned."""
        return self._live.turn.text if self._live else self.message.text

    def compose(self) -> ComposeResult:
        yield from self._marks.widgets()
        yield self.heading
        yield self.body
        yield self.rest
        yield self.figures
        yield self.trouble

    def on_mount(self) -> None:
        self._show()
        if self._live:
            self._timer = self.set_interval(TICK, self._tick)

    async def renew(self, message: Message, place: tuple[int, int]) -> None:
        await super().renew(message, place)
        if not self._live:
            self._show()

    def follow(self, live: Live) -> None:
        """Show a turn that writes this answer."""
        if self._live is None:
            self._live = live
            self._timer = self.set_interval(TICK, self._tick)

    async def settle(self, message: Message) -> None:
        """The turn has ended: show all of it, and how it ended."""
        if self._timer is not None:
            # A timer that is stopped cancels its own call, and words would be lost that are on
            # their way into the Markdown widget.
            async with self._writing:
                self._timer.stop()
        live = self._live
        if live is not None:
            await self._flush(live, everything=True)
        self.body.finish()
        self._live = None
        self.message = message
        self._hint = live.error.hint if live and live.error else ""
        if live is not None and _REFERENCE.search(self._text):
            # A link whose address came later than its use is only found by a fresh parse.
            await self.body.update(clean(self._text[: self._taken]))
        self._show()

    async def _tick(self) -> None:
        live = self._live
        if live is None or not self._visible():
            return
        now = perf_counter()
        waiting = live.turn.text != self._text
        fresh = waiting and now - self._last >= self._gap - TICK / 2
        if fresh:
            await self._flush(live)
        if fresh or (not waiting and now - self._figures_at >= FIGURES_GAP - TICK / 2):
            self._figures_at = now
            self._frame += 1
            self._show()

    async def _flush(self, live: Live, *, everything: bool = False) -> None:
        async with self._writing:
            text = live.turn.text
            if not everything and text.endswith("\r"):
                text = text[:-1]
            spent = thread_time()
            self._text = text
            if not self._full:
                piece = text[self._taken :]
                at = cut(piece, ANSWER_LINES - self._lines, ANSWER_LENGTH - self._taken)
                self._full = at < len(piece)
                self._lines += piece.count("\n", 0, at)
                self._taken += at
                if at:
                    await self.body.append(clean(piece[:at]))
            self._show_rest()
            self._last = perf_counter()
            # The layout comes after the append, and it is the larger part of the cost.
            self.call_after_refresh(self._measure, spent)

    def _measure(self, spent: float) -> None:
        cost = thread_time() - spent
        self._gap = min(LONGEST_GAP, max(SHORTEST_GAP, COST_SHARE * cost))

    def _show_rest(self) -> None:
        """The part that is too long to be rendered: its end, as plain text."""
        self.rest.display = self._full
        if not self._full:
            return
        rest = self._text[self._taken :]
        at = cut(rest, QUESTION_LINES, QUESTION_LENGTH)
        shown = Content(clean(rest[:at]).lstrip("\n"))
        if more := remainder(rest, at):
            shown = Content.assemble(shown, "\n", (more, "$quiet"))
        self.rest.update(shown)

    def _show(self) -> None:
        """Bring everything but the words up to date."""
        live = self._live
        self.body.display = bool(self._text)
        self._show_rest()
        who = wording.model_of(self.message) or (live.title if live else "")
        self.heading.show([Part(who or "Answer", "$quiet")], self.branches())
        if live is not None:
            self.figures.show(self._live_figures(live))
            self.trouble.display = False
            return
        self._show_ending(self.message)

    def _show_ending(self, message: Message) -> None:
        failed = message.status == "failed"
        ending = wording.ending(message)
        figures = [Part(text, "$faint", at) for at, text in enumerate(wording.statistics(message))]
        if ending and not failed:
            figures.insert(0, Part(ending, "$text-warning"))
        self.figures.display = bool(figures)
        self.set_class(bool(message.text) and not figures and not failed, "-bare")
        self.figures.show(figures)
        self.trouble.display = failed
        if failed:
            advice = f"{clean(self._hint)}\nCtrl+R tries again".lstrip()
            self.trouble.update(Content.assemble((ending, "$text-error"), "\n", (advice, "$quiet")))

    def _live_figures(self, live: Live) -> list[Part]:
        spinner = wording.SPINNER[self._frame % len(wording.SPINNER)]
        stop = Part("Esc stops", "$faint", 2)
        if live.turn.stopping.is_set():
            return [Part(f"{spinner} Stopping", "$quiet")]
        if live.turn.working is not None:
            text, fraction = wording.progress(live.turn.working, live.name)
            shown = Content(f"{spinner} {text}")
            if fraction is not None:
                bar, percent = (wording.meter(fraction, 12), "$primary"), f"{fraction * 100:.0f} %"
                shown = Content.assemble(shown, "  ", bar, "  ", percent)
            return [Part(shown, "$quiet"), stop]
        figures = [Part(f"{spinner} {wording.tokens(live.tokens)}", "$quiet")]
        if rate := live.tokens_per_second():
            figures.append(Part(wording.speed(rate), "$quiet", 1))
        return [*figures, stop]
