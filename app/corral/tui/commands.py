"""The palette: every command by name, then conversations and models as they are typed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.app import SystemCommand
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from corral.chat.conversation import Conversation
from corral.errors import CorralError
from corral.text import shorten
from corral.tui.widgets.sidebar import title_of

if TYPE_CHECKING:
    from corral.models.library.local import LocalModel
    from corral.tui.app import CorralApp

_COMMANDS = (
    ("New conversation", "Ctrl+N", "new_conversation"),
    ("Models", "Ctrl+O · choose, swap, download", "models"),
    ("Download what suits this machine", "F5", "download_recommended"),
    ("Parameters and system prompt", "Ctrl+G", "parameters"),
    ("Presets", "/preset · personas and tasks, with forms their answers keep", "presets"),
    ("Adapters", "/adapter · put LoRA adapters on, scale them, take them off", "adapters"),
    ("Context window", "/window · what goes when it is full, how large it is", "window"),
    ("Edit the summary", "s · what stands for the turns the model no longer sees", "edit_summary"),
    ("Settings", "F9 · theme, pace, threads, cache, guessing, downloads", "settings"),
    ("Kept prompts", "what models have read: list, clear", "kept_prompts"),
    ("Another answer", "Ctrl+R · or try again", "regenerate"),
    ("Another answer by another model", "/again 13b temperature=1.2", "again_with"),
    ("Compare models, presets or parameters", "/compare · v in the transcript", "compare"),
    ("Go on with a cut answer", "/continue · g in the transcript", "go_on"),
    ("Write a text with the model", "/complete · for base models; a new one", "complete"),
    ("Tree of the conversation", "Ctrl+T · every branch", "tree"),
    ("Fork into a new conversation", "/fork · f in the transcript", "fork"),
    ("Bring back deleted messages", "/undo · u in the transcript", "undo_deletion"),
    ("Stop the answer", "Esc · what was written stays", "stop"),
    ("Search the conversations", "Ctrl+F", "search"),
    ("Search your earlier prompts", "Ctrl+Up · take one up again", "recall"),
    ("Write in your own editor", "F7 · $VISUAL or $EDITOR", "editor"),
    ("Copy the last answer", "Ctrl+Y", "copy_answer"),
    ("Copy a block of code", "F4 · again for the next one", "copy_code"),
    ("Copy the whole conversation", "as Markdown", "copy_conversation"),
    ("Export the conversation", "/export · Markdown, JSON, HTML or plain text", "export"),
    ("Export all conversations", "/export all", "export_all"),
    ("Import conversations", "/import · corral's or ChatGPT's export", "import_conversations"),
    ("Back up everything but the models", "/backup · one file", "backup"),
    ("Trash", "/trash · bring conversations back, or delete for good", "trash"),
    ("Rename the conversation", "F2", "rename"),
    ("Pin the conversation, or let it go", "F3", "pin"),
    ("File the conversation into a folder", "/folder · f in the list", "file"),
    ("Archive the conversation, or take it back", "/archive · a in the list", "archive"),
    ("Delete the conversation", "can be undone", "delete"),
    ("Undo the delete", "u in the list", "undo_delete"),
    ("Show or hide the sidebar", "Ctrl+B", "sidebar"),
    ("Help", "F1 · all keys", "help"),
    ("Engine log", "F8", "engine_log"),
)


def system_commands(app: CorralApp) -> Iterable[SystemCommand]:
    """The fixed commands."""
    for title, hint, action in _COMMANDS:
        yield SystemCommand(title, hint, partial(app.run_chat_action, action))
    yield SystemCommand(
        "Measure this machine", "/bench · how fast the model is here", app.action_bench
    )
    yield SystemCommand("Theme", "altiplano, puna, terminal and others", app.action_change_theme)
    yield SystemCommand("Quit", "Ctrl+Q · everything is saved already", app.action_quit)


class _Rows(Provider):
    """What conversations and models have in common: rows that are read once, off the loop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rows: list[tuple[str, str, Callable[[], Any]]] = []

    @property
    def corral(self) -> CorralApp:
        return cast("CorralApp", self.app)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for text, hint, command in self._rows:
            if (score := matcher.match(text)) > 0:
                # Foreign text goes in as content, which is never read as markup.
                yield Hit(score, matcher.highlight(text), command, text=text, help=hint)

    async def discover(self) -> Hits:
        return
        yield DiscoveryHit(Content(), lambda: None)


class ConversationCommands(_Rows):
    """Opens a conversation by its title."""

    async def startup(self) -> None:
        try:
            found = await asyncio.to_thread(self.corral.store.conversations, limit=1000)
        except CorralError:
            return
        self._rows = [(title_of(one), "open the conversation", self._opener(one)) for one in found]

    def _opener(self, conversation: Conversation) -> Callable[[], Any]:
        return partial(self.corral.chat.open_conversation, conversation.id)


class ModelCommands(_Rows):
    """Chooses the model that answers here."""

    async def startup(self) -> None:
        try:
            found = await asyncio.to_thread(self.corral.library.models)
        except CorralError:
            return
        self._rows = [
            (shorten(model.name, 80), "answer with this model", self._chooser(model))
            for model in found
            if model.state == "installed"
        ]

    def _chooser(self, model: LocalModel) -> Callable[[], Any]:
        return partial(self.corral.chat.choose_model, model.name)
