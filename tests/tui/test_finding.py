"""Folders, the archive and filters in the sidebar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.chat_app import NOW, Chat, History, chat

from corral.chat.finding import Filters
from corral.store.store import Store

DAY = 86_400.0


def filed(history: History) -> None:
    history.conversation("Bread", ("How do I bake?", "Knead the dough."), ago=40 * DAY)
    history.conversation("Invoice", ("An e-mail", "Dear Sir"), ago=2 * DAY, folder="Work")
    history.conversation("Hotel", ("Which hotel?", "Not that one."), ago=DAY, folder="Work/Trips")
    history.conversation("Old", ("A plan", "Knead nothing."), ago=90 * DAY, archived=True)
    history.conversation("Cusco", ("Plan a trip", "Day one: rest."), ago=3600)
    history.conversation("Llamas", ("What is a llama?", "Not an alpaca."))


def shown(c: Chat) -> list[str]:
    """The rows of the list, without space around them and the size of the model."""
    prompts = [str(option.prompt) for option in c.screen.sidebar.rows.options]
    rows = [line.strip().removesuffix("7B").strip() for one in prompts for line in one.split("\n")]
    return [row for row in rows if row]


async def highlight(c: Chat, title: str) -> None:
    c.screen.sidebar.rows.focus()
    options = c.screen.sidebar.rows.options
    at = next(n for n, one in enumerate(options) if title in str(one.prompt))
    c.screen.sidebar.rows.highlighted = at
    await c.pilot.pause()


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


async def test_folders_fold_and_the_next_start_remembers_it(tmp_path: Path) -> None:
    month = time.strftime("%B", time.localtime(NOW - 40 * DAY))
    async with chat(tmp_path, fill=filed, size=(80, 24)) as c:
        assert shown(c) == [
            *("Folders", "▾ Work 2", "Invoice", "▾ Trips 1", "Hotel"),
            *("Today", "▸ Llamas", "Cusco", month, "Bread", "▸ Archive 1"),
        ]
        await highlight(c, "Hotel")
        await c.pilot.press("left")
        await c.until(lambda: "▸ Trips 1" in shown(c) and "Hotel" not in shown(c))
        # The cursor is on the folder now: once more folds nothing else, → unfolds it again.
        await c.pilot.press("left", "right")
        await c.until(lambda: "Hotel" in shown(c))
        await highlight(c, "Work")
        await c.pilot.press("enter")
        await c.until(lambda: "▸ Work 2" in shown(c) and "▾ Trips 1" not in shown(c))
        await highlight(c, "Archive")
        await c.pilot.press("enter")
        await c.until(lambda: "Old" in shown(c))
        assert "  Old" in c.text(), "what was unfolded at the end of the list is not seen"
        c.screen.sidebar.rows.action_select()
        await c.until(lambda: "▸ Archive 1" in shown(c))
        assert not c.covered and c.screen.conversing.conversation.title == "Llamas"
    async with chat(tmp_path) as c:
        assert shown(c)[:3] == ["Folders", "▸ Work 2", "Today"]


async def test_filing_archiving_and_pinning_by_keys_in_the_list(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed) as c:
        await highlight(c, "Cusco")
        await c.pilot.press("f")
        await c.until(lambda: c.covered)
        await c.pilot.press(*"tri", "tab")
        await c.pilot.press("enter")
        await c.until(lambda: "“Cusco” is in Work/Trips" in c.toasts())
        await c.until(lambda: "▾ Trips 2" in shown(c))
        # Its row is still the chosen one; a name that differs in its case is the same folder.
        await c.pilot.press("f")
        await c.until(lambda: c.covered)
        assert "Work/Trips" in c.text()
        await c.pilot.press("ctrl+a", "ctrl+k", *"work", "enter")
        await c.until(lambda: c.store.folders().get("Work/Trips") == 1)
        assert c.store.folders()["Work"] == 2
        await c.pilot.press("p")
        await c.until(lambda: shown(c)[:2] == ["Pinned", "★ Cusco"])
        await c.pilot.press("p", "a")
        await c.until(lambda: "▸ Archive 2" in shown(c) and "Cusco" not in shown(c))
        assert "the search finds it" in c.toasts()
        await highlight(c, "Archive")
        await c.pilot.press("right")
        await c.until(lambda: "Cusco" in shown(c))
        await highlight(c, "Cusco")
        await c.pilot.press("a")
        await c.until(lambda: "▸ Archive 1" in shown(c) or "▾ Archive 1" in shown(c))
        # A new conversation cannot be put anywhere.
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen.conversing.id == 0)
        await c.screen.run_action("archive")
        await c.screen.run_action("file")
        await c.until(lambda: "Nothing to archive" in c.toasts() and "to file" in c.toasts())
        # The same from the box.
        await c.open(id := c.store.filtered(Filters(folder="Work/Trips"))[0].id)
        c.screen.prompt.area.focus()
        await c.type("/folder hom")
        assert c.screen.prompt.text == "/folder hom"
        await c.pilot.press("enter")
        await c.until(lambda: c.store.conversation(id).folder == "hom")
        await c.type("/folder wo")
        await c.until(lambda: c.screen.prompt.completion.open)
        await c.pilot.press("tab", "enter")
        await c.until(lambda: c.store.conversation(id).folder == "Work")
        await c.screen.submit("/folder off")
        await c.until(lambda: c.store.conversation(id).folder == "")
        await c.screen.submit("/archive")
        await c.until(lambda: c.store.conversation(id).archived)
        assert c.screen.conversing.id == id, "it stays open"


async def test_filters_in_the_search_box(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed, size=(60, 20)) as c:
        box = c.screen.sidebar.box
        await c.pilot.press("ctrl+f")
        await c.until(lambda: "model: preset: folder:" in c.text())
        await c.pilot.press(*"knead")
        await c.until(lambda: {"Bread", "Knead the dough."} <= set(shown(c)))
        assert any(row.startswith("Old") and row.endswith("archived") for row in shown(c))
        await c.pilot.press(*" is:a")
        await c.until(lambda: c.screen.sidebar.finder.completion.open)
        await c.pilot.press("tab")
        await c.until(lambda: box.value == "knead is:archived ")
        await c.until(lambda: "Bread" not in shown(c))
        assert len(shown(c)) == 2 and "Knead nothing." in shown(c)
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.conversing.conversation.title == "Old")
        await c.pilot.press("ctrl+f")
        box.value = "folder:work"
        await c.until(lambda: shown(c) == ["Hotel", "Invoice"])
        box.value = "after:soon hotel"
        await c.until(lambda: "soon is no day" in c.text())
        await c.until(lambda: shown(c) == ["Hotel", "Which hotel?"])
        box.value = "after:tod"
        await c.until(lambda: "is no day" not in c.text())
        await c.until(lambda: "used since" in c.text())
        await c.pilot.press("down", "enter")
        await c.until(lambda: box.value == "after:today ")
        await c.until(lambda: shown(c) == ["Llamas", "Cusco"])
        # Tab without anything to complete goes on, as everywhere.
        await c.pilot.press("tab")
        assert c.screen.focused is c.screen.sidebar.rows
        await c.pilot.press("escape")
        await c.until(lambda: box.value == "")


async def test_what_another_corral_does_is_shown(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed) as c:
        other = Store.open(c.paths.database)
        cusco = other.filtered(Filters(after=NOW - 4000))[-1]
        other.update_conversation(cusco.id, folder="Elsewhere")
        await c.until(lambda: "▾ Elsewhere 1" in shown(c))
        # What is gone there is told here, and nothing else happens.
        await highlight(c, "Cusco")
        other.delete(cusco.id)
        await c.pilot.press("a")
        await c.until(lambda: f"There is no conversation {cusco.id}" in c.toasts())
        await c.until(lambda: "Cusco" not in shown(c))
        other.close()


async def test_two_thousand_conversations_in_folders_are_no_stall(tmp_path: Path) -> None:
    def many(history: History) -> None:
        with history.store._database.write() as connection:
            connection.executemany(
                "INSERT INTO conversation (title, folder, archived, created, updated)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (f"Number {n}", f"F{n % 9}" if n % 3 else "", n % 7 == 0, NOW - n, NOW - n)
                    for n in range(2000)
                ],
            )

    async with chat(tmp_path, fill=many) as c:
        began = time.process_time()
        await c.screen.sidebar.reload()
        await c.pilot.pause()
        assert time.process_time() - began < 1.0
        assert len(shown(c)) > 1400
        c.screen.sidebar.box.focus()
        c.screen.sidebar.box.value = "folder:f1 1999"
        await c.until(lambda: shown(c) == ["Number 1999"])


async def test_only_the_latest_search_goes_on_to_its_end(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed) as c:
        asked: list[Callable[[], bool]] = []
        search = c.store.search

        def seen(words: str, limit: int, filters: Filters, cancelled: Callable[[], bool]) -> Any:
            asked.append(cancelled)
            return search(words, limit, filters, cancelled)

        c.store.search = seen  # type: ignore[assignment, method-assign]
        box = c.screen.sidebar.box
        await c.pilot.press("ctrl+f")
        for count, words in enumerate(("kn", "kne"), 1):
            box.value = words
            await c.until(lambda count=count: len(asked) == count)  # type: ignore[misc]
        assert [gone() for gone in asked] == [True, False]
        await c.until(lambda: "Knead the dough." in shown(c))
        await c.pilot.press("escape")
        await c.until(lambda: asked[-1]())


async def test_completion_stays_away_from_a_box_that_was_left(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed) as c:
        finder = c.screen.sidebar.finder
        asked, go_on = threading.Event(), threading.Event()

        def slow() -> list[str]:
            asked.set()
            assert go_on.wait(20)
            return ["tiny"]

        c.store.model_names = slow  # type: ignore[method-assign]
        await c.pilot.press("ctrl+f")
        finder.box.value = "model:"
        await c.until(asked.is_set)
        c.screen.prompt.area.focus()
        go_on.set()
        await c.until(lambda: all(w.group != "complete" or w.is_finished for w in c.app.workers))
        assert not finder.completion.open


async def test_a_conversation_that_is_folded_away_keeps_its_title(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=filed) as c:
        sidebar = c.screen.sidebar
        hotel = c.store.filtered(Filters(folder="Work/Trips"))[0].id
        sidebar.fold("Work", True)
        await c.until(lambda: "▸ Work 2" in shown(c))
        assert (sidebar.title(hotel), sidebar.title(999)) == ("Hotel", "Untitled")
