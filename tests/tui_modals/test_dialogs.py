"""The small questions, answered with the keyboard."""

from __future__ import annotations

import pytest
from tests.tui_modals.host import HOSTILE, PENDING, SIZES, Host, assert_harmless, shown, until
from textual import events
from textual.widgets import Input, OptionList

from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog

MANY = [(str(number), f"Choice {number}\tremark") for number in range(40)]


async def test_text_is_given_without_spaces_around_it() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(TextDialog("Rename", "Old title", "Say what it is about."))
        await pilot.pause()
        assert "Say what it is about." in shown(pilot)
        await pilot.press(*"New", "space", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == "New"


async def test_escape_gives_nothing() -> None:
    app = Host()
    async with app.run_test() as pilot:
        for screen in (TextDialog("Rename", "x"), ChoiceDialog("Which?", MANY)):
            app.result = PENDING
            await app.open(screen)
            await pilot.press("escape")
            await until(pilot, lambda: app.result is not PENDING)
            assert app.result is None


async def test_pasted_text_is_cleaned() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(TextDialog("Rename", HOSTILE))
        await pilot.pause()
        assert_harmless(pilot)
        field = app.screen.query_one(Input)
        app.post_message(events.Paste("a\x1b[31mb\u202ec"))
        await until(pilot, lambda: field.value == "a␛[31mb\ufffdc")
        assert_harmless(pilot)


@pytest.mark.parametrize(
    ("key", "answer"), [("enter", True), ("y", True), ("escape", False), ("n", False)]
)
async def test_confirmation(key: str, answer: bool) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ConfirmDialog("Delete it?", "It is gone then.", yes="Delete"))
        await pilot.press(key)
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is answer


async def test_choice_by_arrow_keys() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", [("a", "One"), ("b", "Two"), ("c", "Three")]))
        await pilot.press("down", "down", "up", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == "b"


async def test_choice_starts_at_the_selected_one() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", [("a", "One"), ("b", "Two")], selected="b"))
        await pilot.press("enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == "b"


async def test_a_long_list_is_filtered_by_typing() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", MANY))
        await pilot.press(*"ice 3", "down", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == "13"


async def test_nothing_is_chosen_where_nothing_matches() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", MANY))
        await pilot.press(*"llama", "enter")
        await pilot.pause()
        assert "Nothing matches" in shown(pilot)
        assert app.result is PENDING
        await pilot.press(*["backspace"] * 5, "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == "0"


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_words_are_only_words(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        for screen in (
            TextDialog(HOSTILE, HOSTILE, HOSTILE),
            ConfirmDialog(HOSTILE, HOSTILE, HOSTILE),
            ChoiceDialog(HOSTILE, [(HOSTILE, HOSTILE)] * 12, HOSTILE),
        ):
            await app.open(screen)
            await pilot.pause()
            assert_harmless(pilot)
            assert "[/INST]" in shown(pilot)
            app.pop_screen()


@pytest.mark.parametrize("size", SIZES)
async def test_the_keys_stay_in_sight(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        for screen in (
            ChoiceDialog("Which?", MANY, "It can be any of these."),
            ConfirmDialog("Sure?", "A long explanation. " * 200),
        ):
            await app.open(screen)
            await until(pilot, lambda: "Esc cancel" in shown(pilot))
            app.pop_screen()


async def test_a_click_on_a_key_is_the_key() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", [("a", "One")]))
        await until(pilot, lambda: "Esc cancel" in shown(pilot))
        lines = shown(pilot).splitlines()
        y = next(number for number, line in enumerate(lines) if "Esc cancel" in line)
        await pilot.click(offset=(lines[y].index("Esc"), y))
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is None


async def test_the_list_can_be_empty() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ChoiceDialog("Which?", []))
        await pilot.press("down", "enter")
        assert app.screen.query_one(OptionList).option_count == 1
        assert app.result is PENDING
