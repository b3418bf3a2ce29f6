"""The box: pasting never sends, Enter does, arrows recall, drafts survive."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chat_app import History, chat
from tests.support.scripted_engine import Script
from textual import events


async def test_paste_never_sends(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        c.app.post_message(events.Paste("one\r\ntwo\rthree\n\tfour\n"))
        await c.until(lambda: c.screen.prompt.text)
        assert c.screen.prompt.text == "one\ntwo\nthree\n\tfour\n"
        assert c.store.conversations() == []


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter"])
async def test_newline(tmp_path: Path, key: str) -> None:
    async with chat(tmp_path) as c:
        await c.pilot.press("a", key, "b")
        assert c.screen.prompt.text == "a\nb"


async def test_the_box_grows_to_eight_lines(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        assert c.screen.prompt.area.size.height == 1
        await c.type("\n".join("12345"))
        await c.until(lambda: c.screen.prompt.area.size.height == 5)
        await c.type("\n" * 20)
        await c.until(lambda: c.screen.prompt.area.size.height == 8)


async def test_an_empty_message_is_not_sent(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.pilot.press("space", "enter")
        await c.pilot.pause()
        assert c.store.conversations() == []


async def test_arrows_recall_what_was_said_here(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Two", ("one?", "one."), ("two?\nreally?", "two."))

    async with chat(tmp_path, fill=fill) as c:
        await c.type("unsent")
        await c.pilot.press("up")
        assert c.screen.prompt.text == "two?\nreally?"
        c.screen.tell()  # as when a download ends meanwhile
        await c.pilot.press("up")  # from the second line to the first
        assert c.screen.prompt.text == "two?\nreally?"
        await c.pilot.press("up")
        assert c.screen.prompt.text == "one?"
        await c.pilot.press("up")
        assert c.screen.prompt.text == "one?"
        await c.pilot.press("down", "down")
        assert c.screen.prompt.text == "unsent"


async def test_a_changed_recalled_text_is_not_thrown_away(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Two", ("one?", "one."))

    async with chat(tmp_path, fill=fill) as c:
        await c.pilot.press("up", "x", "down", "up")
        assert c.screen.prompt.text == "one?x"


async def test_examples_are_recalled_where_nothing_was_said(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.pilot.press("up")
        assert c.screen.prompt.text.startswith("Write an e-mail")


async def test_the_draft_survives_a_start(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("One", ("one?", "one."))

    async with chat(tmp_path, fill=fill) as c:
        await c.type("half a thou")
        id = c.screen.conversing.id
        # Without an orderly end: only what the pause of half a second wrote counts.
        await c.until(lambda: c.store.conversation(id).draft == "half a thou")
    async with chat(tmp_path) as c:
        assert c.screen.conversing.id == id
        assert c.screen.prompt.text == "half a thou"


async def test_the_draft_of_a_new_conversation_survives_a_start(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type("half a thou")
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
    async with chat(tmp_path) as c:
        assert c.screen.prompt.text == "half a thou"
        assert c.store.conversations() == []
        await c.pilot.press("enter")
        await c.settled()
        await c.pilot.press("ctrl+n")
        await c.pilot.pause()
        assert c.screen.prompt.text == ""


async def test_each_conversation_has_its_own_draft(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("One", ("one?", "one."), ago=10)
        history.conversation("Two", ("two?", "two."))

    async with chat(tmp_path, fill=fill) as c:
        two, one = (conversation.id for conversation in c.store.conversations())
        await c.type("for two")
        await c.open(one)
        assert c.screen.prompt.text == ""
        await c.type("for one")
        await c.open(two)
        assert c.screen.prompt.text == "for two"
        await c.open(one)
        assert c.screen.prompt.text == "for one"


async def test_the_last_conversation_is_opened_again_unless_it_was_long_ago(
    tmp_path: Path,
) -> None:
    def fill(history: History) -> None:
        history.conversation("Old", ("one?", "one."), ago=13 * 3600)

    async with chat(tmp_path, fill=fill) as c:
        assert c.screen.conversing.id == 0
        assert "Keep your llamas at home." in c.text()
        await c.open(c.store.conversations()[0].id)
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
    async with chat(tmp_path) as c:
        assert "Old" in c.text()
        assert c.screen.conversing.id != 0


async def test_quitting_stops_and_stores_what_runs(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two"], hold_after=1)) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.type("next")
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
        assert c.app.return_code == 0
    async with chat(tmp_path) as c:
        assert [m.text for m in c.path()] == ["Count", "One "]
        assert c.path()[-1].status == "stopped"
        assert c.screen.prompt.text == "next"


async def test_a_sudden_end_stores_what_runs(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two"], hold_after=1)) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        c.app.exit()
        await c.until(lambda: not c.app.is_running)
    async with chat(tmp_path) as c:
        assert [m.text for m in c.path()] == ["Count", "One "]
        assert c.path()[-1].status == "stopped"


async def test_what_is_typed_before_the_history_is_read_stays(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("One", ("one?", "one."), draft="draft ")

    async with chat(tmp_path, fill=fill) as c:
        c.screen.prompt.fill("typed early")
        c.screen.conversing.conversation = c.store.conversation(c.screen.conversing.id)
        await c.screen.draw()
        assert c.screen.prompt.text == "draft typed early"
