"""The lines around the text of the completion screen: whose words, how many tokens, which keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.errors import CorralError
from corral.text import shorten
from corral.tui import wording
from corral.tui.screens.completion_looks import CompletionLooks
from corral.tui.screens.modal import Hint, Hints, Notice
from corral.tui.widgets.line import Line, Part

if TYPE_CHECKING:
    from corral.metering import Measure
    from corral.tui.turns import Live

PIECE = 64
"""Tokens the model writes at once where nobody said how many."""
LENGTHS = (16, 64, 256, 0)
"""Tokens of a piece to choose from; 0 is to its own end."""
CANDIDATES = 3


class CompletionLines(CompletionLooks):
    """The part of :class:`corral.tui.screens.completion.CompletionScreen` that says how it is."""

    def __init__(self) -> None:
        super().__init__()
        self.header = Line(classes="head", separator=" ")
        self.status = Line(classes="status")
        self.notice = Notice()
        self.hints = Hints([])
        self.number = (0, 0)
        """Which candidate of how many is being written."""
        self.measure: Measure | None = None

    def fail(self, error: CorralError) -> None:
        """Say under the text what went wrong."""
        self.notice.fail(error)

    def tell(self) -> None:
        """Bring the lines around the text up to date."""
        conversing, live = self.conversing, self.conversing.live
        title = shorten(conversing.conversation.title, 200) or "New text"
        speed = live.tokens_per_second() if live else self._last_speed()
        right = [Part(conversing.model_name or "no model", click="screen.models")]
        if speed:
            right.append(Part(f"· {wording.speed(speed)}", "$quiet", 4))
        self.header.show([Part("▲", "bold $primary"), Part(f" {title}")], right)
        self.status.show(self._left(live), self._right(live))
        self.hints.tell(self._keys(live))

    def _left(self, live: Live | None) -> list[Part]:
        if live is not None:
            what = "writing"
            if live.turn.working is not None:
                what = wording.progress(live.turn.working, self.conversing.model_name)[0]
            number, count = self.number
            of = f" {number} of {count}" if count > 1 else ""
            return [Part(f"● {what}{of}", "$primary")]
        if note := self._chat.loading_note:
            return [Part(note, "$primary")]
        if self.editor.changed:
            return [Part("changed · kept as a draft", "$quiet")]
        piece = self.piece()
        if piece is None:
            return []
        parts = []
        others = self.conversing.others(piece)
        if len(others) > 1:
            place = [one.id for one in others].index(piece.id) + 1
            parts.append(Part(f"‹ {place}/{len(others)} ›", "bold", click="screen.candidate(1)"))
        who = "your words" if piece.role == "user" else wording.model_of(piece) or "the model"
        return [*parts, Part(who, "$quiet", 5)]

    def _right(self, live: Live | None) -> list[Part]:
        length = self.length
        parts = [Part(f"{length} a piece" if length else "to its own end", "$quiet", 6)]
        parts[0] = Part(parts[0].text, "$quiet", 6, "screen.length")
        if self.editor.unseen:
            parts.insert(0, Part("the dim beginning is out of sight", "$quiet", 7))
        measure = self.measure
        if measure is not None:
            tokens = measure.tokens + (live.tokens if live else 0)
            sign = "~" if measure.about else ""
            n_ctx = wording.number(measure.n_ctx)
            style = "$text-error" if measure.full else ""
            parts.append(Part(f"{sign}{wording.number(tokens)} / {n_ctx}", style))
        return parts

    def _keys(self, live: Live | None) -> list[Hint]:
        if live is not None or self.looking:
            return [("Esc", "stop", "stop")]
        if self.alternatives.display:
            hints: list[Hint] = [("←→", "token", ""), ("↑↓", "choose", ""), ("Enter", "take", "")]
            return [*hints, ("Esc", "back", "stop")]
        hints = [("Tab", "go on", "go_on"), ("^R", f"{CANDIDATES} candidates", "candidates")]
        hints += [("F3 F4", "walk", "candidate(1)"), ("^L", "alternatives", "alternatives")]
        hints += [("^Z", "undo", "step(-1)"), ("^Y", "redo", "step(1)")]
        return [*hints, ("F5", "length", "length"), ("Esc", "close", "stop")]

    def _last_speed(self) -> float:
        last = self.conversing.last_answer()
        return (last.timings or {}).get("tokens_per_second", 0.0) if last else 0.0

    @property
    def length(self) -> int:
        """Tokens of a piece at the most; 0 is to its own end."""
        wanted = self.conversing.conversation.parameters.get("max_tokens", PIECE)
        return wanted if isinstance(wanted, int) else PIECE

    async def action_length(self) -> None:
        """The next length of a piece."""
        now = self.length
        longer = next((one for one in LENGTHS if one > now), 0)
        try:
            await self.conversing.remember_length(longer if now else LENGTHS[0])
        except CorralError as error:
            self.fail(error)
        self.tell()
