"""The compare screen: the answers of all contenders side by side, a table, and a vote."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from corral.chatting import Words, Working
from corral.comparing import (
    FIGURES,
    LETTERS,
    Comparison,
    Done,
    Entry,
    Event,
    Ordered,
    Told,
    figures,
    told_order,
)
from corral.errors import CorralError
from corral.store.store import Store
from corral.text import clean_line, shorten
from corral.tui import wording
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hint, Hints, Modal, Notice, Top
from corral.tui.widgets.fence import Fence
from corral.tui.widgets.pane import Pane, table

COLUMN = 40
"""Cells that one answer needs beside another, the space between them included."""
TICK = 0.1


class CompareScreen(Modal[Entry | None]):
    """Runs a comparison; gives the contender whose answer was taken, else None.

    Args:
        comparison: not begun yet.
        blind: nothing says whose answer is which, before one was voted for.
        note_fault: writes an unforeseen error down.
        shuffle: mixes a list in place.
    """

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,shift+tab", "move(-1)", show=False),
        Binding("right,tab", "move(1)", show=False),
        Binding("up,k", "scroll('up')", show=False),
        Binding("down,j", "scroll('down')", show=False),
        Binding("pageup", "scroll('page_up')", show=False),
        Binding("pagedown,space", "scroll('page_down')", show=False),
        Binding("home", "scroll('home')", show=False),
        Binding("end", "scroll('end')", show=False),
        Binding("enter", "take", show=False),
    ]

    def __init__(
        self,
        comparison: Comparison,
        store: Store,
        *,
        blind: bool = False,
        note_fault: Callable[[BaseException], object] = lambda error: None,
        shuffle: Callable[[list[Entry]], None] = random.shuffle,
    ) -> None:
        super().__init__()
        self._comparison = comparison
        self._store = store
        self._note_fault = note_fault
        self._shuffle = shuffle
        self.blind = blind
        """Whether the names are still hidden."""
        self.voted = False
        self.ended = False
        """Whether all have come to their end."""
        self._entries: list[Entry] = []
        """As they stand on the screen."""
        self._panes: list[Pane] = []
        self._at = 0
        self._moved = False
        """Whether somebody looked around: until then the answer that is written is shown."""
        self._asked: Entry | None = None
        self._done: set[Entry] = set()
        self._frame = 0
        self._letters = ""
        """Those that name an answer, once nobody knows whose it is."""

    def compose(self) -> ComposeResult:
        with Frame():
            with Top():
                yield Heading("Compare", "")
                yield Static("", markup=False, classes="question")
                yield Static("", markup=False, classes="tabs")
            yield Horizontal(classes="panes")
            with Bottom():
                yield Static("", markup=False, classes="table")
                yield Notice()
                yield Hints([("Esc", "stop", "close")])

    def on_mount(self) -> None:
        self._run()
        self.set_interval(TICK, self._tick)

    # --- while they answer ------------------------------------------------------------------------

    @work(exclusive=True, group="compare")
    async def _run(self) -> None:
        error: CorralError | None = None
        try:
            async with contextlib.aclosing(self._comparison):
                async for event in self._comparison:
                    await self._take_in(event)
                    # However fast an engine answers, the screen gets its share.
                    await asyncio.sleep(0)
        except CorralError as failed:
            error = failed
        except Exception as fault:
            self._note_fault(fault)
            error = CorralError("The comparison could not be finished because of a fault in corral")
        self.ended, self._asked = True, None
        if not self.is_open:
            return
        if not self._moved and self._rivals:
            self._at = self._entries.index(self._rivals[0])
        if self.blind:
            for pane, entry in zip(self._panes, self._entries, strict=True):
                pane.text = entry.answer.text if entry.answer else ""
            self._letters = LETTERS[: len(self._entries)] if len(self._rivals) > 1 else ""
            if not self._letters:
                self.blind = False  # There is nothing to choose from.
        await self._lay_out()
        if error is not None:
            self.query_one(Notice).fail(error)
        elif self._letters:
            self.query_one(Notice).say("Which is the best? Press its letter")

    async def _take_in(self, event: Event) -> None:
        if isinstance(event, Ordered):
            self._entries = list(self._comparison.entries)
            if self.blind:
                self._shuffle(self._entries)
            self._panes = [Pane(number) for number in range(len(self._entries))]
            await self.query_one(".panes").mount_all(self._panes)
            note = f"seed {event.seed}"
            if not self.blind:
                note += f" · {told_order(event.entries)}"
            self.query_one(Heading).tell(note)
            await self._lay_out()
        elif isinstance(event, Done):
            self._done.add(event.entry)
            self._asked = None
            if not self.blind:
                pane = self._pane_of(event.entry)
                if event.entry.answer is not None:
                    pane.text = event.entry.answer.text
                await pane.grow(everything=True)
            self._look()
        elif isinstance(event, Told):
            if self._asked is not event.entry:
                self._asked = event.entry
                if not self.blind and not self._moved:
                    self._at = self._entries.index(event.entry)
                    await self._lay_out()
            if isinstance(event.event, Words | Working) and not self.blind:
                self._pane_of(event.entry).take(event.event)

    def _pane_of(self, entry: Entry) -> Pane:
        return self._panes[self._entries.index(entry)]

    @property
    def _rivals(self) -> list[Entry]:
        """Those that there is something to read of."""
        return [entry for entry in self._entries if entry.answered]

    async def _tick(self) -> None:
        if (asked := self._asked) is None:
            return
        self._frame += 1
        for pane in self._panes:
            await pane.grow()
        # Only what moves by itself: a whole look would lay the screen out ten times a second.
        for pane, entry in zip(self._panes, self._entries, strict=True):
            if entry is asked or self.blind:
                pane.tell(self._state(entry), layout=False)
        self._show_tabs(layout=False)

    # --- what is shown ----------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay_out)

    async def _lay_out(self) -> None:
        """Show as many answers as have room, the current one among them."""
        if not self._panes or not self.is_open:
            self._look()
            return
        width = self.query_one(".panes").size.width
        room = max(1, min(len(self._panes), (width + 2) // COLUMN))
        first = max(0, min(self._at - room // 2, len(self._panes) - room))
        for pane in self._panes:
            pane.display = first <= pane.number < first + room
            await pane.grow(everything=self._entries[pane.number] is not self._asked)
        self.query_one(".tabs").display = room < len(self._panes)
        self.set_class(room == 1, "-single")  # The tab says whose answer it is.
        self.call_after_refresh(self._look)

    def _look(self) -> None:
        """Bring everything but the words up to date."""
        if not self.is_open or not self.query(Hints):
            return
        text = self._comparison.text
        self.query_one(".question", Static).update(Content(shorten(text, 400)))
        for pane, entry in zip(self._panes, self._entries, strict=True):
            pane.head(self._title(pane.number), current=pane.number == self._at)
            pane.tell(self._state(entry))
        self._show_tabs()
        table = self.query_one(".table", Static)
        table.display = bool(self._entries) and not self.blind
        if table.display:
            table.update(self._table())
        self.query_one(Hints).tell(self._hints())

    def _title(self, number: int) -> str:
        entry = self._entries[number]
        if self.blind:
            return LETTERS[number]
        return f"{LETTERS[number]} · {entry.label}" if self._letters else entry.label

    def _show_tabs(self, *, layout: bool = True) -> None:
        tabs = self.query_one(".tabs", Static)
        if not tabs.display:
            return
        width = max(20, self.query_one(".panes").size.width)
        each = max(6, width // max(1, len(self._entries)) - 5)
        parts: list[Content] = []
        for number, entry in enumerate(self._entries):
            style = "bold $accent" if number == self._at else MUTED
            words = f"{number + 1} {shorten(self._title(number), each)} {self._mark(entry)}"
            parts.append(Content.styled(words, style).stylize(Style.from_meta({"tab": number})))
        tabs.update(Content("  ").join(parts), layout=layout)

    def _mark(self, entry: Entry) -> str:
        if self.blind and not self.ended:
            return ""  # The order would tell who is who.
        if entry in self._done:
            return "✗" if entry.error is not None else "✓"
        return wording.SPINNER[self._frame % len(wording.SPINNER)] if entry is self._asked else "·"

    def _state(self, entry: Entry) -> Content:
        spinner = wording.SPINNER[self._frame % len(wording.SPINNER)]
        if self.blind and not self.ended:
            count = f"{len(self._done)} of {len(self._entries)} answers are written"
            return Content.styled(f"{spinner} {count}, shown when all are there", MUTED)
        if entry is self._asked:
            if self._comparison.stopped:
                return Content(f"{spinner} Stopping")
            return Content.styled(f"{spinner} {self._pane_of(entry).progress}", MUTED)
        if entry not in self._done:
            return Content.styled("not asked" if self.ended else "waiting for its turn", MUTED)
        if entry.error is not None:
            text = f"✗ {entry.error.title}: {entry.error.message}"
            return Content.styled(shorten(text, 300), "$text-error")
        if self.blind:
            return Content("")
        return Content.styled(shorten(". ".join(entry.notices), 200), "$text-warning")

    def _table(self) -> Content:
        """The figures of all, as many as have room."""
        none = ("",) * len(FIGURES)
        rows = [
            (self._title(number), figures(one) if one.answer or self.ended else none)
            for number, one in enumerate(self._entries)
        ]
        width = max(20, self.query_one(".panes").size.width)
        return table(rows, self._at, width, max(1, self.size.height // 4 - 3))

    def _hints(self) -> list[Hint]:
        if not self.ended:
            several: list[Hint] = [("←→", "look at", "")] if len(self._entries) > 1 else []
            return [*several, ("Esc", "stop all", "close")]
        if self.blind:
            first, last = self._letters[0].lower(), self._letters[-1].lower()
            vote: Hint = (f"{first}-{last}", "vote for it", "")
            return [vote, ("←→", "look at", ""), ("Esc", "close without a vote", "close")]
        if not self._entries:
            return [("Esc", "close", "close")]
        hints: list[Hint] = [("←→", "choose", "")]
        if self._rivals:
            hints += [("Enter", "take it as the answer", "take"), ("c", "copy", "copy")]
        return [*hints, ("Esc", "close, keep all", "close")]

    # --- what can be done -------------------------------------------------------------------------

    async def _go(self, number: int) -> None:
        """Look at an answer."""
        self._moved, self._at = True, number
        await self._lay_out()

    async def action_move(self, step: int) -> None:
        if self._panes:
            await self._go((self._at + step) % len(self._panes))

    async def on_click(self, event: events.Click) -> None:
        if (tab := event.style.meta.get("tab")) is not None:
            await self._go(tab)
        for node in event.widget.ancestors_with_self if event.widget else ():
            if isinstance(node, Pane):
                await self._go(node.number)

    def action_scroll(self, where: str) -> None:
        if self._panes:
            scroll = self._panes[self._at].scroll
            getattr(scroll, f"scroll_{where}")(animate=False)

    async def on_key(self, event: events.Key) -> None:
        """Digits look at an answer; letters vote while nobody knows whose it is."""
        character = (event.character or "").upper()
        if character.isdecimal() and 0 < int(character) <= len(self._panes):
            event.stop()
            await self._go(int(character) - 1)
        elif self.blind and self.ended and character and character in self._letters:
            event.stop()
            await self._vote(self._letters.index(character))
        elif character == "C" and self.ended and not self.blind and self._entries:
            event.stop()
            await self.action_copy()

    async def action_copy(self) -> None:
        answer = self._entries[self._at].answer
        if answer is not None and answer.text:
            await self.app.copy(answer.text, "the answer")  # type: ignore[attr-defined]

    async def on_fence_copy_wanted(self, event: Fence.CopyWanted) -> None:
        if await self.app.copy(event.fence.code, "the code"):  # type: ignore[attr-defined]
            event.fence.label(copied=True)

    async def _vote(self, number: int) -> None:
        winner, notice = self._entries[number], self.query_one(Notice)
        if not winner.answered:
            notice.say("There is nothing to read of this one", error=True)
            return
        self.blind, self.voted, self._at = False, True, number
        others = [one.name for one in self._rivals if one is not winner]
        told = f"{LETTERS[number]} was {winner.label}"
        try:
            await asyncio.to_thread(self._store.vote, winner.name, others)
            counted = {one.name: one for one in await asyncio.to_thread(self._store.votes)}
            mine = [counted[one.name] for one in self._entries if one.name in counted]
            scores = [f"{clean_line(one.name)} {one.wins} of {one.votes}" for one in mine]
            told += f". Won so far: {', '.join(scores)}"
        except CorralError as error:
            notice.fail(error)
        else:
            notice.say(shorten(told, 300))
        await self._lay_out()

    async def action_take(self) -> None:
        """Make the current answer the one of the conversation, and close."""
        notice = self.query_one(Notice)
        if not self.ended:
            notice.say("Esc stops them all; when all have ended, Enter takes one")
            return
        if self.blind or not self._entries:
            return
        entry = self._entries[self._at]
        if not entry.answered:
            notice.say("There is nothing to read of this one", error=True)
            return
        try:
            await self._comparison.show(entry)
        except CorralError as error:
            notice.fail(error)
            return
        self.dismiss(entry)

    def action_close(self) -> None:
        """Stop all of them first; what was written stays, whoever is taken."""
        if self.ended:
            self.dismiss(None)
            return
        self._comparison.stop()
        self._look()
