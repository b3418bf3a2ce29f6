"""The chat screen: it joins the conversation, the transcript, the sidebar and the box."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from corral.chat.conversation import Message
from corral.chatting import Event, Finished, LeftOut, Notice, Sent, Started
from corral.errors import CorralError
from corral.tui import keys, slash
from corral.tui.conversing import Conversing
from corral.tui.keys import Where
from corral.tui.screens.chat_commands import ChatCommands
from corral.tui.toasts import fail, say
from corral.tui.turns import Live
from corral.tui.widgets.alone import alone
from corral.tui.widgets.message import MessageView
from corral.tui.widgets.prompt import Prompt
from corral.tui.widgets.sidebar import Sidebar, title_of
from corral.tui.widgets.status import Header, Keys, State, place_of
from corral.tui.widgets.transcript import Transcript
from corral.tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from corral.chatting import Chatting
    from corral.store.store import Store
    from corral.tui.turns import Turns


class ChatScreen(ChatCommands):
    """One conversation, and the way to the others.

    Args:
        clock: gives the seconds since the epoch.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (80, "-wide")]  # noqa: RUF012 - as in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012 - as in Textual
    AUTO_FOCUS = "#prompt-area"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(key.keys, key.action, key.text, show=False)
            for key in keys.group("anywhere")
            if key.action and key.action not in ("command_palette", "quit")
        ),
        Binding("ctrl+z", "undo_delete", show=False),
    ]

    def __init__(
        self,
        store: Store,
        chatting: Chatting,
        turns: Turns,
        conversing: Conversing,
        clock: Callable[[], float],
        *,
        sidebar: bool = True,
    ) -> None:
        super().__init__(id="chat", classes="" if sidebar else "-no-sidebar")
        self.store = store
        self.chatting = chatting
        self.turns = turns
        self.conversing = conversing
        self.ready = False
        """Whether the history was read."""
        self._downloading = ""
        self.header = Header(id="header")
        self.sidebar = Sidebar(store, clock, id="sidebar")
        self.transcript = Transcript(id="transcript")
        self.welcome = Welcome(id="welcome")
        self.prompt = Prompt(id="prompt")
        self.keys = Keys(id="keys")

    def compose(self) -> ComposeResult:
        yield self.header
        with Horizontal(id="rooms"):
            yield self.sidebar
            with Vertical(id="room"):
                yield self.transcript
                yield self.welcome
                yield self.prompt
        yield self.keys

    async def on_mount(self) -> None:
        self.tell_keys()
        self.set_interval(0.5, self._tick)
        self.call_after_refresh(self._begin)

    async def _begin(self) -> None:
        """The first frame is painted: now read the history."""
        try:
            await self.conversing.start()
        except CorralError as error:
            fail(self, error)
        await self.sidebar.reload()
        await self.draw()
        self.ready = True
        self.run_worker(self.follow_downloads(), group="downloads", exit_on_error=False)

    # --- what is shown ----------------------------------------------------------------------------

    async def draw(self, at: int | None = None) -> None:
        """Show the conversation from scratch, and its draft in the box."""
        conversing = self.conversing
        self.editing = None
        typed = self.prompt.text
        draft = "" if conversing.is_text else conversing.conversation.draft
        # What somebody typed before the history was read is not thrown away.
        self.prompt.fill(f"{draft}{typed}" if typed and typed != draft else draft)
        await self.transcript.show(conversing.dialogue, conversing.live, at)
        self.tell()
        self.read_rest()
        await self.show_text(at)

    def tell(self) -> None:
        """Bring everything but the messages up to date."""
        conversing = self.conversing
        path = conversing.dialogue.path()
        self.set_class(not path, "-empty")
        if not path:
            if conversing.model is None:
                self.welcome.explain(conversing.better)
            else:
                self.welcome.greet(conversing.model_title, conversing.better)
        said = [message.text for message in path if message.role == "user"]
        self.prompt.area.recallable(self.recallable(said))
        self.tell_context()
        self.sidebar.mark(conversing.id or None, self.turns.live)
        self.tell_header()
        self.tell_note()
        self.tell_keys()

    def tell_header(self) -> None:
        conversing, chatting = self.conversing, self.chatting
        live = conversing.live
        in_memory = chatting.in_memory()
        name = conversing.model.name if conversing.model else ""
        state: State = "ready" if name in in_memory else "off"
        if conversing.model is None:
            state = "none"
        elif live is not None:
            state = "busy"
        last = conversing.last_answer()
        same = last is not None and (last.model or {}).get("name") == name
        speed = (last.timings or {}).get("tokens_per_second", 0.0) if last and same else 0.0
        place = place_of(chatting.loaded) if in_memory[:1] == [name] else ""
        spec = chatting.engine.loaded_spec
        if place and spec is not None and spec.pace == "quiet":
            place += " · quiet"
        self.header.tell(
            title_of(conversing.conversation, "New conversation"),
            conversing.model_name or "no model",
            state=state,
            place=place,
            speed=live.tokens_per_second() if live else speed,
            downloading=self._downloading,
            adapters=self.adapted,
        )

    def tell_downloads(self, summary: str) -> None:
        """What is on its way, where there is no sidebar that says it."""
        hidden = self.has_class("-narrow") or self.has_class("-no-sidebar")
        summary = summary if hidden else ""
        if summary != self._downloading:
            self._downloading = summary
            self.tell_header()

    def tell_note(self) -> None:
        """What the upper border of the box says."""
        if self.loading_note:
            self.prompt.note(self.loading_note)
        elif self.editing is not None:
            self.prompt.note("writing a message anew · Esc leaves it as it was")
        elif self.conversing.live is not None and not self.transcript.following:
            self.prompt.note("↓ the answer goes on below · PgDn")
        else:
            note = slash.hint(self.prompt.line) or self.prompt.area.fold_note
            self.prompt.note(note or self.preset_note or self.text_note)

    def tell_keys(self) -> None:
        where: Where = "prompt"
        if self.focused is self.transcript:
            where = "transcript"
        elif self.focused is not None and self.sidebar in self.focused.ancestors:
            where = "sidebar"
        self.keys.tell(where, running=self.conversing.live is not None)

    def _tick(self) -> None:
        self.tell_header()
        if self.conversing.live is not None:
            self.tell_note()

    @on(Transcript.Moved)
    def _on_moved(self) -> None:
        self.tell_note()

    def on_descendant_focus(self) -> None:
        self.tell_keys()

    # --- opening ----------------------------------------------------------------------------------

    @alone
    async def open_conversation(self, id: int | None, at: int | None = None) -> None:
        """Show another conversation, None for a new one; the draft of this one is kept."""
        await self.save_draft()
        self.opening, typed = True, self.prompt.text
        self.prompt.fill("")  # What is typed from here on is meant for the other one.
        try:
            if id is None:
                await self.conversing.fresh()
            else:
                await self.conversing.open(id, at)
        except CorralError as error:
            if typed:
                self.give_back(typed)
            fail(self, error)
            return
        finally:
            self.opening = False
        await self.draw(at)
        self.leave_sidebar()

    @on(Sidebar.Opened)
    async def _on_opened(self, event: Sidebar.Opened) -> None:
        if event.conversation != self.conversing.id or event.message is not None:
            await self.open_conversation(event.conversation, event.message)
        else:
            self.leave_sidebar()

    @on(MessageView.SiblingWanted)
    async def _on_sibling_wanted(self, event: MessageView.SiblingWanted) -> None:
        await self.walk(event.message, event.step)

    async def walk(self, message: Message, step: int) -> None:
        """Show the branch before or after a message."""
        if self.conversing.live is not None:
            say(self, "Stop the answer first, or wait until it is done", "Still writing")
            return
        try:
            if not await self.conversing.walk(message, step):
                return
        except CorralError as error:
            fail(self, error)
            return
        sibling = self.conversing.dialogue.path()
        await self.transcript.renew(None)
        at = next((m for m in sibling if m.parent == message.parent), None)
        self.transcript.put_cursor(at.id if at else None)
        self.tell()

    # --- sending ----------------------------------------------------------------------------------

    @on(Prompt.Submitted)
    async def _on_submitted(self, event: Prompt.Submitted) -> None:
        await self.submit(event.text)

    async def submit(self, text: str) -> None:
        conversing = self.conversing
        if (command := slash.parse(text)) is not None:
            await self._command(*command)
            return
        if self.swap is not None:
            self.send_when_loaded()
            return
        if self.written is not None:  # It was typed before the text was there.
            await self.open_conversation(None)
        if conversing.live is not None:
            busy = "An answer is still being written here. Esc stops it; your text stays in the box"
            say(self, busy, "Not sent", "warning")
            return
        if self.editing is not None and self.editing.role == "assistant":
            answer, self.editing = self.editing, None
            self.prompt.fill(self._kept_draft)
            await self.answer_edited(answer, text)
            return
        if conversing.model is None:
            error = conversing.no_model
            fail(self, error or CorralError("No model is installed", hint="Ctrl+O shows models"))
            return
        editing, self.editing = self.editing, None
        self.prompt.fill(self._kept_draft if editing else "")
        before = conversing.dialogue.active
        try:
            live = await conversing.send(text, editing.parent if editing else "active")
        except CorralError as error:
            self.give_back(text)
            fail(self, error)
            return
        live.before = before
        self.tell()

    async def _command(self, command: slash.Command, rest: str) -> None:
        self.prompt.fill("")
        if command.argument:
            await getattr(self, command.action)(rest)
        else:
            await self.run_action(command.action)

    def turn_event(self, live: Live, event: Event | None) -> None:
        """Told of everything that happens in every turn; None is the end of one."""
        if isinstance(event, Sent | Started | LeftOut | Notice | Finished) or event is None:
            self.call_later(self._on_turn_event, live, event)

    async def _on_turn_event(self, live: Live, event: Event | None) -> None:
        shown = live.conversation == self.conversing.id
        match event:
            case Notice(title, text):
                say(self, text, title, seconds=8.0)
            case Sent(message) | Started(message) if shown:
                self.conversing.arrived(message)
                if isinstance(event, Sent):
                    await self.conversing.sent()
                await self.transcript.renew(live)
                self.tell()
                self.transcript.to_end()
            case LeftOut(summary=summary) if shown:
                if summary is not None:
                    self.conversing.arrived(summary)
                await self.transcript.renew(live)
            case Finished(message) if shown:
                self.conversing.arrived(message)
                await self.transcript.settle(message)
            case None:
                await self._on_turn_ended(live, shown)
        # Each look at the list costs what the model computes with; an answer's end is told right
        # after the answer, and its beginning right after the question.
        again = isinstance(event, Started) and live.question is None
        if again or event is None or isinstance(event, Sent):
            await self.sidebar.reload()
            self.sidebar.mark(self.conversing.id or None, self.turns.live)

    async def _on_turn_ended(self, live: Live, shown: bool) -> None:
        # An answer that could not go on may have been taken back: then it is not on the path.
        path = [message.id for message in self.conversing.dialogue.path()] if shown else []
        answer = live.answer
        finished = answer is not None and answer.status != "streaming" and answer.id in path
        failed = live.answer is not None and live.answer.status == "failed"
        if live.error is not None and not (shown and failed):
            fail(self, live.error, where="" if shown else self.sidebar.title(live.conversation))
        if live.question is None and not shown and live.typed:
            try:  # Nothing was stored: the text is nowhere but here.
                self.conversing.write_draft(live.conversation, live.typed)
            except CorralError as error:
                fail(self, error)
        if shown and not finished:
            # Refused, or it could not be stored: what the store holds is what counts.
            await self._after_trouble(live)
        if shown:
            self.tell()

    async def _after_trouble(self, live: Live) -> None:
        try:
            await self.conversing.reread()
            if live.refused and live.before in self.conversing.dialogue:
                await self.conversing.change(active=live.before)
                self.conversing.dialogue.active = live.before
        except CorralError as error:
            fail(self, error)
        await self.transcript.show(self.conversing.dialogue, self.conversing.live)
        self.read_rest()
        await self.show_text()
        if live.refused and live.typed:
            self.give_back(live.typed)

    @on(Welcome.Chosen)
    def _on_example(self, event: Welcome.Chosen) -> None:
        self.take_up(event.text)

    def on_key(self, event: events.Key) -> None:
        """A letter that means nothing where the focus is goes where it is meant to go."""
        if not event.is_printable or not event.character:
            return
        target: Widget | None = None
        if self.focused is self.transcript and event.key not in _letters("transcript"):
            target = self.prompt.area
        elif self.focused is self.sidebar.rows and event.key not in _letters("sidebar"):
            target = self.sidebar.box
        elif self.focused is None:
            target = self.prompt.area
        if target is None:
            return
        event.stop()
        event.prevent_default()
        target.focus()
        if target is self.prompt.area:
            self.prompt.area.press(event.character)
        elif event.character != "/":
            self.sidebar.box.insert_text_at_cursor(event.character)


def _letters(where: Where) -> set[str]:
    return {name for key in keys.group(where) for name in key.keys.split(",")}
