"""LoRA adapters in a conversation: put on, scaled and taken off between two answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from corral import adapting
from corral.adapting import Choice
from corral.errors import CorralError, NotFound
from corral.models.library.adapters import LocalAdapter, does_not_belong
from corral.models.library.names import existing_path
from corral.text import shorten
from corral.tui.screens.chat_models import ChatModels
from corral.tui.toasts import fail, say
from corral.tui.widgets.completion import Choice as Complete


class ChatAdapters(ChatModels):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about adapters."""

    @property
    def adapted(self) -> str:
        """Those of the conversation, for the line that names the model: ``+ cats ×0.5``."""
        choices = adapting.chosen(self.conversing.conversation)
        return "".join(f"+ {adapting.shown(name, scale)} " for name, scale in choices).rstrip()

    def action_adapters(self) -> None:
        from corral.tui.screens.adapters import AdaptersScreen

        choices = adapting.chosen(self.conversing.conversation)
        model = self.conversing.model
        self.app.push_screen(
            AdaptersScreen(self.corral.library, model, choices, self._keep_adapters)
        )

    async def adapter_command(self, rest: str) -> None:
        """``/adapter NAME[:SCALE]``, ``/adapter NAME off``, ``/adapter off``; alone the screen."""
        if not rest:
            self.action_adapters()
            return
        if rest.casefold() == adapting.OFF:
            await self._hold((), "No adapter is used any more")
            return
        name, _, last = rest.rpartition(" ")
        try:
            if name and last.casefold() == adapting.OFF:
                await self._take_off(name)
            else:
                await self._put_on(rest)
        except CorralError as error:
            fail(self, error)

    def adapter_choices(self, typed: str) -> Sequence[Complete]:
        """What completes ``/adapter``; called in a thread.

        Raises:
            CorralError: the library cannot be read.
        """
        found = self.corral.library.adapters()
        named = [Complete(one.name, shorten(one.base or one.type, 40)) for one in found]
        return [*named, Complete(adapting.OFF, "none of them")]

    # --- inside -----------------------------------------------------------------------------------

    async def _put_on(self, typed: str) -> None:
        choice = adapting.parse(typed)
        adapting.check([choice])
        adapter, reason = await asyncio.to_thread(self._found, choice[0])
        if reason and self.conversing.model is not None:
            raise does_not_belong(adapter.name, self.conversing.model.name, reason)
        taken = (adapter.name, adapter.path, choice[0])
        others = self._without(taken)
        chosen = (*others, (adapter.name, choice[1]))
        adapting.check(chosen)
        what = adapting.shown(adapter.name, choice[1])
        await self._hold(chosen, f"{what} is used from the next answer on")

    def _found(self, name: str) -> tuple[LocalAdapter, str]:
        """An adapter, taken in where it was not, and why it does not belong here."""
        library, model = self.corral.library, self.conversing.model
        if path := existing_path(name):
            adapter = library.import_adapter(path)
        else:
            adapter = library.adapter(name)
            if adapter.sha256 is None:
                adapter = library.import_adapter(Path(adapter.path))
        return adapter, library.adapter_mismatch(adapter, model) if model else ""

    async def _take_off(self, name: str) -> None:
        kept = self._without((adapting.durable(name),))
        if len(kept) == len(adapting.chosen(self.conversing.conversation)):
            raise NotFound(f"No adapter {name} is used here", hint="/adapter shows those that are")
        await self._hold(kept, f"{name} is not used any more")

    def _without(self, names: tuple[str, ...]) -> tuple[Choice, ...]:
        known = {name.casefold() for name in names}
        return tuple(
            choice
            for choice in adapting.chosen(self.conversing.conversation)
            if choice[0].casefold() not in known
            and adapting.shown(choice[0], 1.0).casefold() not in known
        )

    async def _hold(self, choices: tuple[Choice, ...], told: str) -> None:
        if failed := await self._keep_adapters(choices):
            fail(self, failed)
        else:
            say(self, told, "Adapters")

    async def _keep_adapters(self, choices: tuple[Choice, ...]) -> CorralError | None:
        """Let these hold in the conversation; as :data:`corral.tui.screens.adapters.Keep`."""
        conversation = self.conversing.conversation
        try:
            await self.conversing.change(
                parameters=adapting.with_choices(dict(conversation.parameters), choices)
            )
        except CorralError as error:
            return error
        self.tell()
        return None
