"""Texts over the chat: a conversation whose format is completion opens in a screen of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from corral.chat.conversation import Message
from corral.errors import CorralError
from corral.tui.screens.chat_models import ChatModels
from corral.tui.toasts import fail, say


class ChatCompletion(ChatModels):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about texts."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._before_text: int | None = None
        """The conversation that a text lies over; None for a new one."""

    if TYPE_CHECKING:  # What the screen itself brings.

        async def open_conversation(self, id: int | None, at: int | None = None) -> None: ...

        async def draw(self, at: int | None = None) -> None: ...

    @property
    def text_note(self) -> str:
        """What the border of the box offers where a base model would answer."""
        model = self.conversing.model
        if model is None or self.conversing.dialogue.path() or model.format != "completion":
            return ""
        return "a base model goes on with texts · /complete"

    async def action_complete(self) -> None:
        await self.complete_command("")

    async def save_draft(self) -> None:
        """Keep what is typed; done before anything else is shown."""
        if not self.conversing.is_text:
            self._before_text = self.conversing.id or None
        await super().save_draft()

    async def complete_command(self, beginning: str) -> None:
        """``/complete [BEGINNING]``: a new text by the model that answers here."""
        if self.conversing.model is None:
            fail(self, self.conversing.no_model or CorralError("No model is installed"))
            return
        if self.swap is not None:
            say(self, "The model is still being loaded", "Not yet")
            return
        await self.save_draft()
        try:
            await self.conversing.fresh_text()
            if beginning:
                await self.conversing.commit(beginning)
        except CorralError as error:
            fail(self, error)
            new = self.conversing.conversation
            self.conversing.conversation = replace(new, draft=beginning)
        self.prompt.fill("")
        await self.draw()

    async def show_text(self, at: int | None = None) -> None:
        """Open the text that is shown now over the chat; put it away where there is none."""
        written = self.written
        if not self.conversing.is_text:
            if written is not None:
                self.written = None
                written.dismiss(None)
            return
        try:
            await self.conversing.read_rest()
        except CorralError as error:
            fail(self, error)
            return
        if written is not None:
            written.reload(self.conversing.conversation.draft, at)
            return
        from corral.tui.screens.completion import CompletionScreen

        self.written = written = CompletionScreen(self.conversing, self.corral.chatting, self)
        await self.app.push_screen(written)
        if at is not None:
            written.reload(self.conversing.conversation.draft, at)

    async def caught_up(self) -> None:
        """Wait until all that was told of answers is shown here."""
        done = asyncio.Event()
        self.call_later(done.set)
        await done.wait()

    async def leave_text(self) -> None:
        """Back to what was shown before the text."""
        typed = self.prompt.text
        try:
            await self.conversing.forget_empty()
        except CorralError as error:
            fail(self, error)
        await self.open_conversation(self._before_text)
        if self.conversing.is_text:  # The one before is gone.
            await self.open_conversation(None)
        if typed:
            self.give_back(typed)

    def edit_message(self, message: Message) -> None:
        """Take a message into the box; in a text the cursor goes there."""
        if self.written is not None:
            if not self.written.editor.changed:
                self.written.reload(at=message.id)
        else:
            super().edit_message(message)  # type: ignore[misc]

    async def text_changed(self) -> None:
        """Tell the list."""
        await self.sidebar.reload()
        self.sidebar.mark(self.conversing.id or None, self.corral.turns.live)
