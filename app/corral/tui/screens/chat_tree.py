"""The tree of the conversation: another answer, one that goes on, forks, and what is deleted."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from corral.chat.conversation import Message
from corral.chatting import Options
from corral.errors import CorralError, UsageError
from corral.text import shorten
from corral.tui.screens.chat_settings import ChatSettings
from corral.tui.toasts import fail, say
from corral.tui.widgets.sidebar import title_of

if TYPE_CHECKING:
    from corral.models.library.local import LocalModel
    from corral.store.branches import Deletion
    from corral.tui.screens.tree import Choice
    from corral.tui.widgets.transcript import Transcript


class ChatTree(ChatSettings):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that is about branches."""

    transcript: Transcript

    if TYPE_CHECKING:  # What the screen itself brings.

        async def open_conversation(self, id: int | None, at: int | None = None) -> None: ...

    # --- a long conversation ----------------------------------------------------------------------

    def read_rest(self) -> None:
        """Read the beginning of a long conversation while its end is looked at already."""
        if not self.conversing.dialogue.whole:
            self.run_worker(self._read_rest(), group="rest", exclusive=True)

    async def _read_rest(self) -> None:
        try:
            dialogue = self.conversing.dialogue
            if await self.conversing.read_rest() and dialogue is self.conversing.dialogue:
                await self.transcript.lengthen(dialogue.path())
                self.tell()
        except CorralError as error:
            fail(self, error)

    # --- another answer ---------------------------------------------------------------------------

    async def action_regenerate(self) -> None:
        """Another answer to the message at the cursor, else to the last one."""
        if message := self._at_hand():
            await self._again(message)

    async def again_command(self, rest: str) -> None:
        """``/again [MODEL] [temperature=1.2 …]``: another answer to the last message."""
        message = self._at_hand()
        if message is None:
            return
        try:
            options, model = await asyncio.to_thread(self._options, rest)
        except CorralError as error:
            fail(self, error)
            return
        await self._again(message, options, model)

    def action_again_with(self) -> None:
        """The same, by a model that is chosen from those that are here."""
        if message := self._at_hand():
            self.run_worker(self._again_with(message), group="again", exclusive=True)

    async def _again_with(self, message: Message) -> None:
        from corral.tui.screens.dialogs import ChoiceDialog

        try:
            found = await asyncio.to_thread(self.corral.library.models)
        except CorralError as error:
            fail(self, error)
            return
        models = {one.name: one for one in found if one.state == "installed"}
        choices = [(name, f"{shorten(name, 50)}\t{one.title}") for name, one in models.items()]
        current = self.conversing.model.name if self.conversing.model else None
        dialog = ChoiceDialog("Another answer, by which model?", choices, selected=current)
        name = await self.app.push_screen_wait(dialog)
        if name in models:
            await self._again(message, Options(model=name), models[name])

    def _at_hand(self) -> Message | None:
        """The message at the cursor, else the last one; says so where there is none."""
        path = self.conversing.dialogue.path()
        message = self.transcript.current or (path[-1] if path else None)
        if message is None:
            say(self, "There is nothing to answer yet", "Nothing to do")
        return message

    def _options(self, rest: str) -> tuple[Options, LocalModel | None]:
        """What ``/again`` was given; runs in a thread.

        Raises:
            UsageError: no model, or more than one, is meant; or a parameter is out of range.
        """
        words = rest.split()
        parameters = dict(_parameter(word) for word in words if "=" in word)
        wanted = " ".join(word for word in words if "=" not in word)
        model: LocalModel | None = None
        if wanted:
            found = self._matching(wanted)
            if len(found) != 1:
                raise UsageError(
                    f"{'No' if not found else 'More than one'} model that is installed is called "
                    f"{shorten(wanted, 40)}",
                    title="Which model?",
                    hint="/again alone asks the same one; the palette lets you choose.",
                )
            model = found[0]
        options = Options(model=model.name if model else None, parameters=parameters)
        # What is wrong with the wish is told before an answer is begun.
        self.corral.chatting.planner.plan(self.conversing.conversation, options)
        return options, model

    async def _again(
        self, message: Message, options: Options = Options(), model: LocalModel | None = None
    ) -> None:
        if self.conversing.model is None and model is None:
            fail(self, self.conversing.no_model or CorralError("No model is installed"))
            return
        try:
            self.conversing.regenerate(message, options, model)
        except CorralError as error:
            fail(self, error)
        self.tell()

    # --- an answer that goes on -------------------------------------------------------------------

    async def action_go_on(self) -> None:
        """Let the answer at the cursor go on, else the last one."""
        message = self.transcript.current or self.conversing.last_answer()
        if message is not None and message.role == "user":
            message = self.conversing.last_answer()
        if message is None:
            say(self, "There is no answer yet", "Nothing to go on with")
            return
        await self._go_on(message)

    async def _go_on(self, message: Message) -> None:
        from corral import continuing

        if self.conversing.model is None:
            fail(self, self.conversing.no_model or CorralError("No model is installed"))
            return
        try:
            continuing.check(message)
            await self.conversing.go_to(message.id)
            self.conversing.go_on(message)
        except CorralError as error:
            fail(self, error)
        self.tell()

    async def answer_edited(self, answer: Message, text: str) -> None:
        """Put what was made of an answer in the box beside it."""
        if text.strip() == answer.text.strip():
            self.tell()
            return
        try:
            edited = await self.conversing.edit_answer(answer, text)
        except CorralError as error:
            self.give_back(text)
            fail(self, error)
            return
        await self.transcript.renew(None)
        self.transcript.put_cursor(edited.id)
        await self.sidebar.reload()
        self.tell()

    # --- deleting and forking ---------------------------------------------------------------------

    async def action_delete_message(self) -> None:
        """Delete the message at the cursor, and all below it."""
        await self._delete_message(branch=True)

    async def action_delete_only(self) -> None:
        """Delete the message at the cursor; what follows it stays."""
        await self._delete_message(branch=False)

    async def _delete_message(self, *, branch: bool) -> None:
        message = self.transcript.current
        if message is None or not self._idle():
            return
        try:
            done = await self.conversing.delete(message, branch=branch)
        except CorralError as error:
            fail(self, error)
            return
        path = self.conversing.dialogue.path()
        near = next((one.id for one in path if one.id == message.parent), None)
        await self._redraw(near or (path[-1].id if path else None))
        say(self, f"Deleted {_count(done)} · u or /undo brings it back", seconds=8.0)

    async def action_undo_deletion(self) -> None:
        """Bring back what was deleted last in this conversation, also before a restart."""
        if not self.conversing.id or not self._idle():
            return
        try:
            done = await self.conversing.undo_deletion()
        except CorralError as error:
            say(self, error.message, error.title)
            return
        await self._redraw(done.first.id)
        say(self, f"{_count(done)} {'is' if done.messages == 1 else 'are'} back")

    async def action_fork(self) -> None:
        """A new conversation with all up to the message at the cursor, else to the end."""
        if message := self._at_hand():
            await self._fork(message)

    async def _fork(self, message: Message) -> None:
        try:
            fork = await self.conversing.fork(message)
        except CorralError as error:
            fail(self, error)
            return
        await self.open_conversation(fork.id)
        await self.sidebar.reload()
        say(self, f"This is “{title_of(fork)}” now; the other one stays as it is", "Forked")

    def _idle(self) -> bool:
        """Whether no answer is being written here; says so where one is."""
        if self.conversing.live is None:
            return True
        say(self, "Stop the answer first, or wait until it is done", "Still writing")
        return False

    async def _redraw(self, at: int | None) -> None:
        focused = self.focused is self.transcript
        await self.transcript.show(self.conversing.dialogue, self.conversing.live, at)
        self.tell()
        await self.sidebar.reload()
        if self.written is not None:
            self.written.catch_up()
        if not self.conversing.dialogue.path() and focused:
            self.prompt.area.focus()

    # --- the tree screen --------------------------------------------------------------------------

    def action_tree(self) -> None:
        from corral.tui.screens.tree import TreeScreen

        if not self.conversing.id:
            say(self, "There is no message yet", "Nothing to show")
            return
        at = self.transcript.current
        before = self.conversing.dialogue.path()
        self.app.push_screen(
            TreeScreen(self.conversing, at.id if at else None),
            lambda choice: self._tree_closed(choice, before),
        )

    async def _tree_closed(self, choice: Choice | None, before: list[Message]) -> None:
        path = self.conversing.dialogue.path()
        if choice is None:
            if [one.id for one in path] != [one.id for one in before]:
                await self._redraw(None)
            return
        message = choice.message
        if choice.deed == "fork":
            await self._fork(message)
            return
        if self._idle() if choice.deed != "open" else self.conversing.live is None:
            try:
                await self.conversing.go_to(message.id)
            except CorralError as error:
                fail(self, error)
        await self._redraw(message.id)
        self.transcript.focus()
        if choice.deed == "again":
            await self._again(message)
        elif choice.deed == "again_with":
            self.run_worker(self._again_with(message), group="again", exclusive=True)
        elif choice.deed == "go_on":
            await self._go_on(message)
        elif choice.deed == "edit":
            self.edit_message(message)

    def edit_message(self, message: Message) -> None:
        """Take a message into the box; sending it makes a branch."""
        if self.editing is None:
            self._kept_draft = self.prompt.text
        elif self.prompt.text.strip() != self.editing.text.strip():
            self.prompt.area.focus()
            say(self, "Enter sends it, Esc leaves it as it was", "Another one is being written")
            return
        self.editing = message
        self.prompt.fill(message.text)
        self.prompt.area.focus()
        self.tell()


def _count(deletion: Deletion) -> str:
    return "1 message" if deletion.messages == 1 else f"{deletion.messages} messages"


def _parameter(word: str) -> tuple[str, Any]:
    """``temperature=1.2`` as a name and a value.

    Raises:
        UsageError: there is no such parameter, or it has no number.
    """
    from corral.tui.parameters import PARAMETERS

    name, _, value = word.partition("=")
    name = name.replace("-", "_").casefold()
    if name not in PARAMETERS:
        raise UsageError(f"There is no parameter {shorten(name, 40)}", hint="Ctrl+G shows them all")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
