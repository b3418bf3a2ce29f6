"""The list by day, searching, renaming, pinning, deleting and bringing back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.chat_app import NOW, History, chat
from tests.support.scripted_engine import Script

DAY = 86_400.0


def several(history: History) -> None:
    history.conversation("Bread", ("How do I bake?", "Knead the dough."), ago=40 * DAY)
    history.conversation("Words", ("Ten words", "allpa, inti"), ago=1.1 * DAY, pinned=True)
    history.conversation("Invoice", ("Write an e-mail", "Dear Sir"), ago=DAY)
    history.conversation("Cusco", ("Plan a trip", "Day one: rest."), ago=3600)
    history.conversation("Llamas", ("What is a llama?", "Not an alpaca."))


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


async def test_conversations_stand_under_their_day(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        region = c.screen.sidebar.region
        lines = [line[: region.right - 2].strip() for line in c.text().splitlines()]
        # Beside each title stands how large the model is that answered last.
        assert sum(line.endswith(" 7B") for line in lines) == 5
        lines = [line.removesuffix("7B").strip() for line in lines]
        shown = [line for line in lines[2:] if line and line[0] not in "^E"]
        month = time.strftime("%B", time.localtime(NOW - 40 * DAY))
        assert shown == [
            "⌕ search all chats",
            "Pinned",
            "★ Words",
            "Today",
            "▸ Llamas",
            "Cusco",
            "Yesterday",
            "Invoice",
            month,
            "Bread",
        ]


async def test_choosing_opens(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        await c.pilot.press("tab", "tab")
        assert c.screen.sidebar.rows.has_focus
        assert "Del delete" in c.text()
        await c.pilot.press("down", "enter")
        await c.until(lambda: "Day one: rest." in c.text())
        assert c.screen.prompt.area.has_focus


async def test_search_filters_while_typing_and_opens_at_the_message(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        several(history)
        pairs = [(f"question {n}?", f"answer {n}. " * 40) for n in range(30)]
        pairs[3] = ("question 3?", "a needle in the hay. " + "hay. " * 60)
        history.conversation("Long", *pairs)

    async with chat(tmp_path, fill=fill) as c:
        await c.pilot.press("ctrl+f", *"dou")
        await c.until(lambda: c.screen.sidebar._hits is not None)
        await c.until(lambda: "Knead the dough" in c.text())
        assert "Cusco" not in c.text()
        await c.pilot.press("ctrl+f")
        c.screen.sidebar.box.value = "needle"
        await c.until(lambda: "a needle in the" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: "a needle in the hay. hay." in c.text())
        await c.pilot.press("escape")
        await c.until(lambda: "Cusco" in c.text())
        assert c.screen.focused is c.screen.prompt.area
        c.screen.sidebar.box.focus()
        c.screen.sidebar.box.value = "nothing like this"
        await c.until(lambda: "Nothing found" in c.text())
        await c.pilot.press("enter")
        assert c.app.is_running


async def test_letters_in_the_list_search(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        c.screen.sidebar.rows.focus()
        await c.pilot.press("b", "r")
        await c.until(lambda: c.screen.sidebar.box.value == "br")
        assert c.screen.focused is c.screen.sidebar.box


async def test_letters_in_the_transcript_go_to_the_box(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        c.screen.transcript.focus()
        await c.pilot.press("h", "i")
        assert c.screen.prompt.text == "hi"
        assert c.screen.focused is c.screen.prompt.area


async def test_rename_and_pin(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        await c.pilot.press("f2")
        await c.until(lambda: c.covered)
        await c.pilot.press(*"Camelids", "enter")
        await c.until(lambda: "▲ corral  Camelids" in c.text())
        assert c.store.conversations()[1].title == "Camelids"
        await c.pilot.press("f3")
        await c.until(lambda: c.store.conversations()[0].title == "Camelids")
        await c.pilot.press("f3")
        await c.until(lambda: c.store.conversations()[0].title == "Words")


async def test_delete_and_undo(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        c.screen.sidebar.rows.focus()
        await c.pilot.press("down", "delete")
        await c.until(lambda: "Deleted “Cusco”" in c.toasts())
        await c.until(lambda: "  Cusco" not in c.text())
        assert c.screen.focused is c.screen.sidebar.rows
        assert c.screen.sidebar.rows.highlighted_option is not None
        await c.pilot.press("u")
        await c.until(lambda: "  Cusco" in c.text())
        assert len(c.store.conversations()) == 5


async def test_delete_the_open_one_while_it_answers(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One "], hold_after=1), fill=several) as c:
        id = c.screen.conversing.id
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.screen.run_action("delete")
        await c.until(lambda: "Deleted “Llamas”" in c.toasts())
        await c.settled()
        assert c.screen.conversing.id == 0
        assert "Keep your llamas at home." in c.text()
        await c.screen.run_action("undo_delete")
        await c.until(lambda: len(c.store.conversations()) == 5)
        assert [m.status for m in c.store.messages(id)][-1] == "stopped"


async def test_what_was_deleted_comes_back_after_a_restart_for_thirty_days(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        id = c.screen.conversing.id
        await c.screen.run_action("delete")
        await c.until(lambda: "Deleted" in c.toasts())
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
    async with chat(tmp_path) as c:
        assert id not in [one.id for one in c.store.conversations()]
        await c.screen.run_action("undo_delete")
        await c.until(lambda: id in [one.id for one in c.store.conversations()])

    def long_ago(history: History) -> None:
        history.now -= 31 * 86_400
        history.store.trash(id)
        history.now += 31 * 86_400

    async with chat(tmp_path, fill=long_ago) as c:
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
        assert c.store.messages(id) == []


async def test_the_sidebar_goes_and_comes(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several) as c:
        assert "search all chats" in c.text()
        await c.pilot.press("ctrl+b")
        await c.until(lambda: "search all chats" not in c.text())
        assert "sidebar = false" in c.paths.settings_file.read_text()
        await c.pilot.press("ctrl+f")
        await c.until(lambda: c.screen.sidebar.box.has_focus)
        await c.until(lambda: "search all chats" in c.text())
        # It came for the search, so it goes with it.
        await c.pilot.press("escape")
        await c.until(lambda: "search all chats" not in c.text())


async def test_over_the_text_where_it_is_narrow(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=several, size=(70, 24)) as c:
        assert "search all chats" not in c.text()
        width = c.screen.transcript.region.width
        await c.pilot.press("ctrl+b")
        await c.until(lambda: "search all chats" in c.text())
        assert c.screen.transcript.region.width == width
        await c.pilot.press("down", "enter")
        await c.until(lambda: "Day one: rest." in c.text())
        assert "search all chats" not in c.text()
        await c.pilot.press("ctrl+b")
        await c.until(lambda: "search all chats" in c.text())
        await c.pilot.press("escape")
        await c.until(lambda: "search all chats" not in c.text())
        assert c.screen.focused is c.screen.prompt.area
