"""Drafts, deletions and answers that go on, where two things happen at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.support.chat_app import History, chat
from tests.support.scripted_engine import Script

from corral.chat.conversation import Conversation
from corral.errors import EngineDied
from corral.models.library.local import LocalModel
from corral.store.store import Store
from corral.tui.screens.tree import TreeScreen
from corral.tui.widgets.welcome import Welcome


def two(history: History) -> None:
    history.conversation("One", ("one?", "one."), ago=10)
    made = history.conversation("Two", ("two?", "two."))
    parent = history.store.messages(made.id)[-1].id
    cut = history.store.add_user(made.id, "and?", parent)
    history.answer(cut.id, "One, two, ", stop_reason="length")


async def test_drafts_stay_whatever_is_sent_elsewhere(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["so."]), Script(["so."]), fill=two) as c:
        id = c.screen.conversing.id
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen.conversing.id == 0)
        await c.type("for a new one")
        await c.open(id)
        await c.send("three?")
        await c.settled()
        # Another program sends something here, while something else stands in the box.
        await c.type("half a thought")
        await c.screen.save_draft()
        beside = Store.open(c.paths.database)
        beside.add_user(id, "from the command line", None)
        assert beside.conversation(id).draft == "half a thought"
        # It deletes the conversation for good: what is typed becomes the draft of a new one.
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen.conversing.id == 0)
        assert c.screen.prompt.text == "for a new one"
        await c.pilot.press("enter")
        await c.settled()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen.conversing.id == 0)
        assert c.screen.prompt.text == ""
        await c.open(id)
        assert c.screen.prompt.text == "half a thought"
        # So does what is typed where a conversation is deleted, and comes back.
        c.screen.prompt.area.insert(" to keep")
        c.screen.action_delete()
        await c.until(lambda: c.screen.conversing.id == 0)
        await c.type("mine ")
        c.screen.welcome.post_message(Welcome.Chosen("an example"))
        await c.until(lambda: c.screen.prompt.text == "mine an example")
        c.screen.prompt.fill("")
        await c.screen.action_undo_delete()
        await c.open(id)
        assert c.screen.prompt.text == "half a thought to keep"
        beside.delete(id)
        beside.close()
        await c.type(", and its end")
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen.conversing.id == 0)
        assert c.screen.prompt.text == "half a thought to keep, and its end"


async def test_two_conversations_opened_at_once_keep_their_drafts(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        one, other = (item.id for item in c.store.conversations())
        await c.open(one)
        await c.type("for one")
        await c.open(other)
        await c.type("for the other")
        find = c.screen.conversing._model_for
        reading = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(conversation: Conversation) -> LocalModel:
            loop.call_soon_threadsafe(reading.set)
            time.sleep(0.2)
            return find(conversation)

        c.screen.conversing._model_for = slow
        opening = asyncio.create_task(c.screen.open_conversation(one))
        await reading.wait()
        c.screen.prompt.area.insert("!")  # typed while it is opened
        await c.screen.save_draft()
        assert (c.store.conversation(one).draft, c.screen.conversing.id) == ("for one", one)
        await asyncio.gather(opening, c.screen.open_conversation(None))
        assert (c.screen.prompt.text, c.screen.conversing.id) == ("", 0)
        drafts = [c.store.conversation(id).draft for id in (one, other)]
        assert drafts == ["for one!", "for the other"]
        # One that is gone is not opened, and what stands in the box stays.
        await c.type("here")
        await c.open(99)
        assert c.screen.prompt.text == "here"


async def test_the_arrows_lose_nothing(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        prompt = c.screen.prompt
        await c.type("unsent")
        await c.pilot.press("up")
        assert prompt.text == "and?"
        # A list that has grown at its beginning changes nothing of where one is.
        await c.pilot.press("x", "up")
        prompt.area.recallable(["earlier", *prompt.area._recallable])
        await c.pilot.press("up", "down")
        assert prompt.text == "two?"
        await c.pilot.press("down")
        assert prompt.text == "and?x"
        await c.pilot.press("backspace", "down", "up")
        assert prompt.text == "and?"
        await c.pilot.press("down")
        assert prompt.text == "unsent"
        # Neither does one that is emptied.
        await c.pilot.press("up", "ctrl+u", "up", "down")
        assert prompt.text == ""
        # A message that is being written anew is not thrown away for another one.
        path = c.path()
        c.screen.edit_message(path[0])
        await c.type(" anew")
        c.screen.edit_message(path[2])
        await c.until(lambda: "Another one is being written" in c.toasts())
        assert prompt.text == "two? anew"
        await c.pilot.press("escape")
        assert prompt.text == ""


async def test_keys_that_come_faster_than_the_disk(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        await c.pilot.press("ctrl+t")
        await c.until(lambda: isinstance(c.app.screen, TreeScreen))
        await c.pilot.press("home")
        for key in ("x", "x", "u", "u", "x"):
            c.app.simulate_key(key)
        id = c.screen.conversing.id
        await c.until(lambda: len(c.store.messages(id)) == 3)
        await c.pilot.pause()
        shown = c.screen.conversing.dialogue
        assert {m.id for m in shown.messages()} == {m.id for m in c.store.messages(id)}
        assert shown.active == c.store.conversation(id).active
        # What was read before a change is not shown after it.
        await asyncio.gather(c.screen.conversing.undo_deletion(), c.screen.conversing.catch_up())
        assert len(c.screen.conversing.dialogue) == 4


async def test_an_answer_that_could_not_go_on_leaves_what_follows_it_shown(
    tmp_path: Path,
) -> None:
    died = Script(fail_after=0, error=EngineDied("It ended"))
    async with chat(tmp_path, Script(["so."]), died, fill=two) as c:
        await c.send("and then?")
        await c.settled()
        before = [m.id for m in c.path()]
        c.screen.transcript.focus()
        await c.pilot.press("up", "up")
        assert c.screen.transcript.current is not None
        assert c.screen.transcript.current.text == "One, two, "
        await c.pilot.press("g")
        await c.until(lambda: "It ended" in c.toasts())
        await c.settled()
        assert [m.id for m in c.path()] == before
        assert "and then?" in c.text() and len(c.store.messages(c.screen.conversing.id)) == 6
