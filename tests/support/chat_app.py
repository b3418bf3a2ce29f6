"""The whole chat screen on a history of its own, with an engine that follows a script."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.gguf_files import tiny_llama
from tests.support.scripted_engine import Script, ScriptedEngine
from textual.message import Message as TextualMessage
from textual.pilot import Pilot

from corral.chat.conversation import Conversation, Message
from corral.chatting import Chatting
from corral.engine.engine import Engine
from corral.engine.states.shelf import Shelf
from corral.models.catalog import Catalog, find_catalogue
from corral.models.downloads.downloads import Downloads
from corral.models.fit.fitter import Fitter
from corral.models.hub.client import Hub
from corral.models.library.library import Library
from corral.parts import Parts
from corral.paths import Paths
from corral.settings import Settings
from corral.store.store import Store
from corral.tui.app import CorralApp
from corral.tui.screens.chat import ChatScreen

NOW = 1_790_000_000.0
PATIENCE = 20.0
"""Seconds a condition may take; a busy machine is slow, a broken program never gets there."""


@dataclass
class Chat:
    """What a test looks at and acts on."""

    app: CorralApp
    pilot: Pilot[None]
    engine: ScriptedEngine
    store: Store
    paths: Paths
    copied: list[str] = field(default_factory=list)
    messages: list[TextualMessage] = field(default_factory=list)

    @property
    def screen(self) -> ChatScreen:
        return self.app.chat

    @property
    def covered(self) -> bool:
        """Whether another screen lies over the chat."""
        return self.app.screen is not self.screen

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what or f"never came true\n{self.text()}"
            await self.pilot.pause(0.01)

    async def settled(self) -> None:
        """Wait until no answer is written and everything told about it was shown."""
        await self.until(lambda: not self.app.turns.live)
        await self.pilot.pause()
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Put text in the box, as if it had been typed."""
        self.screen.prompt.area.insert(text)
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Type and send, and wait until it is on its way."""
        before = len(self.screen.conversing.dialogue)
        self.screen.prompt.area.focus()
        await self.type(text)
        await self.pilot.press("enter")
        await self.until(lambda: len(self.screen.conversing.dialogue) > before)

    async def open(self, id: int, at: int | None = None) -> None:
        await self.screen.open_conversation(id, at)
        await self.pilot.pause()

    def text(self) -> str:
        """The screen as a person sees it, without colours."""
        return "\n".join(lines_of(self.app))

    def toasts(self) -> str:
        """What the corner says."""
        return "\n".join(f"{toast.title} {toast.message}" for toast in self.app._notifications)

    def path(self) -> Sequence[Message]:
        return self.screen.transcript.path


def lines_of(app: CorralApp) -> list[str]:
    """The painted lines. The one place that reads Textual's compositor."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


@dataclass
class History:
    """Fills a store before the application is started; ``now`` is the store's clock."""

    store: Store
    now: float = NOW

    def conversation(
        self, title: str, *pairs: tuple[str, str], ago: float = 0.0, **changes: Any
    ) -> Conversation:
        """A conversation of questions and answers, last used ``ago`` seconds ago."""
        self.now = NOW - ago
        made = self.store.create_conversation(title=title)
        parent: int | None = None
        for question, answer in pairs:
            parent = self.store.add_user(made.id, question, parent).id
            parent = self.answer(parent, answer).id
        if changes:
            self.store.update_conversation(made.id, **changes)
        self.now = NOW
        return self.store.conversation(made.id)

    def answer(self, parent: int, text: str, **values: Any) -> Message:
        begun = self.store.begin_answer(parent, model=None, parameters=None)
        return self.store.finish_answer(
            begun.id,
            text=text,
            **{
                "status": "complete",
                "stop_reason": "end",
                "model": {"name": "llama-2-7b-chat:Q4_K_M", "title": "Llama 2 7B Chat"}
                | {"quant": "Q4_K_M", "n_ctx": 4096},
                "parameters": {},
                "usage": {"prompt_tokens": 1061, "reused_tokens": 1024, "completion_tokens": 226},
                "timings": {"tokens_per_second": 41.2, "first_token_ms": 180.0},
                **values,
            },
        )


class NoStarter(Library):
    """Knows only what was imported, whatever is installed where the test runs."""

    def starter(self) -> None:
        return None


class NeverAsking(Parts):
    """Starts no worker to get to know the machine."""

    async def calibrate(self) -> None:
        pass


def parts_with(
    paths: Paths, settings: Settings, store: Store, library: Library, chatting: Chatting
) -> Parts:
    """All parts around these; the hub is nowhere."""
    catalog = library.catalog
    hub = cache(lambda: Hub(paths.cache, offline=True))
    downloads = Downloads(store, catalog, library, hub, paths.data / "models", settings.downloads)
    engine = Engine(paths.engine_log)
    fitter = Fitter(catalog, store)
    return NeverAsking(paths, settings, store, library, engine, chatting, hub, downloads, fitter)


def let_toasts_stay(app: CorralApp) -> None:
    """Whoever waits for one on a busy machine must not come after its four seconds."""
    told = app.notify

    def notify(message: str, **options: Any) -> None:
        told(message, **{**options, "timeout": 10 * PATIENCE})

    app.notify = notify  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def chat(
    folder: Path,
    *scripts: Script,
    fill: Callable[[History], Any] | None = None,
    size: tuple[int, int] = (120, 36),
    settings: Settings | None = None,
    model: bool = True,
    copy_fails: bool = False,
    environment: dict[str, str] | None = None,
    shelf: Shelf | None = None,
    **engine: Any,
) -> AsyncIterator[Chat]:
    """Run the application headless; the same folder again is a second start.

    Args:
        fill: writes a history before the start.
        model: whether there is one that can answer.
        shelf: what is kept of evaluated prompts.
        engine: further arguments of :class:`ScriptedEngine`.
    """
    paths = Paths(folder / "config", folder / "data", folder / "cache", folder / "logs")
    paths.make()
    history: History | None = None
    store = Store.open(paths.database, clock=lambda: history.now if history else NOW)
    history = History(store)
    library = NoStarter(store, Catalog.load(find_catalogue()))
    if model and not library.models():
        file = tiny_llama(folder / "tiny.gguf", context=4096)
        library.import_file(file, format="llama-2", name="tiny-llama")
    if fill is not None:
        fill(history)
    scripted = ScriptedEngine(list(scripts), **engine)
    settings = settings or Settings()
    copied: list[str] = []

    def copy(text: str) -> None:
        if copy_fails:
            raise OSError("no clipboard")
        copied.append(text)

    chatting = Chatting(store, library, scripted, settings)
    # The application never closes the parts: whoever made them does.
    parts = parts_with(paths, settings, store, library, chatting)
    parts.states = shelf
    app = CorralApp(
        lambda: parts,
        paths,
        theme=settings.theme,
        sidebar=settings.sidebar,
        clock=lambda: NOW,
        native_copy=copy,
        environment=environment if environment is not None else {"TERM": "xterm-256color"},
    )
    let_toasts_stay(app)
    seen: list[TextualMessage] = []
    try:
        async with app.run_test(size=size, notifications=True, message_hook=seen.append) as pilot:
            running = Chat(app, pilot, scripted, store, paths, copied, seen)
            await running.until(
                lambda: app.furnished and app.chat.ready, "the history was never read"
            )
            await pilot.pause()
            yield running
        # Whatever is left would be told by the next test.
        leftover = [task for task in asyncio.all_tasks() if task.get_name() == "turn"]
        assert not leftover
    finally:
        store.close()
