"""What stands in the box and is not sent yet: kept while it is typed, and never thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.timer import Timer

from corral.chat.conversation import Message
from corral.errors import CorralError
from corral.tui import wording
from corral.tui.screens.quick import QuickScreen
from corral.tui.toasts import fail, say
from corral.tui.widgets.prompt import Prompt, PromptArea

if TYPE_CHECKING:
    from corral.tui.conversing import Conversing
    from corral.tui.screens.completion import CompletionScreen

DRAFT_PAUSE = 0.5
"""Seconds after the last key before a draft is saved."""


class Drafting(QuickScreen):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that looks after the box."""

    conversing: Conversing
    prompt: Prompt

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.editing: Message | None = None
        """A message of the person's own that is being written anew."""
        self._kept_draft = ""
        """What stood in the box before that."""
        self.opening = False
        """While another conversation is read: the box belongs to neither."""
        self._draft_timer: Timer | None = None
        self._draft_trouble = ""
        """Why it could not be kept the last time."""
        self.written: CompletionScreen | None = None
        """The screen of the text that lies over the chat."""

    if TYPE_CHECKING:  # What the screen itself brings.

        def tell_note(self) -> None: ...

    def give_back(self, text: str) -> None:
        """Put a text that was not sent back in the box, before whatever was typed since."""
        typed = self.prompt.text
        self.prompt.fill(f"{text}\n\n{typed}" if typed.strip() and typed != text else text)

    @on(Prompt.Changed)
    def _on_prompt_changed(self) -> None:
        self.tell_note()
        if self._draft_timer is None:
            self._draft_timer = self.set_timer(DRAFT_PAUSE, self._draft_due)

    async def _draft_due(self) -> None:
        self._draft_timer = None  # It rings now: to stop it would cancel this very call.
        await self.save_draft()

    @property
    def draft(self) -> str:
        """What would be lost if the program ended now."""
        if self.conversing.is_text:
            stored = self.conversing.conversation.draft
            return self.written.draft if self.written is not None else stored
        if self.opening:
            return self.conversing.stored_draft
        typed = self.prompt.text
        if self.editing is None:
            return typed
        if typed.strip() == self.editing.text.strip():
            return self._kept_draft
        return "\n\n".join(text for text in (self._kept_draft, typed) if text.strip())

    async def save_draft(self) -> None:
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None
        try:
            if self.conversing.is_text:
                if self.written is not None:
                    await self.written.keep()
                return
            await self.conversing.save_draft(self.draft)
        except CorralError as error:
            if error.message != self._draft_trouble:  # Once, and not at every pause.
                fail(self, error)
            self._draft_trouble = error.message
        else:
            self._draft_trouble = ""

    @on(PromptArea.TooLong)
    def _on_too_long(self, event: PromptArea.TooLong) -> None:
        say(
            self,
            f"{wording.number(event.length)} characters are more than any model here can read",
            "Not pasted",
            "warning",
        )
