"""What goes on around the box: completion, earlier prompts, the person's own editor, vim's keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from textual import on

from corral.chat.conversation import Conversation
from corral.errors import CorralError
from corral.text import clean_line, shorten
from corral.tui import wording
from corral.tui.screens.chat_settings import ChatSettings
from corral.tui.screens.completing import names_at
from corral.tui.toasts import fail, say
from corral.tui.widgets.completion import Choice
from corral.tui.widgets.prompt import PromptArea
from corral.tui.widgets.sidebar import title_of
from corral.tui.widgets.welcome import EXAMPLES

if TYPE_CHECKING:
    from corral.store.store import Store

EARLIER = 100
"""Prompts of other conversations that ↑ goes back through; the search has all of them."""

CONVERSATIONS = 1_000


class ChatBox(ChatSettings):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that serves the box."""

    store: Store

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._earlier: list[str] = []
        self._read_for: int | None = None
        """The conversation that was shown when they were read."""

    if TYPE_CHECKING:  # What the screen itself brings.

        async def open_conversation(self, id: int | None, at: int | None = None) -> None: ...

        def action_search(self) -> None: ...

    async def on_mount(self) -> None:
        self.prompt.choices_for = self._choices_for
        self.prompt.area.busy = lambda: self.conversing.live is not None or self.swap is not None
        self.prompt.area.use_vim(self.corral.settings.vim)

    # --- earlier prompts --------------------------------------------------------------------------

    async def _read_earlier(self) -> None:
        try:
            found = await asyncio.to_thread(self.store.prompts, "", EARLIER)
        except CorralError:
            return
        self._earlier = [one.head for one in reversed(found) if one.is_whole]
        self.tell()

    def recallable(self, said: Sequence[str]) -> Sequence[str]:
        """What ↑ goes through: prompts of other conversations, then those of this one.

        Args:
            said: those of this one.
        """
        if self._read_for != self.conversing.id:
            # What was just said in another one is earlier now.
            self._read_for = self.conversing.id
            self.run_worker(
                self._read_earlier(), group="earlier", exclusive=True, exit_on_error=False
            )
        here = set(said)
        return [*(text for text in self._earlier if text not in here), *said] or EXAMPLES

    def action_recall(self, wanted: str = "") -> None:
        """Look through everything that was ever asked, and take one up."""
        from corral.tui.screens.recall import RecallScreen

        async def taken(message: int | None) -> None:
            if message is None:
                return
            try:
                text = (await asyncio.to_thread(self.store.message, message)).text
            except CorralError as error:
                fail(self, error)
                return
            self.take_up(text)

        self.app.push_screen(RecallScreen(self.store.prompts, wanted), taken)

    def take_up(self, text: str) -> None:
        """Put a text into the box; what a person has written there stays."""
        typed = self.prompt.text.strip()
        if typed and typed not in EXAMPLES:
            self.prompt.area.take(text)
        else:
            self.prompt.fill(text)
        self.prompt.area.focus()

    async def recall_command(self, wanted: str) -> None:
        """``/recall WORDS``."""
        self.action_recall(wanted)

    # --- the person's own editor ------------------------------------------------------------------

    def action_editor(self) -> None:
        self.run_worker(self._edit(), group="editor", exclusive=True)

    async def _edit(self) -> None:
        from corral.tui.editor import EditorError, edit, find_editor

        prompt = self.prompt
        before = shown = prompt.text

        def put(text: str) -> None:
            nonlocal shown
            if text == shown:
                return
            # A message that was refused meanwhile came back before what is edited.
            refused = prompt.text.removesuffix(shown).rstrip("\n")
            prompt.fill(text)
            shown = prompt.text
            if refused:
                self.give_back(refused)

        try:
            command = await asyncio.to_thread(find_editor, os.environ)
            put(await edit(self.corral, before, command, self.corral.paths.cache / "editor", put))
        except CorralError as error:
            left = error.left if isinstance(error, EditorError) else None
            put(before if left is None else left)
            fail(self, error)
            return
        prompt.area.focus()

    # --- completion -------------------------------------------------------------------------------

    async def _choices_for(self, kind: str, typed: str) -> Sequence[Choice]:
        """What may complete an argument of a kind: what the method named after it gives."""
        find: Callable[[str], Sequence[Choice]] | None = getattr(self, f"{kind}_choices", None)
        if find is None:
            return []
        try:
            return await asyncio.to_thread(find, typed)
        except CorralError:
            return []

    def model_choices(self, typed: str) -> Sequence[Choice]:
        """Installed models; runs in a thread."""
        return [
            Choice(clean_line(one.name), wording.titled(one.title, one.quant))
            for one in self.corral.library.models()
            if one.state == "installed"
        ]

    def conversation_choices(self, typed: str) -> Sequence[Choice]:
        """Titles of conversations; runs in a thread."""
        found = self.store.conversations(limit=CONVERSATIONS)
        return [Choice(title_of(one), _size(one)) for one in found]

    def path_choices(self, typed: str) -> Sequence[Choice]:
        """Files and folders as a path goes on; runs in a thread."""
        before, names = names_at(typed)
        return [Choice(before + name, "", name) for name in sorted(names)]

    async def open_command(self, wanted: str) -> None:
        """``/open WORDS``: the one conversation with that title; else the search."""
        try:
            found = await asyncio.to_thread(self.store.conversations, limit=CONVERSATIONS)
        except CorralError as error:
            fail(self, error)
            return
        words = wanted.casefold().split()
        named = [one for one in found if title_of(one).casefold() == wanted.casefold()]
        named = named or [
            one for one in found if words and all(w in title_of(one).casefold() for w in words)
        ]
        if len(named) == 1:
            await self.open_conversation(named[0].id)
        else:
            self.action_search()
            self.sidebar.box.value = clean_line(wanted)

    @on(PromptArea.TooLongToUnfold)
    def _on_too_long_to_unfold(self) -> None:
        say(
            self,
            "It is too long to be shown in the box. F7 opens it in your editor",
            "Not unfolded",
            "warning",
        )


def _size(conversation: Conversation) -> str:
    count = conversation.messages
    model = shorten(conversation.answered_by or "", 40)
    messages = f"{wording.number(count)} {'message' if count == 1 else 'messages'}"
    return f"{messages} · {model}" if model else messages
