"""Models in the middle of a conversation: choose, load, go back, and get better ones meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from textual.worker import Worker, WorkerError

from corral.chatting import Notice, Working
from corral.errors import CorralError
from corral.text import shorten
from corral.tui import wording
from corral.tui.parameters import LOADED_WITH
from corral.tui.screens.drafting import Drafting
from corral.tui.toasts import fail, say
from corral.tui.widgets.downloads import summary

if TYPE_CHECKING:
    from corral.chat.conversation import Conversation
    from corral.loading.swap import Swap
    from corral.models.library.local import LocalModel
    from corral.store.downloads import Download
    from corral.tui.app import CorralApp
    from corral.tui.screens.parameters import Changes
    from corral.tui.widgets.sidebar import Sidebar

LOOK = 0.5
"""Seconds between two looks at downloads that go on."""

LOOK_IDLE = 2.0
"""The same while nothing does; another corral may begin one."""


class ChatModels(Drafting):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about models."""

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self.swap: Swap | None = None
        """The model that is being loaded to answer from now on."""
        self._swapping: Worker[None] | None = None
        self._loading = ""
        self._send_then = False
        """Whether what stands in the box is to be sent when the model is there."""

    @property
    def corral(self) -> CorralApp:
        return cast("CorralApp", self.app)

    if TYPE_CHECKING:  # What the screen itself brings.
        sidebar: Sidebar

        def tell_downloads(self, summary: str) -> None: ...

        async def change(self, conversation: Conversation, **changes: object) -> bool: ...

        def tell(self) -> None: ...

        async def submit(self, text: str) -> None: ...

    # --- another model answers --------------------------------------------------------------------

    async def choose_model(self, name: str) -> None:
        """Let another model answer here from now on; it is loaded at once.

        Where that fails or is stopped, the one before goes on answering.
        """
        await self.stop_swap()
        self._swapping = self.run_worker(self._swap(name), group="swap")

    async def stop_swap(self) -> None:
        """Keep the model that answered before."""
        if self.swap is not None:
            self.swap.stop()
        if self._swapping is not None:
            with contextlib.suppress(WorkerError):
                await self._swapping.wait()

    async def _swap(self, name: str) -> None:
        conversation = self.conversing.conversation
        before = self.conversing.model_title
        swap = self.swap = self.corral.chatting.swap(name, conversation)
        self._loading = f"loading {shorten(name, 40)}"
        try:
            self.tell_note()
            async with contextlib.aclosing(swap):
                async for event in swap:
                    if isinstance(event, Notice):
                        say(self, event.text, event.title, seconds=8.0)
                    elif isinstance(event, Working):
                        self._loading = _loading(event, name, before)
                        self.tell_note()
                    else:
                        name = event.model.name
            await self.change(conversation, model=name)
            if self._send_then and self.conversing.id == conversation.id:
                self.call_later(self.submit, self.prompt.text)
        except CorralError as error:
            if not swap.stopped:
                fail(self, error)
        finally:
            self.swap, self._send_then = None, False
            self.tell()

    def send_when_loaded(self) -> None:
        """Send what stands in the box as soon as the model is there."""
        self._send_then = True
        self.tell_note()

    @property
    def loading_note(self) -> str:
        """What the upper border of the box says while a model is loaded; else nothing."""
        if self.swap is None:
            return ""
        return f"sent when loaded · {self._loading}" if self._send_then else self._loading

    def action_models(self) -> None:
        self.open_models()

    def open_models(self, wanted: str = "") -> None:
        """The models screen, perhaps with some words to filter it by."""
        from corral.tui.screens.models.screen import ModelsScreen

        # Whoever looks at models is likely to load one.
        self.corral.chatting.engine.prepare()

        async def chosen(model: LocalModel | None) -> None:
            if model is not None:
                await self.choose_model(model.name)
            else:
                # Another one may have been added or removed meanwhile.
                await self.conversing.find_model()
            self.tell()

        app = self.corral
        current = self.conversing.model.name if self.conversing.model else None
        screen = ModelsScreen(
            app.library,
            app.parts.downloads,
            app.parts.fitter,
            app.parts.hub,
            current=current,
            machine=app.parts.machine,
            loaded=app.chatting.in_memory,
            filter=wanted,
        )
        self.app.push_screen(screen, chosen)

    async def model_command(self, wanted: str) -> None:
        """``/model WORDS``: the one installed model that has them all; else the models screen."""
        try:
            found = await asyncio.to_thread(self._matching, wanted)
        except CorralError as error:
            fail(self, error)
            return
        if len(found) == 1:
            await self.choose_model(found[0].name)
        else:
            self.open_models(wanted)

    def _matching(self, wanted: str) -> list[LocalModel]:
        words = wanted.casefold().replace(":", " ").split()
        installed = [one for one in self.corral.library.models() if one.state == "installed"]
        exact = [one for one in installed if one.name.casefold() == wanted.casefold()]
        return exact or [
            one
            for one in installed
            if words and all(word in f"{one.name} {one.title}".casefold() for word in words)
        ]

    # --- what it answers with ---------------------------------------------------------------------

    def action_parameters(self) -> None:
        from corral.tui.screens.parameters import ParametersScreen

        conversation, model = self.conversing.conversation, self.conversing.model
        memo = self.corral.chatting.load_memo
        remembered = memo.parameters(model) if model else {}
        shown = replace(conversation, parameters={**remembered, **conversation.parameters})

        async def changed(changes: Changes | None) -> None:
            if changes is None:
                return
            parameters = dict(changes.parameters)
            if model is not None:
                # How a model is loaded belongs to the model, whatever conversation it answers in.
                load = {name: parameters.pop(name, None) for name in LOADED_WITH}
                try:
                    await asyncio.to_thread(memo.set_parameters, model, load)
                except CorralError as error:
                    fail(self, error)
            await self.change(conversation, system=changes.system, parameters=parameters)

        self.app.push_screen(ParametersScreen(shown, model, settings=self.corral.settings), changed)

    # --- getting the recommended one --------------------------------------------------------------

    def action_download_recommended(self) -> None:
        """Start the download of what suits this machine best, and go on chatting."""
        recommended = self.conversing.recommended
        if recommended is None:
            say(self, "Ctrl+O shows every model, and what fits", "Nothing better is known here")
            return
        from corral.tui.screens.models.starting import start_download

        self.run_worker(
            start_download(self, self.corral.parts.downloads, recommended.name),
            group="download",
            exclusive=True,
        )

    async def follow_downloads(self) -> None:
        """Show what is on its way, and say when something has arrived; runs with the screen."""
        before: dict[int, Download] | None = None
        downloads = self.corral.parts.downloads
        while True:
            try:
                found = await asyncio.to_thread(downloads.all, done=True)
            except CorralError:
                found = list((before or {}).values())
            going = [one for one in found if one.state != "done"]
            self.sidebar.downloads.tell(going)
            self.tell_downloads(summary(going))
            for one in found:
                if before is not None and one.id in before and one.state != before[one.id].state:
                    await self._download_changed(one)
            before = {one.id: one for one in found}
            busy = any(one.state in ("queued", "running") for one in going)
            await asyncio.sleep(LOOK if busy else LOOK_IDLE)

    async def _download_changed(self, download: Download) -> None:
        if download.state == "done":
            name = download.name
            say(self, f"{name} is here. /model or Ctrl+O lets it answer", "Downloaded", seconds=8.0)
            await self.conversing.find_model()
            self.tell()
        elif download.error:
            hint = f"\n{download.hint}" if download.hint else ""
            say(self, download.error + hint, shorten(download.name, 60), "warning", 10.0)


def _loading(working: Working, name: str, before: str) -> str:
    """``loading 13b Q4_K_M ▰▰▱▱ 43 % · 4 s · Esc keeps …``"""
    if working.stage == "waiting":
        return f"{shorten(name, 40)} is loaded when the answer is done · Esc keeps {before}"
    parts = [f"loading {shorten(name, 40)}"]
    if working.total:
        fraction = working.done / working.total
        parts[0] += f" {wording.meter(fraction, 8)} {100 * fraction:.0f} %"
    if working.eta is not None:
        parts.append(f"{working.eta:.0f} s")
    return " · ".join([*parts, f"Esc keeps {before}" if before else "Esc stops it"])
