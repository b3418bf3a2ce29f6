"""What models have read already and is kept on disk: looked at, and cleared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList

from corral.errors import CorralError
from corral.kept import KeptPrompt, KeptPrompts
from corral.text import shorten
from corral.tui import wording
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.listing import CLOSE, Listing
from corral.tui.screens.modal import MUTED, Heading, Hints, Notice
from corral.units import age, gigabytes, room

HINT = (
    "With these, a conversation goes on at once also after a restart. Clearing loses no words: "
    "the next answer reads the conversation again."
)
NOTHING = (
    "Nothing is kept yet. After an answer, in a quiet moment, what the model has read is written."
)
BROAD = 76
"""Cells of a row from which on it names the model."""


class KeptScreen(Listing[None, KeptPrompt]):
    """A line a conversation.

    Args:
        limit: bytes that all of them may take.
    """

    HEADING = "Kept prompts"
    ABOUT = HINT
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,x", "clear", show=False),
        Binding("c", "clear_all", show=False),
    ]

    def __init__(self, kept: KeptPrompts, limit: int) -> None:
        super().__init__()
        self._kept = kept
        self._limit = limit

    # --- what there is ----------------------------------------------------------------------------

    def read(self) -> list[KeptPrompt]:
        """All of them, without what a crash has left; runs in a thread."""
        self._kept.sweep()
        return self._kept.all()

    def line(self, item: KeptPrompt, width: int) -> Content:
        """Title, models, tokens, size and age."""
        return _row(item, width, time.time())

    def tell(self) -> None:
        """How much all of them take."""
        limit = f" of {gigabytes(self._limit)}" if self._limit else ""
        size = room(sum(prompt.bytes for prompt in self.items))
        self.query_one(Heading).tell(f"{size}{limit}")
        keys = [("Del", "clear it", "clear"), ("c", "clear all", "clear_all")]
        self.query_one(Hints).tell([*(keys if self.items else []), CLOSE])
        if not self.items:
            self.query_one(Notice).say(NOTHING)

    @on(OptionList.OptionHighlighted)
    def _on_highlighted(self) -> None:
        if (prompt := self.chosen) is not None:
            models = ", ".join(shorten(model, 60) for model in prompt.models)
            rest = f" · {models} · used {age(time.time() - prompt.used)} ago"
            # The row has the name already: it gives way first.
            width = self.query_one(OptionList).scrollable_content_region.width - 3
            self.detail(shorten(prompt.name, max(8, width - len(rest))) + rest)

    # --- what goes --------------------------------------------------------------------------------

    @work(exclusive=True, group="clear")
    async def action_clear(self) -> None:
        if (prompt := self.chosen) is not None:
            await self._clear([prompt], f"“{prompt.name}”")

    @work(exclusive=True, group="clear")
    async def action_clear_all(self) -> None:
        if self.items:
            count = len(self.items)
            await self._clear(
                self.items, f"{count} {'conversation' if count == 1 else 'conversations'}"
            )

    async def _clear(self, prompts: Sequence[KeptPrompt], what: str) -> None:
        """Say what goes, then remove it."""
        size = room(sum(prompt.bytes for prompt in prompts))
        text = f"What was read of {what}: {size}.\n\nNo message goes; it is only read again."
        if not await self.app.push_screen_wait(ConfirmDialog("Clear it?", text, "clear")):
            return
        notice = self.query_one(Notice)
        notice.say("Clearing …")
        failed = await asyncio.to_thread(self._remove, prompts)
        if not self.is_open:
            return
        if failed is not None:
            notice.fail(failed)
        else:
            notice.say(f"{size} are free again")
        self.look()

    def _remove(self, prompts: Sequence[KeptPrompt]) -> CorralError | None:
        """The last failure; runs in a thread."""
        failed = None
        for prompt in prompts:
            try:
                self._kept.remove(prompt)
            except CorralError as error:
                failed = error
        return failed


def amount(prompts: Sequence[KeptPrompt], limit: int) -> str:
    """``3 conversations, 1.20 of 20.0 GB``; without a limit only the size."""
    count = len(prompts)
    if not count:
        return "nothing yet"
    size = sum(prompt.bytes for prompt in prompts)
    what = f"{count} {'conversation' if count == 1 else 'conversations'}"
    if not limit:
        return f"{what}, {room(size)}"
    return f"{what}, {room(size).removesuffix(' GB')} of {gigabytes(limit)}"


def _row(prompt: KeptPrompt, width: int, now: float) -> Content:
    count = len(prompt.models)
    model = prompt.models[0] if count == 1 else f"{count} models"
    parts = [wording.tokens(prompt.tokens).rjust(13), room(prompt.bytes).rjust(9)]
    parts.append(age(now - prompt.used).rjust(11))
    if width >= BROAD:
        parts.insert(0, shorten(model, 26).ljust(26))
    elif width < 52:
        parts.pop()
    right = "  ".join(parts)
    title = Content(prompt.name).truncate(max(8, width - len(right) - 2), ellipsis=True, pad=True)
    return Content.assemble(title, ("  " + right, MUTED))
