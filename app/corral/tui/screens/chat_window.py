"""The context window of the conversation: its meter, its policy, pins and summaries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from textual import on
from textual.timer import Timer

from corral.chat.window import POLICIES, TITLES, recorded
from corral.errors import CorralError, UsageError
from corral.tui import slash, wording
from corral.tui.screens.chat_models import ChatModels
from corral.tui.toasts import fail, say
from corral.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from corral.metering import Measure, Meter
    from corral.store.store import Store
    from corral.tui.widgets.transcript import Transcript

PAUSE = 0.25
"""Seconds after a key before the meter counts; keys that come meanwhile are counted with it."""

ROPE = ("off", "linear", "yarn")


class ChatWindow(ChatModels):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about the window."""

    store: Store
    transcript: Transcript

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._meter: Meter | None = None
        self._meter_timer: Timer | None = None
        self._counting = False
        self._count_again = False
        self._counted_for: tuple[Any, ...] = ()
        """What was measured last, and what the box tells about."""
        self._told_of: tuple[Any, ...] = ()

    # --- the meter --------------------------------------------------------------------------------

    def tell_context(self) -> None:
        """Show what the last answer took, and count what the next one would."""
        path = self.conversing.dialogue.path()
        if self.conversing.live is not None or self._told_of != self._what():
            self._told_of = ()
            used = (use for message in reversed(path) if (use := wording.context(message)))
            self.prompt.show_context(next(used, None))
        self.count_soon()

    @on(Prompt.Changed)
    def count_soon(self) -> None:
        """Count what is typed when the keys pause."""
        if self._meter_timer is None:
            self._meter_timer = self.set_timer(PAUSE, self._count)

    def _count(self) -> None:
        self._meter_timer = None
        if self._counting:
            self._count_again = True
        elif not self.conversing.dialogue.whole:
            self.count_soon()
        elif self.conversing.live is None and self.swap is None:
            self._counting = True
            # Not a coroutine: Python complains about one that a closing screen never starts.
            self.run_worker(self._measure, group="meter", exit_on_error=False)  # type: ignore[arg-type]

    async def _measure(self) -> None:
        """Count once; what is typed meanwhile is counted after it."""
        try:
            measure, of = await self.measured(), self._counted_for
            if of == self._what() and self.conversing.live is None:
                await self._tell_measure(measure)
        finally:
            self._counting = False
            if self._count_again:
                self._count_again = False
                self.count_soon()

    async def measured(self) -> Measure | None:
        """What sending what stands in the box would cost now; None while the path is being read."""
        self._counted_for = self._what()
        if not self.conversing.dialogue.whole:
            return None
        if self._meter is None:
            from corral.metering import Meter

            self._meter = Meter(self.corral.chatting)
        conversing, typed = self.conversing, self.prompt.text
        if slash.parse(typed) is not None:
            typed = ""
        path = conversing.dialogue.path()
        if self.editing is not None:
            ids = [message.id for message in path]
            path = path[: ids.index(self.editing.id)] if self.editing.id in ids else path
        return await self._meter.measure(conversing.conversation, path, typed, conversing.model)

    def _what(self) -> tuple[Any, ...]:
        """What a measure is of; the text may be a letter further."""
        conversing = self.conversing
        return conversing.id, conversing.dialogue.active, conversing.model, self.editing

    async def _tell_measure(self, measure: Measure | None) -> None:
        if measure is None:
            return
        self._told_of = self._what()
        self.prompt.show_context(
            (measure.tokens, measure.n_ctx),
            about=measure.about,
            full=measure.full,
            left_out=measure.left_out,
        )
        await self.transcript.mark(measure.seen)

    # --- the policy and the size ------------------------------------------------------------------

    async def action_window(self) -> None:
        from corral.tui.screens.window import WindowScreen, choices_of

        measure = await self.measured()
        policy, sizes = await asyncio.to_thread(
            choices_of, self.corral.chatting, self.conversing.conversation, self.conversing.model
        )

        async def chosen(command: str | None) -> None:
            if command:
                await self.window_command(command)

        self.app.push_screen(WindowScreen(policy, sizes, measure), chosen)

    async def window_command(self, wanted: str) -> None:
        """``/window``, ``/window drop``, ``/window 8192 yarn``."""
        words = wanted.casefold().replace("\u202f", "").split()
        if not words:
            await self.action_window()
            return
        try:
            if words[0] in POLICIES and len(words) == 1:
                await self._change_policy(words[0])
            else:
                await self._change_size(words)
        except CorralError as error:
            fail(self, error)
        self.tell()

    async def _change_policy(self, policy: str) -> None:
        conversation = self.conversing.conversation
        parameters = {**conversation.parameters, "window": policy}
        await self.change(conversation, parameters=parameters)
        title = next(title for name, title in TITLES.items() if name == policy)
        say(self, f"When the window is full: {title}", "Context window")

    async def _change_size(self, words: list[str]) -> None:
        """Let the model be loaded with another window; ``auto`` is its own.

        Raises:
            UsageError: what was typed is neither, or the model cannot have it.
        """
        from corral.tui.screens.window import change_size

        size, rope = words[0], words[1] if len(words) == 2 else "off"
        number = 0 if size == "auto" else int(size) if size.isdecimal() and len(size) < 9 else -1
        if number < 0 or len(words) > 2 or rope not in ROPE:
            raise UsageError(
                f"“{' '.join(words)}” is neither a policy nor a size",
                hint=f"Policies: {', '.join(POLICIES)}. Sizes: auto, 2048, 8192 yarn, 8192 linear",
                title="Context window",
            )
        if self.conversing.model is None:
            raise UsageError("No model would answer here", title="Context window")
        said = await asyncio.to_thread(
            change_size,
            self.corral.chatting,
            self.conversing.conversation,
            self.conversing.model,
            number,
            rope,
        )
        parameters = dict(self.conversing.conversation.parameters)
        if parameters.keys() & {"n_ctx", "rope_scaling"}:
            parameters.pop("n_ctx", None)
            parameters.pop("rope_scaling", None)
            await self.change(self.conversing.conversation, parameters=parameters)
        say(self, said, "Context window", seconds=10.0)

    # --- pins and summaries -----------------------------------------------------------------------

    async def action_pin_message(self) -> None:
        """Keep the message at the cursor in what the model sees, or let it go again."""
        message = self.transcript.current
        if message is None:
            return
        await self._mark(message.id, pinned=not message.pinned)

    async def action_edit_summary(self) -> None:
        """Edit the summary that stands for what the model no longer sees."""
        from corral.tui.screens.window import SummaryDialog

        path = self.conversing.dialogue.path()
        at = recorded(path).summary_at
        with_one = [message for message in path if message.summary.strip()]
        message = next((m for m in path if m.id == at), with_one[-1] if with_one else None)
        current = self.transcript.current
        if current is not None and current.summary.strip():
            message = current
        if message is None:
            say(self, "/window summarise lets the model write one when it is full", "No summary")
            return

        async def edited(summary: str | None) -> None:
            if summary is not None and message is not None:
                await self._mark(message.id, summary=summary)

        self.app.push_screen(SummaryDialog(message.summary), edited)

    async def _mark(
        self, id: int, *, pinned: bool | None = None, summary: str | None = None
    ) -> None:
        try:
            marked = await asyncio.to_thread(
                self.store.mark_message, id, pinned=pinned, summary=summary
            )
        except CorralError as error:
            fail(self, error)
            return
        if marked.conversation == self.conversing.id:
            self.conversing.arrived(marked)
            await self.transcript.renew(self.conversing.live)
            self.tell()
