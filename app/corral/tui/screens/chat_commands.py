"""What the keys of the chat screen do besides sending: copy, rename, delete, choose, walk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from corral.chat.conversation import Conversation, Message
from corral.errors import CorralError
from corral.tui import links
from corral.tui.screens.chat_adapters import ChatAdapters
from corral.tui.screens.chat_box import ChatBox
from corral.tui.screens.chat_compare import ChatCompare
from corral.tui.screens.chat_completion import ChatCompletion
from corral.tui.screens.chat_finding import ChatFinding
from corral.tui.screens.chat_moving import ChatMoving
from corral.tui.screens.chat_presets import ChatPresets
from corral.tui.screens.chat_settings import ChatSettings
from corral.tui.screens.chat_tree import ChatTree
from corral.tui.screens.chat_window import ChatWindow
from corral.tui.toasts import fail, say
from corral.tui.widgets.sidebar import title_of

if TYPE_CHECKING:
    from textual.widgets import Markdown

    from corral.store.store import Store
    from corral.tui.turns import Turns
    from corral.tui.widgets.markdown import Fence
    from corral.tui.widgets.sidebar import Sidebar
    from corral.tui.widgets.transcript import Transcript


class ChatCommands(
    ChatFinding,
    ChatMoving,
    ChatWindow,
    ChatPresets,
    ChatAdapters,
    ChatBox,
    ChatCompare,
    ChatCompletion,
    ChatTree,
    ChatSettings,
):
    """The actions of :class:`corral.tui.screens.chat.ChatScreen`."""

    store: Store
    turns: Turns
    sidebar: Sidebar
    transcript: Transcript

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(id=id, classes=classes)
        self._hide_again = False
        """Whether the sidebar is shown only until it is left."""
        self._copied: tuple[int | None, int] = (None, 0)
        """The end of the path when a block of code was copied, and which one it was."""

    if TYPE_CHECKING:  # What the screen itself brings.

        async def open_conversation(self, id: int | None, at: int | None = None) -> None: ...

        async def walk(self, message: Message, step: int) -> None: ...

    # --- stopping and leaving ---------------------------------------------------------------------

    async def action_stop(self) -> None:
        """Stop the loading or the answer; where there is neither, leave what was opened last."""
        if self.swap is not None:
            self.swap.stop()
            return
        if (live := self.conversing.live) is not None:
            live.turn.stop()
            return
        self.clear_selection()
        if self.editing is not None:
            self.editing = None
            self.prompt.fill(self._kept_draft)
        elif self.sidebar.searching:
            self.sidebar.close_search()
        self.leave_sidebar()
        self.tell()

    def leave_sidebar(self) -> None:
        """Back to the box; a sidebar that came only for this goes again."""
        self.remove_class("-overlay")
        if self._hide_again:
            self._hide_again = False
            self.add_class("-no-sidebar")
        self.prompt.area.focus()

    async def action_new_conversation(self) -> None:
        await self.open_conversation(None)

    def action_send(self) -> None:
        self.prompt.area.action_send()

    def action_newline(self) -> None:
        self.prompt.area.action_newline()

    def action_open(self) -> None:
        self.sidebar.rows.action_select()

    # --- around the transcript --------------------------------------------------------------------

    def action_scroll_transcript(self, step: int) -> None:
        self.transcript.action_page(step)

    def action_transcript_start(self) -> None:
        self.transcript.action_start()

    def action_transcript_end(self) -> None:
        self.transcript.action_end()

    async def action_sibling(self, step: int) -> None:
        if message := self.transcript.current:
            await self.walk(message, step)

    def action_edit(self) -> None:
        """Take a message into the box; sending it makes a branch."""
        message = self.transcript.current
        if message is not None and message.status != "streaming":
            self.edit_message(message)

    # --- copying ----------------------------------------------------------------------------------

    async def action_copy_answer(self) -> None:
        live = self.conversing.live
        last = self.conversing.last_answer()
        text = live.turn.text if live else last.text if last else ""
        if text:
            await self.corral.copy(text, "the answer")
        else:
            say(self, "There is no answer yet", "Nothing to copy")

    async def action_copy_message(self) -> None:
        if message := self.transcript.current:
            await self.corral.copy(self._text_of(message), "the message")

    async def action_copy_conversation(self) -> None:
        parts = []
        for message in self.conversing.dialogue.path():
            who = "You" if message.role == "user" else "Answer"
            parts.append(f"**{who}**\n\n{self._text_of(message)}")
        if parts:
            await self.corral.copy("\n\n".join(parts) + "\n", "the conversation")

    async def action_copy_code(self) -> None:
        """The last block of code; again for the one before it, and around."""
        await self._copy_block(list(reversed(self.conversing.dialogue.path())))

    async def action_copy_message_code(self) -> None:
        if message := self.transcript.current:
            await self._copy_block([message])

    async def _copy_block(self, messages: list[Message]) -> None:
        from corral.tui.widgets.markdown import code_blocks

        key = messages[0].id if messages else None
        blocks: list[str] = []
        want = self._copied[1] + 1 if self._copied[0] == key else 0
        for message in messages:
            if message.role == "assistant":
                blocks += reversed(code_blocks(self._text_of(message)))
            if len(blocks) > want:
                break
        if not blocks:
            say(self, "There is no code here", "Nothing to copy")
            return
        number = want % len(blocks)
        self._copied = (key, number)
        await self.corral.copy(blocks[number], _lines(blocks[number]))

    async def on_fence_copy_wanted(self, event: Fence.CopyWanted) -> None:
        if await self.corral.copy(event.fence.code, _lines(event.fence.code)):
            event.fence.label(copied=True)

    def _text_of(self, message: Message) -> str:
        live = self.conversing.live
        if live is not None and live.answer is not None and live.answer.id == message.id:
            return live.turn.text
        return message.text

    # --- the sidebar ------------------------------------------------------------------------------

    def action_sidebar(self) -> None:
        if self.has_class("-narrow"):
            self.toggle_class("-overlay")
            if self.has_class("-overlay"):
                self.sidebar.rows.focus()
            else:
                self.prompt.area.focus()
            return
        self._hide_again = False
        self.toggle_class("-no-sidebar")
        hidden = self.has_class("-no-sidebar")
        if hidden and self.focused is not None and self.sidebar in self.focused.ancestors:
            self.prompt.area.focus()
        self.corral.settings.sidebar = not hidden
        self.corral.keep_setting("sidebar", not hidden)

    def action_search(self) -> None:
        if self.has_class("-narrow"):
            self.add_class("-overlay")
        elif self.has_class("-no-sidebar"):
            self._hide_again = True
            self.remove_class("-no-sidebar")
        self.sidebar.box.focus()

    def _target(self) -> Conversation:
        """The conversation under the cursor of the sidebar, else the open one."""
        return self.sidebar.chosen or self.conversing.conversation

    async def change(self, conversation: Conversation, **changes: object) -> bool:
        """Change a conversation and show that; False where it could not be, which is told."""
        changed = True
        try:
            if conversation.id == self.conversing.id:
                await self.conversing.change(**changes)
            else:
                self.store.update_conversation(conversation.id, **changes)  # type: ignore[arg-type]
        except CorralError as error:
            changed = False
            fail(self, error)
        await self.sidebar.reload()
        self.tell()
        return changed

    def action_rename(self) -> None:
        from corral.tui.screens.dialogs import TextDialog

        conversation = self._target()

        async def renamed(title: str | None) -> None:
            if title is not None:
                await self.change(conversation, title=title)

        title = title_of(conversation) if conversation.title else ""
        self.app.push_screen(TextDialog("Rename the conversation", title), renamed)

    async def action_pin(self) -> None:
        conversation = self._target()
        await self.change(conversation, pinned=not conversation.pinned)

    def action_delete(self) -> None:
        conversation = self._target()
        if not conversation.id:
            say(self, "This conversation has nothing in it yet", "Nothing to delete")
            return
        self.run_worker(self._delete(conversation), group="delete")

    async def _delete(self, conversation: Conversation) -> None:
        if live := self.turns.live.get(conversation.id):
            await self.turns.stop([live], 4.0)
        if conversation.id == self.conversing.id:
            await self.save_draft()  # It goes into the trash with it, and comes back.
        try:
            self.store.trash(conversation.id)
        except CorralError as error:
            fail(self, error)
            return
        if conversation.id == self.conversing.id:
            in_list = self.sidebar.rows.has_focus
            await self.open_conversation(None)
            if in_list:
                self.sidebar.rows.focus()
        await self.sidebar.reload()
        where = "u brings it back" if self.sidebar.rows.has_focus else "u in the list undoes it"
        say(self, f"Deleted “{title_of(conversation)}” · {where}", seconds=8.0)

    async def action_undo_delete(self) -> None:
        """Bring back the conversation that was deleted last, also before a restart."""
        try:
            found = await asyncio.to_thread(self.store.in_trash)
            if not found:
                say(self, "No conversation is in the trash", "Nothing to undo")
                return
            conversation = found[0].conversation
            await asyncio.to_thread(self.store.restore, conversation.id)
        except CorralError as error:
            fail(self, error)
            return
        await self.sidebar.reload()
        say(self, f"“{title_of(conversation)}” is back")

    # --- other screens ----------------------------------------------------------------------------

    def action_help(self) -> None:
        from corral.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self.corral.paths))

    def action_engine_log(self) -> None:
        from corral.tui.screens.log import LogScreen

        self.app.push_screen(LogScreen(self.corral.paths.engine_log))

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Show where a link really leads; only then, and only over the web, it is opened."""
        from corral.tui.screens.dialogs import ChoiceDialog

        event.stop()
        target = links.target(event.href)
        if target is None:
            say(self, f"Only web addresses are opened, not this one: {event.href}", "Not opened")
            return

        async def decided(choice: str | None) -> None:
            if choice == "open":
                self.app.open_url(target.url)
            elif choice == "copy":
                await self.corral.copy(target.url, "the address")

        choices = [("open", f"Open {target.host} in the browser"), ("copy", "Copy the address")]
        self.app.push_screen(ChoiceDialog("Open this link?", choices, target.url), decided)


def _lines(code: str) -> str:
    count = code.count("\n") + 1
    return f"{count} {'line' if count == 1 else 'lines'} of code"
