"""The terminal application: it holds the parts, the running answers, the theme and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen

from corral import signals, trouble
from corral.errors import CorralError, EngineError
from corral.store.conversations import KEPT_IN_TRASH
from corral.terminal import foreign_encoding
from corral.text import clean, clean_line
from corral.tui import clipboard, themes
from corral.tui.entrance import Entrance
from corral.tui.toasts import say

if TYPE_CHECKING:
    from corral.chatting import Event
    from corral.kept import KeptPrompts
    from corral.parts import Parts
    from corral.paths import Paths
    from corral.tui.garbage import Garbage
    from corral.tui.screens.chat import ChatScreen
    from corral.tui.turns import Live

STOP_SECONDS = 4.0
"""How long running answers may take to stop when the program ends."""


def _conversation_commands() -> type[Any]:
    from corral.tui.commands import ConversationCommands

    return ConversationCommands


def _model_commands() -> type[Any]:
    from corral.tui.commands import ModelCommands

    return ModelCommands


class CorralApp(App[None]):
    """corral's screen.

    The first frame is the entrance, which needs nothing but Textual. The parts and the chat screen
    with all they import are brought while the person looks at it, and may already type.

    Args:
        build: makes the parts; runs in a thread, and what it raises ends the program.
        paths: where the parts live; the log is needed before they are there.
        theme: the one remembered, so that the first frame has its colours.
        sidebar: whether the list of conversations is shown on wide screens.
        clock: gives the seconds since the epoch.
        native_copy: puts text on the system's clipboard.
        environment: what the terminal says about itself.
        garbage: looked for when nobody waits; None leaves that to Python.
    """

    CSS_PATH = "app.tcss"
    TITLE = "corral"
    COMMANDS = App.COMMANDS | {_conversation_commands, _model_commands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(
        self,
        build: Callable[[], Parts],
        paths: Paths,
        *,
        theme: str = themes.DEFAULT,
        sidebar: bool = True,
        clock: Callable[[], float] = time.time,
        native_copy: Callable[[str], None] = clipboard.system_copy,
        environment: Mapping[str, str] = os.environ,
        garbage: Garbage | None = None,
    ) -> None:
        super().__init__()
        self._garbage = garbage
        self.paths = paths
        self.failed: CorralError | None = None
        """Why there are no parts."""
        self.kept: KeptPrompts | None = None
        """What models have read and is kept on disk; None where nothing can be."""
        self.furnished = False
        """Whether the parts are there, and with them the chat screen."""
        self._build = build
        self._clock = clock
        self._entrance = Entrance(sidebar=sidebar)
        self._native_copy = native_copy
        self._environment = environment
        self._leaving: asyncio.Task[None] | None = None
        for look in themes.THEMES:
            self.register_theme(look)
        self.theme = theme if theme in self.available_themes else themes.DEFAULT

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.own_variables(self.current_theme)

    def get_default_screen(self) -> Screen[None]:
        return self._entrance

    def on_mount(self) -> None:
        self._handle_signals()
        if self._garbage is not None:
            self.set_interval(1.0, self._tidy)
        # In a worker: keys go on reaching the entrance meanwhile.
        self.call_after_refresh(self.run_worker, self._open, group="open")

    async def on_event(self, event: events.Event) -> None:
        if self._garbage is not None and isinstance(event, events.InputEvent):
            self._garbage.disturb()
        await super().on_event(event)

    def _tidy(self) -> None:
        assert self._garbage is not None
        if self.furnished and self.turns.live:
            self._garbage.disturb()
        self._garbage.tidy()

    async def _open(self) -> None:
        """The first frame is painted: bring the parts, and show the chat."""
        from corral.kept import kept_of

        try:
            parts, self.chat = await asyncio.to_thread(self._bring)
        except CorralError as error:
            self.failed = error
            self.exit(return_code=error.exit_code)
            return
        self.parts = parts
        self.store, self.library, self.chatting = parts.store, parts.library, parts.chatting
        self.settings, self.turns = parts.settings, self.chat.turns
        self.engine = parts.engine
        self.kept = kept_of(parts)
        self.furnished = True
        await self.push_screen(self.chat)
        self.chat.prompt.area.focus()
        self.chat.prompt.area.take(self._entrance.typed)
        if self._entrance.message:
            while not self.chat.ready:  # noqa: ASYNC110 - once, for a few frames
                await asyncio.sleep(0.02)
            kept = self.chat.prompt.text
            self.chat.prompt.fill("")
            await self.chat.submit(self._entrance.message)
            self.chat.prompt.fill(f"{self.chat.prompt.text}{kept}")
        self.watch(self, "theme", self._keep_theme, init=False)
        notices = [*parts.notices, *parts.store.notices]
        if encoding := foreign_encoding():
            notices.append(
                f"This terminal's locale says {encoding}, and corral draws in UTF-8. Where letters "
                "or lines look wrong, start it with LC_ALL=C.UTF-8"
            )
        if parts.settings.theme not in self.available_themes:
            notices.append(f"There is no theme {parts.settings.theme}; {themes.DEFAULT} is used")
        for notice in dict.fromkeys(notices):
            say(self, notice, seconds=10.0)
        await asyncio.to_thread(parts.downloads.start)
        await asyncio.to_thread(self._sweep_kept)
        await self._calibrate()

    async def _calibrate(self) -> None:
        """Get to know the machine, so that what is said about speed is measured."""
        from corral.engine.errors import EngineStopped

        while self.turns.live or not self.chat.ready:  # noqa: ASYNC110 - nobody tells either
            await asyncio.sleep(0.5)
        try:
            await self.parts.calibrate()
        except EngineStopped:  # An answer or a load began: after it.
            await asyncio.sleep(0.5)
            await self._calibrate()
        except EngineError:  # whoever asks for an answer is told
            return
        else:
            for said in self.parts.engine.notices():
                say(self, said, "Another engine is used", "warning", 10.0)
            await self.chat.conversing.find_model()
            self.chat.tell()

    def _bring(self) -> tuple[Parts, ChatScreen]:
        """In a thread: most of the time goes into imports."""
        from corral.models.fit.recommend import recommend
        from corral.tui.conversing import Conversing
        from corral.tui.screens.chat import ChatScreen
        from corral.tui.turns import Turns

        parts = self._build()
        note_fault = partial(trouble.write_down, parts.paths.app_log)
        turns = Turns(parts.chatting, self._on_turn, time.monotonic, note_fault)
        conversing = Conversing(
            parts.store,
            turns,
            parts.chatting.planner.model_for,
            self._clock,
            lambda: recommend(parts.library.catalog, parts.fitter, parts.machine()),
        )
        chat = ChatScreen(
            parts.store,
            parts.chatting,
            turns,
            conversing,
            self._clock,
            sidebar=parts.settings.sidebar,
        )
        return parts, chat

    # --- running answers --------------------------------------------------------------------------

    def _on_turn(self, live: Live, event: Event | None) -> None:
        if self.is_running:
            self.chat.turn_event(live, event)

    # --- settings ---------------------------------------------------------------------------------

    def _keep_theme(self, theme: str) -> None:
        self.settings.theme = theme
        self.keep_setting("theme", theme)

    def keep_setting(self, key: str, value: object) -> None:
        """Write one setting into the person's file."""
        if problem := self.write_setting(key, value):
            say(self, problem, "Settings", "warning")

    def write_setting(self, key: str, value: object) -> str:
        """The same; gives one sentence where it is not kept, else nothing."""
        from corral.settings import save

        try:
            if save(self.paths.settings_file, key, value):
                return ""
            reason = "the file is not valid TOML"
        except OSError as error:
            reason = error.strerror or str(error)
        return f"The choice holds, but it is not kept in config.toml: {reason}"

    # --- words for the person ---------------------------------------------------------------------

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A toast of literal, cleaned text, whoever asks for it."""
        super().notify(
            clean(message),
            title=clean_line(title),
            severity=severity,
            timeout=timeout,
            markup=False,
        )

    def action_help_quit(self) -> None:
        """Ctrl+C is for copying, and a habit."""
        say(self, "Ctrl+Q quits, Esc stops an answer")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from corral.tui.commands import system_commands

        return system_commands(self)

    async def run_chat_action(self, action: str) -> None:
        """Run an action of the chat screen, for the palette."""
        await self.run_action(action, self.chat)

    def action_bench(self) -> None:
        """Measure how fast the model is here."""
        from corral.tui.screens.bench import open_bench

        open_bench(self)

    # --- copying ----------------------------------------------------------------------------------

    async def copy(self, text: str, what: str = "") -> bool:
        """Copy by both roads and say how that went; False where neither can have worked."""
        text = clean(text)
        terminal = clipboard.osc52_understood(self._environment) and len(text) <= clipboard.LIMIT
        if terminal:
            super().copy_to_clipboard(text)
        native = await clipboard.copy_natively(text, self._native_copy)
        if not native and not terminal:
            say(
                self,
                "This system has no clipboard program, and this terminal takes no text. "
                "Select it with the mouse while Shift is held",
                "Not copied",
                "error",
                10.0,
            )
            return False
        if what:
            say(self, f"Copied {what}" + ("" if native else " through the terminal"), seconds=2.5)
        return True

    def copy_to_clipboard(self, text: str) -> None:
        """Copy a selection; what is copied is always cleaned."""
        self.run_worker(self.copy(text, "the selection"), group="copy", exit_on_error=False)

    # --- the way out ------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        self.leave(0)

    def leave(self, code: int) -> None:
        """Stop and store what runs, save the draft, end; asked twice, end without waiting."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(code))
        else:
            # Not by cancelling it: what is cancelled before its first step never gets to the exit.
            self.exit(return_code=code)

    async def _leave(self, code: int) -> None:
        try:
            if self.furnished:
                if self.turns.live:
                    say(self, "Stopping the answer …")
                if self.chat.swap is not None:
                    self.chat.swap.stop()
                await self.turns.stop_all(STOP_SECONDS)
                self._put_away()
        finally:
            self.exit(return_code=code)

    def _put_away(self) -> None:
        """Save the draft, and empty the trash of what is old; harmless when done already."""
        with contextlib.suppress(CorralError):
            self.chat.conversing.leave(self.chat.draft)
        with contextlib.suppress(CorralError):
            self.store.empty_trash(KEPT_IN_TRASH)

    async def on_unmount(self) -> None:
        """The last chance, however the program ends."""
        if self.furnished:
            await self.turns.stop_all(0.0)
            self._put_away()
            await asyncio.to_thread(self.parts.downloads.close)
            # Its pipes belong to this event loop.
            await self.engine.close()
            # Not before: at its end a worker keeps what it has read.
            await asyncio.to_thread(self._sweep_kept)

    def _sweep_kept(self) -> None:
        """Let what is kept of conversations go with them."""
        if self.kept is not None:
            with contextlib.suppress(CorralError):
                self.kept.sweep()

    def _handle_signals(self) -> None:
        """Leave the ordinary way, so that the terminal and the text come out whole.

        The handlers stay until the loop is closed: a second signal must not end the process while
        Textual is giving the terminal back.
        """
        signals.handle(signals.SCREEN, lambda number: self.leave(128 + number))

    def _fatal_error(self) -> None:
        """A fault of the program: Textual would print it with all local variables, chats included.

        It goes to the log without them, and the person reads one sentence after the screen closed.
        """
        error = sys.exception() if sys.version_info >= (3, 11) else None
        where = ""
        if error is not None and trouble.write_down(self.paths.app_log, error):
            where = f" What happened is written in {self.paths.app_log}"
        saved = f"Messages and drafts are saved.{where}"
        fault = f"corral has met a fault of its own and had to end. {saved}"
        if trouble.replaced():
            fault = f"{trouble.REPLACED}, and had to end. {trouble.REPLACED_HINT}"
        self.panic(Text(fault))
