"""The conversation on the screen: what is known of it, and how it is changed in the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from corral.chat.conversation import Conversation, Message
from corral.chatting import Options
from corral.errors import CorralError, NotFound
from corral.store.store import Store
from corral.text import clean_line, shorten
from corral.tui import wording
from corral.tui.branching import Branching
from corral.tui.dialogue import Dialogue
from corral.tui.turns import Live, Turns
from corral.tui.writing import Writing

if TYPE_CHECKING:
    from corral.models.fit.recommend import Recommendation
    from corral.models.library.local import LocalModel

REOPENED_FOR = 12 * 3600.0
"""Seconds after which a start no longer goes on where the last one ended."""

LONG = 500
AT_ONCE = 200
"""Of a conversation with more messages than ``LONG``, so many of its path are read at first."""

NEW = Conversation(0, "", 0.0, 0.0)
"""A conversation that is not in the store yet."""

_DRAFT = "draft"
_OPEN = "conversation"
_LEFT = "left"


class Conversing(Writing, Branching):
    """Opens, creates and changes the one conversation that is shown.

    Args:
        clock: gives the seconds since the epoch.
        model_for: what answers in a conversation; called in a thread.
        recommend: what suits this machine; called in a thread.
    """

    def __init__(
        self,
        store: Store,
        turns: Turns,
        model_for: Callable[[Conversation], LocalModel],
        clock: Callable[[], float],
        recommend: Callable[[], Recommendation | None],
    ) -> None:
        super().__init__()
        self._store = store
        self._turns = turns
        self._model_for = model_for
        self._clock = clock
        self._recommend = recommend
        self._draft = ""
        self._begun = 0
        """The conversation that was created for a message which is not stored yet."""
        self._saving = asyncio.Lock()
        self.conversation = NEW
        self.dialogue = Dialogue()
        self.model: LocalModel | None = None
        """What would answer now; None where no model can."""
        self.no_model: CorralError | None = None
        """Why none can."""
        self.recommended: Recommendation | None = None
        """While only the starter is here: what would suit this machine better."""

    @property
    def id(self) -> int:
        """0 while the conversation is not in the store."""
        return self.conversation.id

    @property
    def live(self) -> Live | None:
        """The answer that is being written in it."""
        return self._turns.live.get(self.id)

    @property
    def model_name(self) -> str:
        return shorten(self.model.name, 60) if self.model else ""

    @property
    def model_title(self) -> str:
        return wording.titled(self.model.title, self.model.quant) if self.model else ""

    def last_answer(self) -> Message | None:
        """The newest answer on the path."""
        for message in reversed(self.dialogue.path()):
            if message.role == "assistant":
                return message
        return None

    # --- opening ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on where the last start ended, unless that was long ago."""
        id = await asyncio.to_thread(self._where_it_ended)
        if id is not None:
            try:
                await self.open(id)
                return
            except NotFound:
                pass
        await self.fresh()

    def _where_it_ended(self) -> int | None:
        left = _number(self._store.recall(_LEFT))
        was_open = self._store.recall(_OPEN)
        if was_open == "" and self._store.recall(_DRAFT):
            return None
        latest = self._store.latest()
        id = int(was_open) if was_open and was_open.isdecimal() else None
        if id is None:
            id = latest.id if latest else None
        ended = max(left, latest.updated if latest else 0.0)
        return id if self._clock() - ended < REOPENED_FOR else None

    async def fresh(self) -> None:
        """A new conversation, kept out of the store until something is sent."""
        draft = await asyncio.to_thread(self._store.recall, _DRAFT)
        self._take(replace(NEW, draft=draft or ""), Dialogue())
        await asyncio.to_thread(self._store.remember, _OPEN, "")
        await self.find_model()

    async def open(self, id: int, at: int | None = None) -> None:
        """Read a conversation; where ``at`` is in another branch, that one becomes the active.

        Raises:
            NotFound: it is gone.
        """
        while True:
            # A turn that begins or ends while the rows are read would be half in them.
            live = self._turns.live.get(id)
            conversation = await asyncio.to_thread(self._store.conversation, id)
            whole = at is not None or conversation.messages <= LONG
            if whole:
                messages = await asyncio.to_thread(self._store.messages, id)
            else:
                messages = await asyncio.to_thread(self._store.last_messages, id, AT_ONCE)
            if self._turns.live.get(id) is live:
                break
        self._take(conversation, Dialogue(messages, conversation.active))
        self.dialogue.whole = whole
        if at is not None and live is None:
            await self.go_to(at)
        if live is not None:
            for message in (live.question, live.answer):
                if message is not None:
                    self.arrived(message)
        await asyncio.to_thread(self._store.remember, _OPEN, str(id))
        await self.find_model()

    def _take(self, conversation: Conversation, dialogue: Dialogue) -> None:
        self.conversation, self.dialogue = conversation, dialogue
        self._as_of = conversation.updated
        self._draft = conversation.draft

    async def find_model(self) -> None:
        """Settle which model answers here."""
        await self.refresh()
        try:
            self.model = await asyncio.to_thread(self._model_for, self.conversation)
            self.no_model = None
        except CorralError as error:
            self.model, self.no_model = None, error
        only_the_starter = self.model is None or self.model.source == "starter"
        wanted = only_the_starter and self.id == NEW.id
        self.recommended = await asyncio.to_thread(self._recommend) if wanted else None

    @property
    def better(self) -> str:
        """What would suit this machine better, in one line; else nothing."""
        return clean_line(self.recommended.reason) if self.recommended else ""

    # --- saying something -------------------------------------------------------------------------

    async def send(self, text: str, parent: int | Literal["active"] | None = "active") -> Live:
        """Send a message; the first one puts the conversation into the store.

        Raises:
            StoreError: it could not be created; nothing was sent.
        """
        if not self.id:
            new = self.conversation
            self.conversation = await asyncio.to_thread(
                self._store.create_conversation,
                title=new.title,
                system=new.system,
                model=new.model,
                parameters=dict(new.parameters) or None,
            )
            if new.preset:
                await self.change(preset=new.preset)
            await asyncio.to_thread(self._store.remember, _OPEN, str(self.id))
            self._begun = self.id
        if parent == "active":
            # What the person sees: another corral may have made another branch the active one.
            parent = self.dialogue.active
        return self._turns.send(
            self.id, text, parent=parent, name=self.model_name, title=self.model_title
        )

    def regenerate(
        self, message: Message, options: Options = Options(), model: LocalModel | None = None
    ) -> Live:
        """Another answer; ``model`` is the one that ``options`` names."""
        name, title = self.model_name, self.model_title
        if model is not None:
            name, title = shorten(model.name, 60), wording.titled(model.title, model.quant)
        return self._turns.regenerate(message, options, name=name, title=title)

    def go_on(self, message: Message) -> Live:
        """Let an answer go on that was stopped or cut off."""
        return self._turns.go_on(message, name=self.model_name, title=self.model_title)

    def arrived(self, message: Message) -> None:
        """A message of this conversation was stored, or has a newer state."""
        if message.id not in self.dialogue:
            self.dialogue.active = message.id
        self.dialogue.add(message)

    async def sent(self, *, first: bool = False) -> None:
        """A message is stored; of the first one, what was kept for a new conversation may go."""
        if first or self._begun == self.id:
            self._begun = 0
            await asyncio.to_thread(self._store.remember, _DRAFT, "")
        async with self._saving:
            await self.refresh()
            self._draft = self.conversation.draft

    async def refresh(self) -> None:
        """Read the conversation's own row again, such as a title that was given meanwhile."""
        if self.id:
            try:
                fresh = await asyncio.to_thread(self._store.conversation, self.id)
            except NotFound:
                return
            if fresh.id == self.id:
                self.conversation = fresh

    async def reread(self) -> None:
        """Read everything again; a conversation without any message is none, and is taken back."""
        messages = await asyncio.to_thread(self._store.messages, self.id)
        if messages:
            await self.open(self.id)
            return
        if await asyncio.to_thread(self._store.deletion, self.id):
            await self.open(self.id)  # All of it can be brought back.
            return
        emptied = self.conversation
        stored = await asyncio.to_thread(self._store.conversation, self.id)
        await asyncio.to_thread(self._store.remember, _DRAFT, stored.draft)
        with contextlib.suppress(NotFound):
            await asyncio.to_thread(self._store.delete, self.id)
        self._take(replace(emptied, id=0, active=None, draft=""), Dialogue())

    # --- changing it ------------------------------------------------------------------------------

    async def change(self, **changes: Any) -> None:
        """Change the conversation, in the store once it is there.

        Raises:
            StoreError, NotFound: it could not be changed.
        """
        if id := self.id:
            changed = await asyncio.to_thread(
                lambda: self._store.update_conversation(id, **changes)
            )
            if id != self.id:
                return  # Another one is shown meanwhile.
            self.conversation = changed
        else:
            self.conversation = replace(self.conversation, **changes)
        if "model" in changes:
            await self.find_model()

    async def walk(self, message: Message, step: int) -> bool:
        """Go to the sibling before or after a message; False where there is none."""
        await self.read_rest()
        sibling = self.dialogue.sibling(message, step)
        if sibling is None:
            return False
        leaf = self.dialogue.leaf(sibling)
        await self.change(active=leaf)
        self.dialogue.active = leaf
        return True

    # --- the draft --------------------------------------------------------------------------------

    @property
    def stored_draft(self) -> str:
        """The draft as the store has it."""
        return self._draft

    async def save_draft(self, text: str) -> None:
        """Keep what stands in the box, where it is not kept already."""
        async with self._saving:
            id = self.id
            if text != self._draft:
                await asyncio.to_thread(self.write_draft, id, text)
                if id == self.id:
                    self._draft = text

    def write_draft(self, id: int, text: str) -> None:
        """The same at once, for the end of the program.

        Where another corral has deleted the conversation, it becomes the draft of a new one.
        """
        if id:
            with contextlib.suppress(NotFound):
                self._store.update_conversation(id, draft=text)
                return
        if text or not id:
            self._store.remember(_DRAFT, text)

    def leave(self, draft: str) -> None:
        """The program ends."""
        if draft != self._draft:
            self.write_draft(self.id, draft)
            self._draft = draft
        self._store.remember(_LEFT, str(self._clock()))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
