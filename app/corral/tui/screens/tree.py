"""The tree screen: every branch of the conversation, and what can be done with each message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from corral.chat.conversation import Message
from corral.errors import CorralError
from corral.text import clean_line, shorten
from corral.tui import keys, wording
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hint, Hints, Modal, Notice, Top
from corral.tui.widgets.branches import BranchesView, Twig, lay_out

if TYPE_CHECKING:
    from corral.tui.conversing import Conversing

BUSY = "An answer is being written here. Esc and Esc again stop it first"

Deed = Literal["open", "fork", "again", "again_with", "go_on", "edit"]


class Choice(NamedTuple):
    """What is to be done over in the chat."""

    deed: Deed
    message: Message


class TreeScreen(Modal[Choice | None]):
    """Shows the tree, deletes and brings back; everything else is done by whoever opened it."""

    AUTO_FOCUS = "BranchesView"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, key.action, show=False)
        for key in keys.group("tree")
        if key.action and key.action != "close"
    ]

    def __init__(self, conversing: Conversing, at: int | None = None) -> None:
        super().__init__()
        self._conversing = conversing
        self._start = at

    def compose(self) -> ComposeResult:
        with Frame():
            with Top():
                yield Heading(self._conversing.conversation.title or "Tree", "")
            yield BranchesView()
            with Bottom():
                yield Static("", markup=False, classes="detail")
                yield Notice()
                yield Hints([])

    def on_mount(self) -> None:
        self._show(self._start or self._conversing.dialogue.active)
        self.call_after_refresh(self._catch_up)

    async def _catch_up(self) -> None:
        """Another corral may have gone on in this conversation."""
        try:
            await self._conversing.catch_up()
        except CorralError as error:
            if self.is_open:
                self.query_one(Notice).fail(error)
            return
        # The rest of a long conversation may have been read meanwhile, too.
        known = {twig.message.id for twig in self._view.twigs}
        if self.is_open and known != {one.id for one in self._conversing.dialogue.messages()}:
            twig = self._view.twig
            self._show(twig.message.id if twig else None)

    # --- what is shown ----------------------------------------------------------------------------

    @property
    def _view(self) -> BranchesView:
        return self.query_one(BranchesView)

    def _show(self, at: int | None) -> None:
        twigs = lay_out(self._conversing.dialogue)
        self._view.show(twigs, at)
        ends = len(twigs) - len({twig.message.parent for twig in twigs} - {None})
        branches = f"{wording.number(ends)} {'branch' if ends == 1 else 'branches'}"
        messages = f"{wording.number(len(twigs))} {'message' if len(twigs) == 1 else 'messages'}"
        self.query_one(Heading).tell(f"{messages} · {branches}" if twigs else "")
        if not twigs:
            self.query_one(Notice).say("There is no message here. u brings back what was deleted")

    @on(BranchesView.Moved)
    def _on_moved(self) -> None:
        if not self.is_open:
            return
        twig = self._view.twig
        detail = self.query_one(".detail", Static)
        if twig is None:
            detail.update("")
            self.query_one(Hints).tell([("u", "undo", "undo"), ("Esc", "close", "close")])
            return
        live = self._conversing.live
        own = live is not None and live.answer is not None and live.answer.id == twig.message.id
        facts = " · ".join(_facts(twig.message, own=own))
        # Two lines of words are enough to know what was said; a message may have megabytes.
        width = max(20, detail.content_size.width or 60)
        words = shorten(twig.message.text[: 8 * width], 2 * width - 4)
        detail.update(Content.assemble((shorten(facts, width), MUTED), "\n", words))
        self.query_one(Hints).tell(_hints(twig))

    def on_resize(self) -> None:
        self.call_after_refresh(self._on_moved)

    # --- what can be done -------------------------------------------------------------------------

    def _choose(self, deed: Deed) -> None:
        twig = self._view.twig
        if twig is None:
            return
        if self._conversing.live is not None and deed != "open":
            self.query_one(Notice).say(BUSY, error=True)
            return
        self.dismiss(Choice(deed, twig.message))

    @on(BranchesView.Chosen)
    def action_open(self) -> None:
        self._choose("open")

    def action_fork(self) -> None:
        self._choose("fork")

    def action_again(self) -> None:
        self._choose("again")

    def action_again_with(self) -> None:
        self._choose("again_with")

    def action_go_on(self) -> None:
        twig = self._view.twig
        if twig is not None and not can_go_on(twig.message):
            self.query_one(Notice).say("Only an answer that was stopped or cut off can go on")
            return
        self._choose("go_on")

    def action_edit(self) -> None:
        self._choose("edit")

    async def action_copy(self) -> None:
        twig = self._view.twig
        if twig is not None:
            await self.app.copy(twig.message.text, "the message")  # type: ignore[attr-defined]

    async def action_delete(self) -> None:
        await self._delete(branch=True)

    async def action_delete_only(self) -> None:
        await self._delete(branch=False)

    async def _delete(self, *, branch: bool) -> None:
        twig, notice = self._view.twig, self.query_one(Notice)
        if twig is None:
            return
        if self._conversing.live is not None:
            notice.say(BUSY, error=True)
            return
        try:
            done = await self._conversing.delete(twig.message, branch=branch)
        except CorralError as error:
            if self.is_open:
                notice.fail(error)
            return
        if self.is_open:
            self._show(twig.message.parent)
            count = "1 message" if done.messages == 1 else f"{done.messages} messages"
            notice.say(f"Deleted {count} · u brings back what was deleted last")

    async def action_undo(self) -> None:
        notice = self.query_one(Notice)
        if self._conversing.live is not None:
            notice.say(BUSY, error=True)
            return
        try:
            done = await self._conversing.undo_deletion()
        except CorralError as error:
            if self.is_open:
                notice.say(error.message)
            return
        if self.is_open:
            self._show(done.first.id)
            count = "1 message is" if done.messages == 1 else f"{done.messages} messages are"
            notice.say(f"{count} back")


def can_go_on(message: Message) -> bool:
    """Whether an answer did not come to its own end."""
    whole = message.status == "complete" and message.stop_reason != "length"
    return message.role == "assistant" and not whole and message.status != "streaming"


def _facts(message: Message, *, own: bool) -> list[str]:
    """Who wrote it, when, and what it was made with.

    Args:
        own: it is an answer that is being written here.
    """
    said = "You" if message.role == "user" else wording.model_of(message) or "Answer"
    facts = [said, time.strftime("%Y-%m-%d %H:%M", time.localtime(message.created))]
    if message.role == "assistant":
        parameters = message.parameters or {}
        if ending := "being written" if own else wording.ending(message):
            facts.append(ending)
        facts += wording.statistics(message)[:2]
        for name in ("seed", "temperature"):
            if isinstance(value := parameters.get(name), int | float):
                facts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return [clean_line(fact) for fact in facts]


def _hints(twig: Twig) -> list[Hint]:
    hints: list[Hint] = [("Enter", "open", "open"), ("r", "again", "again")]
    hints += [("m", "other model", "again_with")]
    if can_go_on(twig.message):
        hints.append(("g", "go on", "go_on"))
    hints += [("e", "edit", "edit"), ("f", "fork", "fork"), ("Del", "delete", "delete")]
    return [*hints, ("u", "undo", "undo"), ("Esc", "close", "close")]
