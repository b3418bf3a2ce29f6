"""Earlier prompts: with the arrows, and searched."""

from __future__ import annotations

from pathlib import Path

from tests.support.chat_app import Chat, History, chat
from textual.widgets import Input, OptionList

from corral.tui.screens.recall import RecallScreen

LONG = "Read this:\n" + "a line\n" * 400


def many(history: History) -> None:
    history.conversation("Cusco", ("Plan a trip to Cusco", "Day one."), ago=7200)
    history.conversation("[/INST] [bold]", ("Is [/INST] \x1b[2J a token?", "No."), ago=3600)
    history.conversation("Long", (LONG, "Well."), ago=1800)
    history.conversation("Llamas", ("What is a llama?", "A camelid."))


async def opened(c: Chat) -> RecallScreen:
    await c.pilot.press("ctrl+up")
    await c.until(lambda: isinstance(c.app.screen, RecallScreen))
    screen = c.app.screen
    assert isinstance(screen, RecallScreen)
    await c.until(lambda: screen.query_one(OptionList).option_count)
    return screen


async def test_arrows_go_on_to_what_was_asked_elsewhere_also_after_a_start(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await c.until(lambda: c.screen._earlier)
        await c.type("unsent")
        for text in ("What is a llama?", "Is [/INST] ␛[2J a token?", "Plan a trip to Cusco"):
            await c.pilot.press("up")
            assert c.screen.prompt.text == text
        await c.pilot.press("down", "down", "down")
        assert c.screen.prompt.text == "unsent"
        await c.pilot.press("enter")
        await c.settled()
        await c.pilot.press("ctrl+n")
        await c.until(lambda: c.screen._earlier[-1] == "unsent")
        await c.pilot.press("up")
        assert c.screen.prompt.text == "unsent"


async def test_it_is_searched_as_it_is_typed_and_taken_up(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        screen = await opened(c)
        assert "What is a llama?" in c.text() and "Plan a trip to Cusco" in c.text()
        assert "in “Llamas”" in c.text()
        await c.pilot.press(*"trip cus")
        await c.until(lambda: screen.query_one(OptionList).option_count == 1)
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.prompt.text == "Plan a trip to Cusco")
        assert c.screen.focused is c.screen.prompt.area


async def test_what_stands_in_the_box_stays(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await c.type("Please: ")
        await opened(c)
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.prompt.text == "Please: What is a llama?")
        await opened(c)
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        assert c.screen.prompt.text == "Please: What is a llama?"


async def test_a_long_one_comes_back_whole(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await opened(c)
        await c.pilot.press("down")
        await c.until(lambda: "2 811 characters" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.prompt.text == LONG)


async def test_foreign_words_are_only_words(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await opened(c)
        await c.pilot.press("down", "down")
        await c.until(lambda: "in “[/INST] [bold]”" in c.text())
        assert "Is [/INST] ␛[2J a token?" in c.text()
        await c.pilot.press(*"[/inst]")
        await c.pilot.pause()
        assert c.app.is_running


async def test_that_nothing_is_found_is_said(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await opened(c)
        await c.pilot.press(*"zebra")
        await c.until(lambda: "Nothing that you asked has these words" in c.text())
        await c.pilot.press("enter", "down", "up")
        assert c.covered
        c.app.screen.query_one(Input).value = ""
        await c.until(lambda: "What is a llama?" in c.text())


async def test_before_anything_was_asked_that_is_said(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.pilot.press("f6")
        await c.until(lambda: "Nothing was asked" in c.text())


async def test_sizes(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        await opened(c)
        for size in ((120, 36), (80, 24), (60, 20), (40, 10)):
            await c.pilot.resize_terminal(*size)
            await c.until(lambda: "What is a llama" in c.text())
            await c.until(lambda: size[1] < 20 or "Enter take it up" in c.text())  # noqa: B023


async def test_one_that_is_closed_at_once_does_nothing_more(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=many) as c:
        screen = await opened(c)
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        await c.pilot.pause()
        # What was on its way to it comes now.
        screen.on_resize()
        screen._search()
        screen._show(0)
        await c.pilot.pause()
