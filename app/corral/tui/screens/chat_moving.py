"""Conversations go and come: export, import and backup, from the palette or the box."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from corral.errors import CorralError, UsageError
from corral.text import shorten
from corral.tui.screens.chat_settings import ChatSettings
from corral.tui.toasts import fail, say
from corral.units import size

if TYPE_CHECKING:
    from corral.moving.exporting import Format
    from corral.moving.importing import Imported
    from corral.store.store import Store
    from corral.tui.widgets.sidebar import Sidebar

_GROUP = "moving"
_IMPORT_HINT = (
    "corral's own JSON export, or ChatGPT's conversations.json or zip file. "
    "What is here already is not taken twice."
)
_EXPORT_HINT = "Where to write it. A file that is there is replaced only after a question."
_BACKUP_HINT = "History, settings and presets in one file; models are left out."
_AS_IT_IS = "The history is copied as it is at this moment, then read again to be sure."
_FILE_STAYS = "The file stays as it is."


class ChatMoving(ChatSettings):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that moves conversations."""

    store: Store
    sidebar: Sidebar

    if TYPE_CHECKING:  # What the screen itself brings.

        async def open_conversation(self, id: int | None, at: int | None = None) -> None: ...

        async def save_draft(self) -> None: ...

    # --- export -----------------------------------------------------------------------------------

    def action_export(self) -> None:
        self._start_export("")

    def action_export_all(self) -> None:
        self._start_export("all")

    async def export_command(self, rest: str) -> None:
        """``/export``, ``/export html``, ``/export json ~/talk.json``, ``/export all``."""
        self._start_export(rest)

    def _start_export(self, words: str) -> None:
        self.run_worker(self._export(words), group=_GROUP)

    async def _export(self, words: str) -> None:
        from corral.moving import exporting

        first, _, rest = words.partition(" ")
        everything = first.casefold() == "all"
        if everything:
            first, _, rest = rest.strip().partition(" ")
        if not everything and not self.conversing.id:
            say(self, "This conversation has nothing in it yet", "Nothing to export")
            return
        format: Format | None = None
        typed = f"{first} {rest}".strip()
        try:
            if first:
                format, typed = exporting.format_named(first), rest.strip()
        except UsageError as error:
            if not any(sign in first for sign in "./~"):
                fail(self, error)
                return
            format = exporting.format_of(Path(first))
        await self.save_draft()
        format = format or await self._ask_format()
        if format is not None and (place := await self._ask_place(format, typed, everything)):
            await self._write_export(format, place, everything)

    async def _ask_format(self) -> Format | None:
        from corral.moving.exporting import format_named
        from corral.tui.screens.dialogs import ChoiceDialog
        from corral.tui.screens.moving import FORMATS

        chosen = await self.app.push_screen_wait(ChoiceDialog("Export as", FORMATS))
        return format_named(chosen) if chosen else None

    async def _ask_place(self, format: Format, typed: str, everything: bool) -> Path | None:
        from corral.moving.exporting import ENDINGS, file_name
        from corral.tui.screens.completing import typed_path
        from corral.tui.screens.importing import PathDialog

        if not typed:
            name = f"conversations{ENDINGS[format]}"
            if not everything:
                name = file_name(self.conversing.conversation, format)
            dialog = PathDialog(
                str(_free(_folder() / name)),
                "Export",
                _EXPORT_HINT,
                endings=(ENDINGS[format],),
                kind=f"{ENDINGS[format]} file",
                yes="export",
            )
            chosen: str | None = await self.app.push_screen_wait(dialog)
            typed = chosen or ""
        if not typed:
            return None
        place = typed_path(typed)
        return place if await self._may_replace(place) else None

    async def _may_replace(self, place: Path) -> bool:
        from corral.tui.screens.dialogs import ConfirmDialog

        if not os.path.isfile(place):  # noqa: PTH113 - a name that is too long is not there
            return True
        text = f"There is a file {shorten(str(place), 300)} already."
        agreed = await self.app.push_screen_wait(ConfirmDialog("Replace it?", text, "replace"))
        return bool(agreed)

    async def _write_export(self, format: Format, place: Path, everything: bool) -> None:
        from corral.moving.exporting import NAMES, Exported, export_file
        from corral.tui.screens.journey import JourneyScreen

        id, store = self.conversing.id, self.store

        def job(progress, cancelled) -> Exported:
            ids = store.every_conversation() if everything else [id]
            return export_file(
                store, ids, format, place, now=time.time(), progress=progress, cancelled=cancelled
            )

        done = await self.app.push_screen_wait(
            JourneyScreen(
                "Exporting",
                place.name,
                "A file that is there stays until the new one is whole.",
                job,
            )
        )
        if isinstance(done, CorralError):
            fail(self, done)
        elif done is None:
            say(self, "Nothing was written", "Stopped")
        else:
            count = len(done.conversations)
            what = "Conversation" if count == 1 else f"{count} conversations"
            say(
                self,
                f"{shorten(str(done.path), 300)}\n{what} as {NAMES[format]}, {size(done.bytes)}",
                "Exported",
                seconds=8.0,
            )

    # --- import -----------------------------------------------------------------------------------

    def action_import_conversations(self) -> None:
        self.run_worker(self._import(""), group=_GROUP)

    async def import_command(self, rest: str) -> None:
        """``/import ~/conversations.json``; without a path it is asked for."""
        self.run_worker(self._import(rest), group=_GROUP)

    async def _import(self, typed: str) -> None:
        from corral.moving.importing import import_file
        from corral.tui.screens.completing import typed_path
        from corral.tui.screens.importing import PathDialog
        from corral.tui.screens.journey import JourneyScreen

        if not typed:
            dialog = PathDialog(
                "~/Downloads/" if Path("~/Downloads").expanduser().is_dir() else "~/",
                "Import conversations",
                _IMPORT_HINT,
                endings=(".json", ".jsonl", ".zip"),
                kind="JSON or zip file",
                yes="import",
            )
            chosen: str | None = await self.app.push_screen_wait(dialog)
            typed = chosen or ""
        if not typed:
            return
        path, store = typed_path(typed), self.store

        def job(progress, cancelled) -> Imported:
            return import_file(store, path, now=time.time(), progress=progress, cancelled=cancelled)

        done = await self.app.push_screen_wait(
            JourneyScreen("Importing", path.name, _FILE_STAYS, job)
        )
        await self.sidebar.reload()
        if isinstance(done, CorralError):
            fail(self, done)
        elif done is not None:
            await self._tell_imported(done)

    async def _tell_imported(self, done: Imported) -> None:
        from corral.moving.importing import summary
        from corral.tui.screens.moving import ReportScreen

        if done.failed:
            await self.app.push_screen_wait(ReportScreen(done, summary(done)))
        else:
            say(self, summary(done), "Imported", seconds=8.0)
        if self.conversing.id in done.extended and self.conversing.live is None:
            await self.open_conversation(self.conversing.id)
        elif len(done.added) == 1 and self.conversing.live is None:
            await self.open_conversation(done.added[0])

    # --- the trash --------------------------------------------------------------------------------

    def action_trash(self) -> None:
        from corral.tui.screens.trash import TrashScreen

        def forget(ids: Iterable[int]) -> None:
            if self.kept is not None:
                self.kept.forget(ids)

        async def closed(back: list[int] | None) -> None:
            await self.sidebar.reload()

        self.app.push_screen(TrashScreen(self.store, forget), closed)

    # --- backup -----------------------------------------------------------------------------------

    def action_backup(self) -> None:
        self.run_worker(self._backup(""), group=_GROUP)

    async def backup_command(self, rest: str) -> None:
        """``/backup``, or ``/backup /media/stick``: a file, or a folder that gets one."""
        self.run_worker(self._backup(rest), group=_GROUP)

    async def _backup(self, typed: str) -> None:
        from corral.moving.backup import BackedUp, back_up, backup_name
        from corral.tui.screens.completing import typed_path
        from corral.tui.screens.importing import PathDialog
        from corral.tui.screens.journey import JourneyScreen

        await self.save_draft()
        if not typed:
            place = str(_free(_folder() / backup_name(time.time())))
            dialog = PathDialog(
                place, "Back up", _BACKUP_HINT, endings=(".zip",), kind="zip file", yes="back up"
            )
            chosen: str | None = await self.app.push_screen_wait(dialog)
            typed = chosen or ""
        if not typed:
            return
        target = typed_path(typed)
        if not await self._may_replace(target):
            return
        parts = self.corral.parts

        def job(progress, cancelled) -> BackedUp:
            return back_up(
                parts.paths,
                parts.disk or parts.store,
                target,
                now=time.time(),
                replace=True,
                progress=progress,
                cancelled=cancelled,
            )

        done = await self.app.push_screen_wait(
            JourneyScreen("Backing up", target.name, _AS_IT_IS, job)
        )
        if isinstance(done, CorralError):
            fail(self, done)
        elif done is None:
            say(self, "No backup was written", "Stopped")
        else:
            count = done.manifest.conversations
            held = f"{count} {'conversation' if count == 1 else 'conversations'}"
            text = f"{shorten(str(done.path), 300)}\n{held}, {size(done.bytes)}"
            say(self, f"{text} · `corral history restore` puts it back", "Backed up", seconds=10.0)


def _folder() -> Path:
    """Where the program was started, if files can be written there; else the home folder."""
    try:
        here = Path.cwd()
    except OSError:  # It was deleted meanwhile.
        return Path.home()
    return here if os.access(here, os.W_OK) else Path.home()


def _free(path: Path) -> Path:
    """The path, with a number where a file of that name is there."""
    found, number = path, 1
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
