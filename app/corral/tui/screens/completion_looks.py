"""Ways through the text of the completion screen: undo, candidates, alternatives, the way out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from textual import on, work

from corral.chat.conversation import Message
from corral.errors import CorralError
from corral.tui import wording
from corral.tui.screens.modal import Modal
from corral.tui.screens.modal import Notice as Line
from corral.tui.widgets.alternatives import Alternatives, shown
from corral.tui.widgets.text_editor import TextEditor
from corral.turn import Notice, Working

if TYPE_CHECKING:
    from corral.chatting import Chatting
    from corral.likeliest import Likeliest
    from corral.tui.conversing import Conversing
    from corral.tui.screens.completion import Chat

COUNT = 10
"""Alternatives that are shown."""


class CompletionLooks(Modal[None]):
    """The part of :class:`corral.tui.screens.completion.CompletionScreen` that moves in a text."""

    conversing: Conversing
    chatting: Chatting
    editor: TextEditor
    alternatives: Alternatives
    notice: Line
    _chat: Chat
    _undone: list[int]
    _writing: bool
    _stopped: bool

    def __init__(self) -> None:
        super().__init__()
        self._looking: Likeliest | None = None
        self._looked_at = ""
        """The text that the alternatives are about."""
        self._steps = 0
        """Tokens that the keys went on while one was looked at."""

    if TYPE_CHECKING:  # What the screen itself brings.

        def tell(self) -> None: ...
        def fail(self, error: CorralError) -> None: ...
        def reload(self, draft: str = "", at: int | None = None) -> None: ...
        def piece(self) -> Message | None: ...
        def write(self, count: int) -> Any: ...
        async def _commit(self) -> bool: ...

    @property
    def looking(self) -> bool:
        """Whether alternatives are being looked for."""
        return self._looking is not None

    # --- stop, and the way out --------------------------------------------------------------------

    async def action_stop(self) -> None:
        """Stop what goes on; else leave the alternatives; else the text."""
        self._stopped = True
        if self._looking is not None:
            self._looking.stop()
        elif (live := self.conversing.live) is not None:
            live.turn.stop()
        elif self._writing:
            return
        elif self.alternatives.display:
            self.close_alternatives()
        elif await self._commit():
            await self._chat.leave_text()

    def action_close(self) -> None:
        self.run_worker(self.action_stop(), group="close")

    async def action_chat(self, action: str) -> None:
        """What the chat below does."""
        await self.app.run_chat_action(action)  # type: ignore[attr-defined]

    async def action_models(self) -> None:
        await self.action_chat("models")

    # --- undo and redo ----------------------------------------------------------------------------

    @on(TextEditor.Step)
    async def _on_step(self, event: TextEditor.Step) -> None:
        await self.action_step(event.step)

    async def action_step(self, step: int) -> None:
        """Take the last piece back, or bring the next one; what was typed is undone by itself."""
        if self._busy() or self.editor.step_typed(step):
            return
        conversing = self.conversing
        stored = conversing.dialogue.active
        if self.editor.changed and (step > 0 or not await self._commit()):
            return
        try:
            if step < 0:
                last = conversing.end()
                if conversing.dialogue.active != stored:
                    # Typed before the program was started: it is kept, and undone as a whole.
                    await conversing.go_back_to(stored)
                elif last is not None:
                    await conversing.go_back_to(last.parent)
                else:
                    return
                if last is not None:
                    self._undone.append(last.id)
            else:
                piece = self._next()
                if piece is None:
                    return
                await conversing.go_back_to(piece.id)
        except CorralError as error:
            self.fail(error)
        self.reload()
        await self._chat.text_changed()

    def _next(self) -> Message | None:
        """What redo brings: what undo took, else the newest piece behind the end."""
        dialogue = self.conversing.dialogue
        while self._undone:
            piece = dialogue.get(self._undone.pop())
            if piece is not None and piece.parent == dialogue.active:
                return piece
            self._undone.clear()
        return self.conversing.next_of(dialogue.active)

    # --- candidates -------------------------------------------------------------------------------

    async def action_candidate(self, step: int) -> None:
        """The candidate before or after the piece at the cursor, and around."""
        if self._busy() or not await self._commit():
            return
        piece = self.piece()
        if piece is None:
            return
        others = self.conversing.others(piece)
        at = [one.id for one in others].index(piece.id)
        other = others[(at + step) % len(others)]
        if other.id == piece.id:
            return
        last = piece.id == getattr(self.conversing.end(), "id", None)
        try:
            leaf = other.id if last else self.conversing.dialogue.leaf(other)
            await self.conversing.go_back_to(leaf)
        except CorralError as error:
            self.fail(error)
            return
        self._undone.clear()
        self.reload(at=other.id)
        await self._chat.text_changed()

    def _busy(self) -> bool:
        return self._writing or self.conversing.live is not None

    # --- alternatives -----------------------------------------------------------------------------

    def action_alternatives(self) -> None:
        """The likeliest tokens at the cursor."""
        self._look(self.editor.cursor)

    def close_alternatives(self) -> None:
        """Put the list away, and the cursor where it was looked."""
        self._steps = 0
        if self.alternatives.display:
            self.alternatives.display = False
            if (found := self.alternatives.found) is not None:
                self.editor.put_cursor(found.start)
            self.alternatives.found = None
            self.editor.focus()
        self.tell()

    def forget_alternatives(self) -> None:
        """Put the list away where the text was changed: its places are others now."""
        if self.alternatives.found is not None and self.editor.text != self._looked_at:
            self._steps = 0
            self.alternatives.found = None
            self.alternatives.display = False
            self.tell()

    @on(Alternatives.Look)
    def _on_look(self, event: Alternatives.Look) -> None:
        self._steps += event.step
        self._step_on()

    def _step_on(self) -> None:
        """Look at the next token that the keys asked for."""
        found = self.alternatives.found
        if found is None or not self._steps or self._looking is not None:
            return
        step = 1 if self._steps > 0 else -1
        self._steps -= step
        self._look(found.before if step < 0 else max(found.end, found.start + 1))

    def _look(self, at: int) -> None:
        from corral.likeliest import Look

        if self._looking is None and not self._busy():
            text = self.editor.text
            look = Look(text, min(at, len(text)), COUNT, self.conversing.conversation)
            self._looking = self.chatting.likeliest(look)
            self._show_look(self._looking, text)

    @work(group="look", exit_on_error=False)
    async def _show_look(self, looking: Likeliest, text: str) -> None:
        model = self.conversing.model_name
        opened = not self.alternatives.display
        try:
            self.alternatives.display = True
            self.tell()
            async with contextlib.aclosing(looking):
                async for event in looking:
                    if isinstance(event, Working):
                        self.alternatives.wait(wording.progress(event, model)[0])
                    elif not isinstance(event, Notice) and text == self.editor.text:
                        self._looked_at = text
                        self.alternatives.tell(event)
                        self.alternatives.take_keys()
                        self.editor.mark(event.start, event.end)
                        opened = False
        except CorralError as error:
            if not looking.stopped:
                self.fail(error)
        finally:
            self._looking = None
            if opened or looking.stopped:
                self._steps = 0
            if opened:
                self.close_alternatives()
            self.tell()
            self._step_on()

    @on(Alternatives.Taken)
    async def _on_taken(self, event: Alternatives.Taken) -> None:
        """Cut the text there, put the token in, and let the model go on."""
        found, token = self.alternatives.found, event.token
        if found is None or self._busy() or self.looking:
            return
        if token.kind != "text":
            kind = "ends the text" if token.kind == "control" else "is only a part of a character"
            self.notice.say(f"{shown(token)}: this token {kind}, and cannot stand in it")
            return
        # What is cut off was perhaps typed just now: it stays as a branch.
        if not await self._commit():
            return
        text = self.editor.text[: found.start] + token.text
        if found.start == 0:  # SentencePiece's own space before the first word.
            text = text.removeprefix(" ")
        self.alternatives.found = None
        self.alternatives.display = False
        self.editor.focus()
        self.editor.load_text(text)
        self.editor.tint()
        self.editor.put_cursor(len(text))
        self.write(1)
