"""The same question to several models, presets or sets of parameters, from the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from corral import trouble
from corral.chat.conversation import Message
from corral.comparing import Comparison, Entry
from corral.contenders import contenders
from corral.errors import CorralError
from corral.forming import OFF
from corral.models.library.names import existing_path
from corral.text import clean
from corral.tui import wording
from corral.tui.screens.chat_tree import ChatTree
from corral.tui.toasts import fail, say
from corral.tui.widgets.completion import Choice
from corral.units import size

if TYPE_CHECKING:
    from corral.store.store import Store
    from corral.tui.screens.contenders import Found, Wish


class ChatCompare(ChatTree):
    """The part of :class:`corral.tui.screens.chat.ChatScreen` that compares."""

    store: Store

    if TYPE_CHECKING:  # What the screen itself brings.

        async def draw(self, at: int | None = None) -> None: ...

    def action_compare(self) -> None:
        """Choose what to compare: what stands in the box, else the message at the cursor."""
        self._choose_contenders()

    async def compare_command(self, rest: str) -> None:
        """``/compare MODEL MODEL … [blind]``: each word means one installed model."""
        words = rest.split()
        blind = "blind" in words
        try:
            meant = await asyncio.to_thread(self._meant, [one for one in words if one != "blind"])
        except CorralError as error:
            fail(self, error)
            return
        named = [name for name in meant.values() if name]
        unclear = [word for word, name in meant.items() if not name]
        message = self._asked()
        if len(named) < 2 or unclear or message is None:
            if unclear:
                say(self, f"“{unclear[0]}” does not mean one installed model", "Which model?")
            self._choose_contenders(named)
            return
        from corral.tui.screens.contenders import Wish

        try:
            wish = Wish(message.text, tuple(contenders(named)), blind)
        except CorralError as error:
            fail(self, error)
            return
        self._compare(wish, message)

    def compare_choices(self, typed: str) -> Sequence[Choice]:
        """Installed models, one more behind those that are typed; runs in a thread."""
        before, _, _ = typed.rpartition(" ")
        names = [one.name for one in self.corral.library.models() if one.state == "installed"]
        return [Choice(f"{before} {name}".strip(), "", name) for name in (*names, "blind")]

    # --- inside -----------------------------------------------------------------------------------

    def _meant(self, words: Sequence[str]) -> dict[str, str]:
        """The model that each word means, "" where that is not clear; runs in a thread.

        A word that could mean several means the one that no other word means.
        """
        found = {
            word: [word] if existing_path(word) else [one.name for one in self._matching(word)]
            for word in words
        }
        sure = {names[0] for names in found.values() if len(names) == 1}
        meant: dict[str, str] = {}
        for word, names in found.items():
            left = names if len(names) == 1 else [name for name in names if name not in sure]
            meant[word] = left[0] if len(left) == 1 else ""
        return meant

    def _asked(self) -> Message | None:
        """The question at hand: the message at the cursor, or what it answers, else the last."""
        path = self.conversing.dialogue.path()
        at = self.transcript.current or (path[-1] if path else None)
        if at is not None and at.role == "assistant" and at.parent is not None:
            at = self.conversing.dialogue.get(at.parent)
        return at if at is not None and at.role == "user" else None

    def _choose_contenders(self, models: Sequence[str] = ()) -> None:
        from corral.tui.screens.contenders import ContendersScreen

        if not self._idle():
            return
        typed = "" if self.editing is not None else self.prompt.text
        typed = typed if typed.strip() else ""
        message = None if typed else self._asked()
        now = self.conversing.model.name if self.conversing.model else ""

        def chosen(wish: Wish | None) -> None:
            if wish is not None:
                self._compare(wish, message, typed)

        self.app.push_screen(
            ContendersScreen(self._candidates, message.text if message else typed, models or [now]),
            chosen,
        )

    def _candidates(self) -> Found:
        """Runs in a thread."""
        from corral.tui.screens.contenders import Candidate, Found

        votes = {one.name: f"won {one.wins} of {one.votes}" for one in self.store.votes()}
        warm = self.corral.chatting.in_memory()
        models = []
        for one in self.corral.library.models():
            if one.state == "installed":
                notes = [wording.titled(one.title, one.quant), size(one.bytes)]
                notes += ["in memory"] if one.name in warm else []
                notes += [votes[one.name]] if one.name in votes else []
                models.append(Candidate(one.name, " · ".join(notes)))
        presets = self.corral.chatting.planner.presets.all()
        found = [Candidate(one.name, one.text or one.title) for one in presets]
        return Found(models, [Candidate(OFF, "no preset"), *found])

    def _compare(self, wish: Wish, message: Message | None, typed: str = "") -> None:
        """Begin a comparison over the chat.

        Args:
            message: asked again where the question is still its text, else followed by a branch.
            typed: what stood in the box, and is the question now.
        """
        from corral.tui.screens.compare import CompareScreen

        if not self._idle():
            return
        same = message is not None and wish.question in (message.text, clean(message.text))
        follows = message.parent if message is not None else self.conversing.dialogue.active
        comparison = Comparison(
            self.corral.chatting,
            self.conversing.conversation,
            message if same and message is not None else wish.question,
            wish.contenders,
            parent=follows,
        )

        async def compared(entry: Entry | None) -> None:
            await self._compared(comparison, entry, typed)

        screen = CompareScreen(
            comparison,
            self.store,
            blind=wish.blind,
            note_fault=partial(trouble.write_down, self.corral.paths.app_log),
        )
        self.app.push_screen(screen, compared)

    async def _compared(self, comparison: Comparison, entry: Entry | None, typed: str) -> None:
        """Show what became of it; the answers are in the store, and the tree has them all."""
        conversation = comparison.conversation.id
        here = self.conversing.id
        if comparison.question is not None and here in (0, conversation):
            if typed and self.prompt.text == typed:
                self.prompt.fill("")  # It is sent now.
            answer = entry.answer if entry is not None else None
            try:
                await self.conversing.open(conversation)
                if not here:
                    await self.conversing.sent(first=True)
            except CorralError as error:
                fail(self, error)
            await self.draw(answer.id if answer else None)
        await self.sidebar.reload()
        self.tell()
        answered = sum(one.answered for one in comparison.entries)
        others = "F3 and F4" if self.conversing.is_text else "[ and ]"
        others = f". {others} show the others" if answered > 1 else ""
        if entry is not None:
            say(self, f"{entry.label} has the answer{others}", "Compared")
        elif answered > 1:
            say(self, f"All {answered} answers are kept{others}", "Compared")
