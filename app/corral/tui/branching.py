"""The tree of the conversation on the screen, as it is read and changed in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from corral.chat.conversation import Conversation, Message
from corral.tui.dialogue import Dialogue

if TYPE_CHECKING:
    from corral.store.branches import Deletion
    from corral.store.store import Store
    from corral.tui.turns import Live


class Branching:
    """The part of :class:`corral.tui.conversing.Conversing` that is about branches."""

    conversation: Conversation
    dialogue: Dialogue
    _store: Store

    def __init__(self) -> None:
        self._changing = asyncio.Lock()
        """Held while the tree is read or changed: what was read before a change is not shown."""
        self._as_of = 0.0
        """When the conversation had been changed last, as all its messages were read; its own row
        is read again without them, and what was said here is added to them."""

    if TYPE_CHECKING:  # What the whole of it brings.

        @property
        def id(self) -> int: ...
        @property
        def live(self) -> Live | None: ...
        def arrived(self, message: Message) -> None: ...
        async def refresh(self) -> None: ...
        async def change(self, **changes: Any) -> None: ...

    async def read_rest(self) -> bool:
        """Read what :meth:`open` left out of a long conversation; False where nothing was.

        Raises:
            StoreError: it cannot be read.
        """
        dialogue = self.dialogue
        if dialogue.whole:
            return False
        messages = await asyncio.to_thread(self._store.messages, self.id)
        if dialogue is not self.dialogue or dialogue.whole:
            return False  # It was closed, or read again for another reason.
        dialogue.fill(messages)
        return True

    async def go_to(self, id: int) -> None:
        """Make the path through a message the active one; nothing where it is that already.

        Raises:
            StoreError, NotFound: it could not be changed.
        """
        dialogue = self.dialogue
        message = dialogue.get(id)
        if message is None or any(one.id == id for one in dialogue.path()):
            return
        leaf = dialogue.leaf(message)
        await self.change(active=leaf)
        dialogue.active = leaf

    async def catch_up(self) -> None:
        """Take in what another corral has done to this conversation.

        Raises:
            StoreError, NotFound: it cannot be read, or is gone.
        """
        async with self._changing:
            if not self.id or self.live is not None:
                return
            conversation = await asyncio.to_thread(self._store.conversation, self.id)
            same = conversation.updated == self._as_of
            if same and conversation.messages == len(self.dialogue):
                return
            messages = await asyncio.to_thread(self._store.messages, self.id)
            if conversation.id != self.id or self.live is not None:
                return
            here = self.dialogue.active
            shown = here if any(one.id == here for one in messages) else conversation.active
            self.conversation, self._as_of = conversation, conversation.updated
            self.dialogue.replace(messages, shown)

    async def delete(self, message: Message, *, branch: bool) -> Deletion:
        """Delete a message, with everything below it or alone.

        Raises:
            StoreError, NotFound: it could not be deleted, or is gone already.
        """
        return await self._change_tree(
            lambda: self._store.delete_message(message.id, branch=branch), deletes=True
        )

    async def undo_deletion(self) -> Deletion:
        """Bring back what was deleted here last.

        Raises:
            NotFound: there is nothing.
        """
        id = self.id
        return await self._change_tree(lambda: self._store.undo_deletion(id))

    async def edit_answer(self, answer: Message, text: str) -> Message:
        """Put a text of the person's beside an answer.

        Raises:
            StoreError, NotFound: it could not be stored.
        """
        edited = await asyncio.to_thread(self._store.edit_answer, answer.id, text)
        await self.refresh()
        self.arrived(edited)
        return edited

    async def fork(self, message: Message) -> Conversation:
        """A new conversation that begins with everything up to a message.

        Raises:
            StoreError, NotFound: it could not be made.
        """
        return await asyncio.to_thread(self._store.fork, self.id, message.id)

    async def _change_tree(
        self, change: Callable[[], Deletion], *, deletes: bool = False
    ) -> Deletion:
        async with self._changing:
            done = await asyncio.to_thread(change)
            conversation = done.conversation
            messages = await asyncio.to_thread(self._store.messages, conversation.id)
            if conversation.id == self.id:
                self.conversation, self._as_of = conversation, conversation.updated
                # Another corral may look at another branch: a deletion leaves this one on its own.
                here = self.dialogue.active if deletes else None
                stays = any(one.id == here for one in messages)
                self.dialogue.replace(messages, here if stays else conversation.active)
            return done
