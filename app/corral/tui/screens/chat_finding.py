"""Where conversations are put: folders and the archive, from the list, the palette or the box."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corral.chat.conversation import Conversation
from corral.errors import CorralError
from corral.text import clean_line, shorten
from corral.tui.screens.chat_settings import ChatSettings
from corral.tui.toasts import fail, say
from corral.tui.widgets.completion import Choice
from corral.tui.widgets.sidebar import title_of

if TYPE_CHECKING:
    from corral.store.store import Store


class ChatFinding(ChatSettings):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that files conversations."""

    store: Store

    if TYPE_CHECKING:  # What the screen itself brings.

        def _target(self) -> Conversation: ...

        async def change(self, conversation: Conversation, **changes: object) -> bool: ...

    async def action_archive(self) -> None:
        """Take the conversation out of the list, or back into it."""
        conversation = self._target()
        if not self._is_kept(conversation, "Nothing to archive"):
            return
        archived = not conversation.archived
        if await self.change(conversation, archived=archived):
            title = title_of(conversation)
            where = "at the end of the list; the search finds it"
            said = f"“{title}” is {where}" if archived else f"“{title}” is back in the list"
            say(self, said, "Archived" if archived else "Out of the archive")

    def action_file(self) -> None:
        """Ask for a folder, and put the conversation there."""
        conversation = self._target()
        if self._is_kept(conversation, "Nothing to file"):
            self.run_worker(self._ask_folder(conversation), group="file")

    async def _ask_folder(self, conversation: Conversation) -> None:
        from corral.tui.screens.filing import FolderDialog

        try:
            folders = await asyncio.to_thread(self.store.folders)
        except CorralError as error:
            fail(self, error)
            return
        dialog = FolderDialog(title_of(conversation), folders, conversation.folder)
        folder = await self.app.push_screen_wait(dialog)
        if folder is not None:
            await self._file(conversation, folder)

    async def folder_command(self, folder: str) -> None:
        """``/folder Work/Trips``; without a name it is asked for."""
        if not folder:
            self.action_file()
        elif self._is_kept(conversation := self._target(), "Nothing to file"):
            await self._file(conversation, "" if folder.casefold() == "off" else folder)

    async def _file(self, conversation: Conversation, typed: str) -> None:
        try:
            folder = await asyncio.to_thread(self.store.folder_named, clean_line(typed))
        except CorralError as error:
            fail(self, error)
            return
        if await self.change(conversation, folder=folder):
            title = title_of(conversation)
            said = f"“{title}” is in {shorten(folder, 60)}" if folder else f"“{title}” is in none"
            say(
                self, said + (" · pinned, it stays on top" if conversation.pinned else ""), "Folder"
            )

    def _is_kept(self, conversation: Conversation, title: str) -> bool:
        if not conversation.id:
            say(self, "This conversation has nothing in it yet", title)
        return bool(conversation.id)

    def folder_choices(self, typed: str) -> Sequence[Choice]:
        """Folders that are there; runs in a thread."""
        return [Choice(clean_line(one)) for one in self.store.folders()] + [
            Choice("off", "in no folder")
        ]
