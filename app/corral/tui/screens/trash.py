"""The trash: what was deleted in the last weeks, to be brought back or to go for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from corral.errors import CorralError
from corral.store.moving import InTrash
from corral.text import shorten
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top
from corral.units import age

HINT = "Deleted conversations stay here for 30 days. Then, or when you say so, no byte stays."
NOTHING = "The trash is empty."


class Trash(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    def in_trash(self) -> list[InTrash]: ...
    def restore(self, id: int) -> None: ...
    def delete(self, id: int) -> None: ...


class TrashScreen(Modal[list[int]]):
    """A line a conversation; gives the numbers of those that were brought back.

    Args:
        forget: told of the conversations that are gone for good.
        clock: gives the seconds since the epoch.
    """

    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,u", "bring_back", show=False, priority=True),
        Binding("delete,x", "delete", show=False),
    ]

    def __init__(
        self,
        trash: Trash,
        forget: Callable[[Iterable[int]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._trash = trash
        self._forget = forget
        self._clock = clock
        self._found: list[InTrash] = []
        self._back: list[int] = []
        self._looked = False
        self._said = ""
        """What was done last."""

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading("Trash", "looking …")
                yield Static(HINT, markup=False, classes="hint")
            yield OptionList(markup=False, compact=True)
            with Bottom():
                yield Notice()
                yield Hints([("Esc", "close", "close")])

    def on_mount(self) -> None:
        self._look()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            self._found = await asyncio.to_thread(self._trash.in_trash)
        except CorralError as error:
            if self.is_open:
                self.query_one(Heading).tell("")
                self.query_one(Notice).fail(error)
            return
        self._looked = True
        if self.is_open:
            self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        if not self._looked:
            return
        options, found = self.query_one(OptionList), self._found
        highlighted = options.highlighted or 0
        width, now = max(20, options.scrollable_content_region.width - 2), self._clock()
        options.set_options(Option(_row(one, width, now)) for one in found)
        options.highlighted = min(highlighted, len(found) - 1) if found else None
        count = len(found)
        noun = "conversation" if count == 1 else "conversations"
        self.query_one(Heading).tell(f"{count} {noun}" if found else "")
        self.query_one(".hint").display = bool(found)
        keys = [("Enter", "bring back", "bring_back"), ("Del", "delete for good", "delete")]
        self.query_one(Hints).tell([*(keys if found else []), ("Esc", "close", "close")])
        if not found:
            self.query_one(Notice).say(f"{self._said}. {NOTHING}" if self._said else NOTHING)

    @property
    def _chosen(self) -> InTrash | None:
        number = self.query_one(OptionList).highlighted
        return self._found[number] if number is not None and self._found else None

    @work(exclusive=True, group="change")
    async def action_bring_back(self) -> None:
        if (chosen := self._chosen) is None:
            return
        id = chosen.conversation.id
        if await self._changed(self._trash.restore, id, f"“{_title(chosen)}” is back"):
            self._back.append(id)

    @work(exclusive=True, group="change")
    async def action_delete(self) -> None:
        if (chosen := self._chosen) is None:
            return
        text = f"“{_title(chosen)}” cannot be brought back then."
        if not await self.app.push_screen_wait(ConfirmDialog("Delete it for good?", text)):
            return
        id = chosen.conversation.id
        if await self._changed(self._trash.delete, id, f"“{_title(chosen)}” is gone"):
            await asyncio.to_thread(self._forget, [id])

    async def _changed(self, change: Callable[[int], None], id: int, said: str) -> bool:
        notice = self.query_one(Notice)
        try:
            await asyncio.to_thread(change, id)
        except CorralError as error:
            if self.is_open:
                notice.fail(error)
            return False
        if self.is_open:
            self._said = said
            notice.say(said)
            self._look()
        return True

    def action_close(self) -> None:
        self.dismiss(self._back)


def _title(one: InTrash) -> str:
    return shorten(one.conversation.title, 60) or "Untitled"


def _row(one: InTrash, width: int, now: float) -> Content:
    count = one.conversation.messages
    parts = [f"deleted {age(max(0.0, now - one.deleted))} ago".rjust(22)]
    if width >= 56:
        parts.insert(0, f"{count} {'message' if count == 1 else 'messages'}".rjust(14))
    right = "  ".join(parts)
    title = Content(shorten(one.conversation.title, 200) or "Untitled")
    title = title.truncate(max(8, width - len(right) - 2), ellipsis=True, pad=True)
    return Content.assemble(title, ("  " + right, MUTED))
