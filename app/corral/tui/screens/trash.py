"""The trash: what was deleted in the last weeks, to be brought back or to go for good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from corral.errors import CorralError
from corral.store.moving import InTrash
from corral.text import shorten
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.listing import CLOSE, Listing
from corral.tui.screens.modal import MUTED, Heading, Hints, Notice
from corral.units import age

HINT = "Deleted conversations stay here for 30 days. Then, or when you say so, no byte stays."
NOTHING = "The trash is empty."


class Trash(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    notices: list[str]

    def in_trash(self) -> list[InTrash]: ...
    def restore(self, id: int) -> None: ...
    def delete(self, id: int) -> None: ...


class TrashScreen(Listing[list[int], InTrash]):
    """A line a conversation; gives the numbers of those that were brought back.

    Args:
        forget: told of the conversations that are gone for good.
        clock: gives the seconds since the epoch.
    """

    HEADING = "Trash"
    ABOUT = HINT
    FRAME = "-medium"
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
        self._back: list[int] = []
        self._said = ""
        """What was done last."""

    def read(self) -> list[InTrash]:
        """What lies there; runs in a thread."""
        return self._trash.in_trash()

    def line(self, item: InTrash, width: int) -> Content:
        """Title, messages, and when it was deleted."""
        return _row(item, width, self._clock())

    def tell(self) -> None:
        """How many there are, and what can be done."""
        self.query_one(".detail").display = False
        count = len(self.items)
        noun = "conversation" if count == 1 else "conversations"
        self.query_one(Heading).tell(f"{count} {noun}" if count else "")
        keys = [("Enter", "bring back", "bring_back"), ("Del", "delete for good", "delete")]
        self.query_one(Hints).tell([*(keys if count else []), CLOSE])
        if not count:
            self.query_one(Notice).say(f"{self._said}. {NOTHING}" if self._said else NOTHING)

    async def action_bring_back(self) -> None:
        """Bring the one at the cursor back; a second key waits for the first one's end."""
        if (chosen := self.chosen) is None:
            return
        id = chosen.conversation.id
        if await self._changed(self._trash.restore, id, f"“{_title(chosen)}” is back"):
            self._back.append(id)

    @work(exclusive=True, group="change")
    async def action_delete(self) -> None:
        if (chosen := self.chosen) is None:
            return
        text = f"“{_title(chosen)}” cannot be brought back then."
        if not await self.app.push_screen_wait(ConfirmDialog("Delete it for good?", text)):
            return
        id = chosen.conversation.id
        if await self._changed(self._trash.delete, id, f"“{_title(chosen)}” is gone"):
            await asyncio.to_thread(self._forget, [id])

    async def _changed(self, change: Callable[[int], None], id: int, said: str) -> bool:
        notice, known = self.query_one(Notice), len(self._trash.notices)
        try:
            await asyncio.to_thread(change, id)
        except CorralError as error:
            if self.is_open:
                notice.fail(error)
            return False
        if self.is_open:
            # Such as that another program reads, and traces of the text may stay for now.
            self._said = ". ".join([said, *self._trash.notices[known:]])
            notice.say(self._said)
            self.items = [one for one in self.items if one.conversation.id != id]
            self.redraw()
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
