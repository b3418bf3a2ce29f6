"""The completion screen: a text over the whole screen, in which the model writes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import TextArea

from corral.chat import texts
from corral.chat.conversation import Message
from corral.chatting import Options
from corral.errors import CorralError, UsageError
from corral.tui import keys
from corral.tui.screens.completion_lines import CANDIDATES, CompletionLines
from corral.tui.widgets.alternatives import Alternatives
from corral.tui.widgets.text_editor import TextEditor
from corral.writing import candidate

if TYPE_CHECKING:
    from corral.chatting import Chatting
    from corral.metering import Meter
    from corral.tui.conversing import Conversing
    from corral.tui.dialogue import Dialogue
    from corral.tui.turns import Live

ELSEWHERE = ("models", "new_conversation", "parameters", "tree", "rename", "engine_log", "help")
"""What the chat's keys do here too."""
LOOK = 0.05
"""Seconds between two looks at what the model writes."""
PAUSE = 0.4
"""Seconds after a key before what was typed is kept, and counted."""


class Chat(Protocol):
    """What the screen needs of the chat it lies over."""

    @property
    def loading_note(self) -> str: ...
    async def caught_up(self) -> None: ...
    async def leave_text(self) -> None: ...
    async def text_changed(self) -> None: ...


class CompletionScreen(CompletionLines):
    """Edits the text of a conversation; every change is a branch of it, so nothing is lost.

    Args:
        chat: told when the text changed, and when it is left.
    """

    AUTO_FOCUS = "TextEditor"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, show=False)
            for key in keys.group("text")
            if key.action and key.action not in ("undo", "redo")
        ),
        *(
            Binding(key.keys, f"chat('{key.action}')", show=False)
            for key in keys.group("anywhere")
            if key.action in ELSEWHERE
        ),
    ]

    def __init__(self, conversing: Conversing, chatting: Chatting, chat: Chat) -> None:
        super().__init__()
        self.conversing = conversing
        self.chatting = chatting
        self._chat = chat
        self.editor = TextEditor()
        self.alternatives = Alternatives()
        self._undone: list[int] = []
        """Pieces that undo stepped back from, the latest last."""
        self._writing = self._stopped = False
        self._pause: Timer | None = None
        self._meter: Meter | None = None
        self._dialogue: Dialogue | None = None
        self._pieces: list[tuple[Message, str]] = []
        """What the editor shows of them."""

    def compose(self) -> ComposeResult:
        yield self.header
        yield self.editor
        yield self.alternatives
        yield self.notice
        yield self.status
        yield self.hints

    def on_mount(self) -> None:
        self.reload(self.conversing.conversation.draft)
        self.set_interval(0.25, self._tick)

    # --- what it shows ----------------------------------------------------------------------------

    def reload(self, draft: str = "", at: int | None = None) -> None:
        """Show the text as it is stored, or what was made of it and is not stored yet.

        Args:
            at: the message the cursor goes behind.
        """
        self._dialogue = self.conversing.dialogue
        self._pieces = self.conversing.pieces()
        self.editor.show(
            [(one.role == "assistant", shown) for one, shown in self._pieces],
            draft or None,
            self._end_of(at),
        )
        self.editor.unseen = texts.seen_from(self.conversing.dialogue.path())
        self.tell()
        self._soon()

    @property
    def here(self) -> bool:
        """Whether the text it shows is the one that is open."""
        return self.conversing.dialogue is self._dialogue

    def _end_of(self, id: int | None) -> int | None:
        size = 0
        for message, shown in self._pieces:
            size += len(shown)
            if message.id == id:
                return size
        return None

    @property
    def draft(self) -> str:
        """What would be lost if the program ended now."""
        if not self.here:
            return self.conversing.conversation.draft
        return self.editor.text if self.editor.changed else ""

    def piece(self) -> Message | None:
        """The piece the cursor is in, or at the end of."""
        at, size = self.editor.cursor, 0
        pieces = [one for one in self._pieces if one[1]]
        for message, shown in pieces:
            size += len(shown)
            if at <= size:
                return message
        return pieces[-1][0] if pieces else None

    def _tick(self) -> None:
        self.tell()
        if self.conversing.live is not None and not self._writing:
            self._follow()  # It was begun elsewhere.

    def on_screen_resume(self) -> None:
        """Something lay over it, which may have changed the text."""
        self.catch_up()

    def catch_up(self) -> None:
        """Show what was changed elsewhere, in the tree for example; what was typed stays."""
        shown = [message.id for message, _ in self._pieces]
        stored = [message.id for message in self.conversing.dialogue.path()]
        if self.here and not (self._writing or self.editor.changed or shown == stored):
            self.reload()

    # --- what is typed ----------------------------------------------------------------------------

    @on(TextArea.Changed)
    def _on_changed(self) -> None:
        self.forget_alternatives()
        self._soon()

    @on(TextArea.SelectionChanged)
    def _on_moved(self) -> None:
        self.tell()

    @on(TextEditor.TooLong)
    def _on_too_long(self) -> None:
        self.fail(UsageError("No model here can read as much text as that", title="Not pasted"))

    def _soon(self) -> None:
        if self._pause is None:
            self._pause = self.set_timer(PAUSE, self._paused)

    @work(group="keep")
    async def _paused(self) -> None:
        """Keep what was typed, and count it."""
        self._pause = None
        if self._writing:
            self._soon()
            return
        try:
            await self.keep()
        except CorralError as error:
            self.fail(error)
        await self._count()
        self.tell()

    async def keep(self) -> None:
        """Keep what was typed and is not stored.

        Raises:
            StoreError: it could not be kept.
        """
        if not self.here:
            return
        draft = self.draft
        if draft:
            await self.conversing.begin_text()
        if self.conversing.id and self.here:
            await self.conversing.save_draft(draft)

    async def _count(self) -> None:
        from corral.metering import Meter

        if self._meter is None:
            self._meter = Meter(self.chatting)
        conversing, editor = self.conversing, self.editor
        text = editor.text
        measure = await self._meter.measure_text(
            conversing.conversation, text, editor.unseen, conversing.model
        )
        if text == editor.text:
            self.measure = measure

    async def _commit(self) -> bool:
        """Store what was typed; False where it could not be, and then it stays as it is."""
        before, self.editor.read_only = self.editor.read_only, True
        try:
            if await self.conversing.commit(self.editor.text):
                self._undone.clear()
                at = self.editor.cursor
                self.reload()
                self.editor.put_cursor(at)
                await self._chat.text_changed()
        except CorralError as error:
            self.fail(error)
            return False
        finally:
            self.editor.read_only = before
        return self.here

    # --- the model writes -------------------------------------------------------------------------

    def action_go_on(self) -> None:
        self.write(1)

    def action_candidates(self) -> None:
        self.write(CANDIDATES)

    def write(self, count: int) -> None:
        """Let the model write; several candidates one after another, each beside the others."""
        if self._writing or self.looking or self._chat.loading_note:
            return
        self._writing = self.editor.read_only = True
        self._stopped = False
        self._write(count)

    @work(group="write", exit_on_error=False)
    async def _write(self, count: int) -> None:
        wrote = False
        try:
            self.notice.say("")
            self.close_alternatives()
            changed = self.editor.changed
            if not await self._commit():
                return
            end = self.conversing.end()
            if end is None:
                self.notice.say("Write a beginning first: a word is enough")
                return
            again = count > 1 and not changed and end.role == "assistant"
            for number in range(count):
                if self._stopped or not self.here:
                    break
                self.number = (number + 1, count)
                wrote = True
                await self._write_one(end, again)
        except CorralError as error:
            self.fail(error)
        finally:
            self.number = (0, 0)
            if wrote:
                await self._settle()
            self._writing = self.editor.read_only = False

    async def _write_one(self, end: Message, again: bool) -> None:
        if self.conversing.model is None:
            raise self.conversing.no_model or CorralError("No model is installed")
        parent = end.parent if again else end.id
        live = self.conversing.write(end, self._options(parent), again=again)
        await self._show_live(live, parent)

    async def _show_live(self, live: Live, parent: int | None) -> None:
        """Show what is written behind a piece, to its end."""
        if self.conversing.dialogue.active != parent:
            self.conversing.dialogue.active = parent
            self.reload()
        self.editor.read_only = True
        said = 0
        while True:
            ended = live.ended
            words = live.turn.text
            if len(words) > said:
                self.editor.extend(words[said:])
                said = len(words)
            self.tell()
            if ended:
                break
            await asyncio.sleep(LOOK)
            if not self.here:
                self._stopped = True
                return
        await self._chat.caught_up()
        if live.answer is not None and self.here:
            self.conversing.arrived(live.answer)
            self.conversing.dialogue.active = live.answer.id
        if live.error is not None:
            self._stopped = True
            self.fail(live.error)
        elif not said and not live.turn.stopped:
            self.notice.say("The model would end the text here. ^L shows what else could come")

    @work(group="write", exit_on_error=False)
    async def _follow(self) -> None:
        live = self.conversing.live
        if live is None or self._writing or live.answer is None:
            return
        self._writing = self.editor.read_only = True
        kept = False
        try:
            if self.editor.changed:  # It stays as a branch beside what is written now.
                await self.conversing.commit(self.editor.text, self._pieces)
                await self.conversing.go_back_to(live.answer.id)
            kept = True
            await self._show_live(live, live.answer.parent)
        except CorralError as error:
            self.fail(error)
        finally:
            if kept:
                await self._settle()
            self._writing = self.editor.read_only = False

    async def _settle(self) -> None:
        """Show the text as it is stored now; a piece without a word is no end of it."""
        if not self.here:
            return
        try:
            path = self.conversing.dialogue.path()
            if path and not path[-1].text and (end := self.conversing.end()) is not None:
                await self.conversing.go_back_to(end.id)
            self._undone.clear()
            place, size = self.editor.cursor, len(self.editor.text)
            self.reload()
            if place < size:  # Somebody looks at another place meanwhile.
                self.editor.put_cursor(place)
            await self._chat.text_changed()
        except CorralError as error:
            self.fail(error)

    def _options(self, parent: int | None) -> Options:
        """Of the next piece behind one: each there has a seed of its own, also where one is set."""
        options = Options(parameters={"max_tokens": self.length})
        usual = {**self.chatting.settings.sampling, **self.conversing.conversation.parameters}
        return candidate(options, usual.get("seed"), self.conversing.below(parent))
