"""The preset of the conversation, and the form its answers have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corral import forming
from corral.chat.conversation import Conversation
from corral.chat.presets import Preset
from corral.errors import CorralError
from corral.presets import Presets
from corral.text import clean_line, shorten
from corral.tui.screens.chat_models import ChatModels
from corral.tui.toasts import fail, say
from corral.tui.widgets.completion import Choice

if TYPE_CHECKING:
    from corral.tui.screens.presets import Chosen


class ChatPresets(ChatModels):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about presets."""

    if TYPE_CHECKING:  # What the screen itself brings.

        async def change(self, conversation: Conversation, **changes: object) -> bool: ...

    @property
    def presets(self) -> Presets:
        return self.corral.chatting.planner.presets

    @property
    def preset_note(self) -> str:
        """What the border of the box says about it while there is nothing else to say."""
        conversation = self.conversing.conversation
        parameters = conversation.parameters
        parts = []
        if conversation.preset:
            labels = parameters.get(forming.LABELS)
            of = f": {', '.join(map(str, labels))}" if isinstance(labels, list) else ""
            parts.append(f"{conversation.preset}{of} · /preset off")
        if parameters.get(forming.SCHEMA) or parameters.get(forming.GRAMMAR):
            kind = "schema" if parameters.get(forming.SCHEMA) else "grammar"
            parts.append(f"answers follow a {kind} · /form off")
        return shorten(" · ".join(parts), 60)

    def preset_choices(self, typed: str) -> Sequence[Choice]:
        """Names of presets; runs in a thread."""
        found = [Choice(one.name, one.text or one.title) for one in self.presets.all()]
        return [*found, Choice(forming.OFF, "no preset")]

    def action_presets(self) -> None:
        from corral.tui.screens.presets import PresetsScreen

        async def chosen(choice: Chosen | None) -> None:
            if choice is not None:
                await self.use_preset(choice.name, choice.labels)

        now = self.conversing.conversation.preset
        self.app.push_screen(PresetsScreen(self.presets, now), chosen)

    async def preset_command(self, wanted: str) -> None:
        """``/preset``, ``/preset sentiment``, ``/preset classify spam, other``, ``/preset off``."""
        name, _, labels = wanted.partition(" ")
        if name:
            await self.use_preset(name, forming.split_labels(labels))
        else:
            self.action_presets()

    async def use_preset(self, name: str, labels: Sequence[str]) -> None:
        """Let a preset hold in this conversation from now on; "" or ``off`` lets it go."""
        conversation = self.conversing.conversation
        try:
            preset = await asyncio.to_thread(
                forming.preset_of, self.presets, None, name, labels or None
            )
        except CorralError as error:
            fail(self, error)
            return
        parameters = {k: v for k, v in conversation.parameters.items() if k != forming.LABELS}
        if preset is not None and labels:
            parameters[forming.LABELS] = list(preset.labels)
        await self.change(conversation, preset=preset.name if preset else "", parameters=parameters)
        say(self, _told(preset, conversation.system), "Preset", seconds=6.0)

    async def form_command(self, wanted: str) -> None:
        """``/form FILE``: a JSON schema or a ``.gbnf`` grammar that every answer follows."""
        conversation = self.conversing.conversation
        forms = (forming.SCHEMA, forming.GRAMMAR)
        parameters = {k: v for k, v in conversation.parameters.items() if k not in forms}
        told = "Answers have no form any more"
        if wanted and wanted.casefold() != forming.OFF:
            try:
                key, text, form = await asyncio.to_thread(_read_form, wanted)
            except CorralError as error:
                fail(self, error)
                return
            parameters[key] = text
            told = ". ".join((f"Every answer follows this {key} now", *form.notes))
        elif not wanted:
            told = "/form FILE takes a JSON schema or a .gbnf grammar, /form off lets it go"
            say(self, told, "Form")
            return
        await self.change(conversation, parameters=parameters)
        say(self, told, "Form", seconds=8.0)


def _read_form(path: str) -> tuple[str, str, forming.Form]:
    """Which kind of form a file is, its text, and what it becomes.

    Raises:
        CorralError: it cannot be read, or cannot be used.
    """
    text = forming.read_file(path)
    if path.casefold().endswith(".gbnf"):
        return forming.GRAMMAR, text, forming.form_of(None, {}, grammar=text)
    return forming.SCHEMA, text, forming.form_of(None, {}, schema=text)


def _told(preset: Preset | None, system: str) -> str:
    if preset is None:
        return "No preset any more"
    lines = [f"{clean_line(preset.title)} holds from the next message on"]
    if preset.answer == "label":
        lines.append(f"Answers are one of: {shorten(', '.join(preset.labels), 120)}")
    elif preset.answer != "text":
        lines.append("Every answer has the form that it asks for")
    if preset.system and system:
        lines.append("The system prompt of this conversation counts before the preset's (Ctrl+G)")
    if preset.note:
        lines.append(preset.note)
    return "\n".join(lines)
