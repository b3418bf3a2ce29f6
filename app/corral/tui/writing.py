"""The text on the screen, where the conversation is one: its pieces, read and changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corral.chat import texts
from corral.chat.conversation import Conversation, Message
from corral.chat.formats import COMPLETION
from corral.chatting import Options
from corral.tui.dialogue import Dialogue
from corral.tui.widgets.prompt_area import typed

if TYPE_CHECKING:
    from corral.store.store import Store
    from corral.tui.turns import Live, Turns


class Writing:
    """The part of :class:`corral.tui.conversing.Conversing` that is about texts."""

    conversation: Conversation
    dialogue: Dialogue
    _store: Store
    _turns: Turns
    _draft: str
    _saving: asyncio.Lock
    _changing: asyncio.Lock

    if TYPE_CHECKING:  # What the whole of it brings.

        @property
        def id(self) -> int: ...
        @property
        def model_name(self) -> str: ...
        @property
        def model_title(self) -> str: ...
        def arrived(self, message: Message) -> None: ...
        async def change(self, **changes: Any) -> None: ...
        async def find_model(self) -> None: ...
        async def read_rest(self) -> bool: ...
        def _take(self, conversation: Conversation, dialogue: Dialogue) -> None: ...

    @property
    def is_text(self) -> bool:
        """Whether what is shown is a text, and no dialogue."""
        return texts.is_text(self.conversation)

    async def fresh_text(self) -> None:
        """An empty text by the model that answers now; in the store once something is written."""
        parameters = {texts.FORMAT: COMPLETION.name}
        new = Conversation(0, "", 0.0, 0.0, model=self.conversation.model, parameters=parameters)
        self._take(new, Dialogue())
        await self.find_model()

    async def begin_text(self) -> None:
        """Put it into the store where it is not there yet; once, however many want that.

        Raises:
            StoreError: it could not be created.
        """
        async with self._saving:
            if self.id:
                return
            new = self.conversation
            made = await asyncio.to_thread(
                self._store.create_conversation, model=new.model, parameters=dict(new.parameters)
            )
            if self.conversation is new:
                self.conversation = made
            await asyncio.to_thread(self._store.remember, "conversation", str(made.id))

    async def forget_empty(self) -> None:
        """Let a text go that nobody wrote anything in.

        Raises:
            StoreError: that could not be done.
        """
        id = self.id
        if not id or len(self.dialogue):
            return
        if await asyncio.to_thread(lambda: self._store.deletion(id)) is not None:
            return
        await asyncio.to_thread(self._store.delete, id)
        self.conversation = replace(self.conversation, id=0, draft="")
        self._draft = ""

    # --- its pieces -------------------------------------------------------------------------------

    def pieces(self) -> list[tuple[Message, str]]:
        """The messages of the path, and what is shown of each: the same words, cleaned."""
        return [(message, typed(message.text)) for message in self.dialogue.path()]

    def end(self) -> Message | None:
        """The last piece that says something."""
        return next((one for one in reversed(self.dialogue.path()) if one.text), None)

    async def commit(self, text: str, pieces: list[tuple[Message, str]] | None = None) -> bool:
        """Make the text what stands in the editor; False where it is that already.

        A change is a branch behind the last piece that stays whole.

        Args:
            pieces: what was changed; None is the path as it is now.

        Raises:
            StoreError, NotFound: it could not be stored.
        """
        async with self._changing:
            return await self._commit(text, self.pieces() if pieces is None else pieces)

    async def _commit(self, text: str, pieces: list[tuple[Message, str]]) -> bool:
        dialogue = self.dialogue
        changed = texts.change([(message.id, shown) for message, shown in pieces], text)
        if changed is None:
            return False
        await self.begin_text()
        parent = pieces[changed.kept - 1][0].id if changed.kept else None
        if changed.pieces:
            id = self.id
            added = await asyncio.to_thread(self._store.add_pieces, id, parent, changed.pieces)
            for message in added:
                dialogue.add(message)
            dialogue.active = added[-1].id
            conversation = await asyncio.to_thread(self._store.conversation, id)
            if dialogue is self.dialogue:
                self._draft, self.conversation = conversation.draft, conversation
        else:
            await self.go_back_to(parent)
        return True

    async def go_back_to(self, id: int | None) -> None:
        """Let the text end with a piece, None for none of them; what is below stays there.

        Raises:
            StoreError, NotFound: it could not be changed.
        """
        dialogue = self.dialogue
        await self.change(active=id)
        dialogue.active = id

    def others(self, piece: Message) -> list[Message]:
        """All that stands behind the same piece as this one, the oldest first."""
        found = (one for one in self.dialogue.messages() if one.parent == piece.parent)
        return sorted((one for one in found if one.text or one is piece), key=lambda one: one.id)

    def below(self, id: int | None) -> int:
        """How many pieces stand behind one, None for the beginning; those without a word, too."""
        return sum(one.parent == id for one in self.dialogue.messages())

    def next_of(self, id: int | None) -> Message | None:
        """The newest piece behind one; None where the text ends."""
        found = (one for one in self.dialogue.messages() if one.parent == id and one.text)
        return max(found, key=lambda one: one.id, default=None)

    # --- the model's turn -------------------------------------------------------------------------

    def write(self, piece: Message, options: Options, *, again: bool) -> Live:
        """Let the model write on behind a piece.

        Args:
            again: another one in place of this piece.

        Raises:
            UsageError: it is writing already.
        """
        begin = self._turns.regenerate if again else self._turns.write
        return begin(piece, options, name=self.model_name, title=self.model_title)

    async def remember_length(self, tokens: int) -> None:
        """How long a piece of the model is at most, from now on; 0 is to its own end."""
        parameters = {**self.conversation.parameters, "max_tokens": tokens}
        if self.id:
            await self.change(parameters=parameters)
        else:
            self.conversation = replace(self.conversation, parameters=parameters)
