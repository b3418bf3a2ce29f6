"""The settings and the kept prompts, opened over a conversation; what changes holds there."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import Any

from textual import work

from corral.engine.packs.shelf import AUTO, label
from corral.errors import CorralError
from corral.kept import KeptPrompts
from corral.text import shorten
from corral.tui.parameters import PARAMETERS
from corral.tui.screens.chat_models import ChatModels
from corral.tui.screens.models.words import shown_path
from corral.tui.setting import Setting
from corral.tui.toasts import fail, say
from corral.units import gigabytes

KV_TYPES = ("type_k", "type_v")


class ChatSettings(ChatModels):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about settings."""

    @property
    def kept(self) -> KeptPrompts | None:
        """What is kept on disk; None where nothing can be."""
        return self.corral.kept

    def free_disk(self) -> int:
        """Bytes that would be free without what is kept; runs in a thread.

        Raises:
            StoreError: the history cannot be read.
        """
        taken = sum(one.bytes for one in self.kept.all()) if self.kept is not None else 0
        cache = self.corral.paths.cache
        for place in (cache, *cache.parents):  # A cache may be deleted at any time.
            with contextlib.suppress(OSError):
                return shutil.disk_usage(place).free + taken
        return taken

    async def action_settings(self) -> None:
        from corral.tui.screens.settings import SettingsScreen, Surroundings

        parts = self.corral.parts
        around = Surroundings(
            names={"theme": self._themes, "draft": self._drafts, "pack": self._packs},
            notes={
                "folder": shown_path(str(parts.downloads.folder)),
                **self._pace_now(),
                **self._pack_now(),
            },
            own=await asyncio.to_thread(self._own),
            reasons=self._reasons,
            kept=self.kept,
            free=self.free_disk,
        )
        self.app.push_screen(SettingsScreen(parts.settings, self.keep_setting, around))

    async def action_kept_prompts(self) -> None:
        from corral.tui.screens.kept import KeptScreen

        if self.kept is None:
            say(self, "Nothing is kept on disk here", "Kept prompts")
            return
        try:
            free = await asyncio.to_thread(self.free_disk)
        except CorralError as error:
            fail(self, error)
            return
        limit = self.kept.limit(self.corral.settings.engine.kv_disk, free)
        self.app.push_screen(KeptScreen(self.kept, limit))

    def keep_setting(self, setting: Setting, value: Any, reset: bool) -> str:
        """Let a setting hold, and write it; as :data:`corral.tui.screens.settings.Keep`."""
        setting.put(self.corral.settings, value)
        if setting.name == "theme":
            self.app.theme = value
        elif setting.name == "sidebar":
            self.set_class(not value, "-no-sidebar")
        elif setting.name == "vim":
            self.prompt.area.use_vim(value)
        elif setting.name in ("keep_warm", "idle_minutes", "kv_disk", "pack"):
            self.corral.parts.keep_engine_settings()
        if setting.name == "pack":
            self._try_pack(value)
        return self.corral.write_setting(setting.key, None if reset else value)

    # --- what the screen says besides -------------------------------------------------------------

    def _pace_now(self) -> dict[str, str]:
        spec = self.corral.chatting.engine.loaded_spec
        auto = self.corral.settings.engine.pace == "auto"
        return {"pace": f"{spec.pace} now"} if spec is not None and auto else {}

    def _pack_now(self) -> dict[str, str]:
        packs = self.corral.parts.engine.packs
        return {"pack": f"{label(packs.used)} now"} if packs is not None and packs.used else {}

    def _packs(self) -> list[tuple[str, str]]:
        """The engines that are here, and what each can do; runs in a thread."""
        packs = self.corral.parts.engine.packs
        found = packs.known() if packs is not None else []
        used = packs.used if packs is not None else ""
        names = [
            (label(one.pack.name), "used now" if one.pack.name == used else shorten(one.said, 90))
            for one in found
        ]
        auto = ("auto", "auto\tthe best that works here")
        return [auto, *((name, f"{name}\t{said}") for name, said in names)]

    @work(exclusive=True, group="engine pack")
    async def _try_pack(self, name: str) -> None:
        """Say at once where the engine that was chosen will not be used."""
        packs = self.corral.parts.engine.packs
        if packs is None or name == AUTO:
            return
        try:
            found = await packs.tried(name)
        except CorralError as error:
            fail(self, error)
            return
        if not found.ok:
            said = f"{found.pack.name} {found.said}. Another one is used."
            say(self, said, "Engine", "warning", 10.0)

    def _reasons(self) -> dict[str, str]:
        """What a new conversation's model is loaded with, and why; runs in a thread."""
        from corral.loading.reasons import reasons
        from corral.models.fit.machine import on_battery

        parts = self.corral.parts
        _, found = reasons(
            parts.chatting.planner,
            parts.library,
            parts.fitter,
            parts.settings.engine,
            parts.machine(),
            on_battery=on_battery(),
        )
        told: dict[str, str] = {}
        for choice in found:
            reason = choice.reason[:1].lower() + choice.reason[1:]
            for name in KV_TYPES if choice.field == "kv_type" else (choice.field,):
                told[name] = f"Now {choice.value}: {reason}."
        return told

    def _own(self) -> dict[str, str]:
        """What the model was given of its own goes before the settings; runs in a thread."""
        model = self.conversing.model
        if model is None:
            return {}
        try:
            own = self.corral.chatting.load_memo.parameters(model)
        except CorralError:
            return {}
        name = shorten(model.name, 40)
        return {
            key: f"{name} has its own: {PARAMETERS[key].shown(value)} (Ctrl+G)"
            for key, value in own.items()
            if key in PARAMETERS
        }

    def _themes(self) -> list[tuple[str, str]]:
        own = ["altiplano", "puna", "terminal"]
        others = sorted(name for name in self.app.available_themes if name not in own)
        return [(name, name) for name in (*own, *others)]

    def _drafts(self) -> list[tuple[str, str]]:
        """Models that may guess ahead; runs in a thread."""
        current = self.conversing.model
        found = [
            (one.name, f"{shorten(one.name, 60)}\t{gigabytes(one.bytes, 2)}")
            for one in self.corral.library.models()
            if one.state == "installed" and (current is None or one.bytes < current.bytes)
        ]
        return [
            ("auto", "auto\tan installed one, where that pays"),
            ("off", "off\tnone"),
            *sorted(found, key=lambda choice: choice[0]),
        ]
