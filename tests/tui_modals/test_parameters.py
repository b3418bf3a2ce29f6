"""The system prompt and the parameters, changed with the keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    SIZES,
    Host,
    assert_harmless,
    local,
    shown,
    until,
)
from textual import events
from textual.widgets import Input

from corral.chat.conversation import Conversation
from corral.models.library.local import LocalModel
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.parameters import Changes, ParametersScreen, Row, SystemPrompt


def screen_for(
    system: str = "", model: LocalModel | None = None, **parameters: Any
) -> ParametersScreen:
    conversation = Conversation(1, "Title", 0, 0, system=system, parameters=parameters)
    return ParametersScreen(conversation, model)


def row(screen: ParametersScreen, name: str) -> Row:
    return next(row for row in screen.query(Row) if row.parameter.name == name)


async def test_shows_defaults_and_what_differs_from_them() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        model = local(sampling={"temperature": 0.2})
        await app.open(screen_for(model=model, top_k=40))
        await until(pilot, lambda: "^S save" in shown(pilot))
        lines = [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]
        assert "Temperature 0.2 default" in lines
        assert "Top-k 40 default off" in lines
        assert "Max tokens no limit default" in lines
        assert any("Llama 2 7B Chat · Q4_K_M" in line for line in lines)


async def test_saves_only_what_differs() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(screen_for(seed=7, logit_bias={"5": 1.0}))
        await pilot.press("tab", *"0.9", "down", "down", *"40", "ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        parameters = {"temperature": 0.9, "top_k": 40, "seed": 7, "logit_bias": {"5": 1.0}}
        assert app.result == Changes("", parameters)


async def test_an_emptied_field_is_the_default_again() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(screen_for(temperature=0.1, seed=7))
        await pilot.press("tab", "backspace", "ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes("", {"seed": 7})


async def test_wrong_values_get_a_sentence_and_are_not_saved() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for()
        await app.open(screen)
        await pilot.press("tab", *"99")
        await until(pilot, lambda: "✗ Temperature takes a number from 0 to 10." in shown(pilot))
        assert row(screen, "temperature").has_class("-wrong")
        await pilot.press("down", "down", "ctrl+s")
        await until(pilot, lambda: screen.focused is row(screen, "temperature").query_one(Input))
        assert app.result is PENDING
        await pilot.press(*["backspace"] * 2, "1")
        await until(pilot, lambda: "✗" not in shown(pilot))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes("", {"temperature": 1.0})


async def test_a_stored_value_that_is_out_of_range_can_be_seen_and_mended() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(screen_for(temperature=-3, top_k=[HOSTILE]))
        await until(pilot, lambda: "✗ a number from 0 to 10" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("ctrl+r", "ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes("", {})


async def test_values_that_exclude_each_other_are_not_saved() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for(type_v="q8_0", flash_attn="off")
        await app.open(screen)
        await pilot.pause()
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "needs flash attention, which is off" in shown(pilot))
        assert app.result is PENDING
        await until(pilot, lambda: screen.focused is row(screen, "type_v").query_one(Input))


async def test_enter_shows_the_choices() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for(type_k="q4_0")
        await app.open(screen)
        await pilot.pause()
        row(screen, "type_k").query_one(Input).focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("up", "enter")
        await until(pilot, lambda: row(screen, "type_k").typed == "q8_0")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes("", {"type_k": "q8_0"})


async def test_reset_empties_all_and_saves_nothing_by_itself() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for("Be brief.", temperature=0.1, logit_bias={})
        await app.open(screen)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: not row(screen, "temperature").typed)
        assert app.result is PENDING
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes("Be brief.", {})


async def test_escape_asks_before_it_throws_something_away() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for()
        await app.open(screen)
        await pilot.press("tab", "1", "escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert app.result is PENDING
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is None


async def test_escape_just_closes_where_nothing_changed() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(screen_for("Be brief.", seed=7, logit_bias={}))
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is None


async def test_an_untouched_system_prompt_stays_as_it_was_to_the_letter() -> None:
    app = Host()
    raw = f"\t{HOSTILE}\r\nSecond line \x00 "
    async with app.run_test() as pilot:
        await app.open(screen_for(raw))
        await pilot.pause()
        assert_harmless(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == Changes(raw, {})


async def test_a_typed_and_pasted_system_prompt_is_cleaned() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for()
        await app.open(screen)
        area = screen.query_one(SystemPrompt)
        app.post_message(events.Paste("One\x1b[2J\nTwo\u202e"))
        await until(pilot, lambda: area.text == "One␛[2J\nTwo\ufffd")
        assert_harmless(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result.system == "One␛[2J\nTwo\ufffd"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_system": "You are a llama. [/INST]"}, "You are a llama. [/INST]"),
        ({"format": "vicuna"}, "A chat between a curious user"),
        ({"format": "llama-2"}, "Chat models do well without one"),
    ],
)
async def test_the_empty_prompt_says_what_counts_instead(
    changes: dict[str, Any], words: str
) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(screen_for(model=local(**changes)))
        await until(pilot, lambda: words in shown(pilot))


async def test_arrows_leave_the_prompt_and_come_back() -> None:
    app = Host()
    async with app.run_test() as pilot:
        screen = screen_for("One line")
        await app.open(screen)
        await pilot.press("down")
        await until(pilot, lambda: screen.focused is row(screen, "temperature").query_one(Input))
        await pilot.press("up")
        await until(pilot, lambda: screen.focused is screen.query_one(SystemPrompt))
        await pilot.press("down", *["pagedown"] * 6)
        await until(pilot, lambda: screen.focused is row(screen, "threads_batch").query_one(Input))
        assert "Processor threads for reading the prompt" in shown(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_fits_every_size(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(screen_for(HOSTILE * 20, local(title=HOSTILE)))
        await pilot.press("tab", "x")
        await until(pilot, lambda: "✗ Temperature takes" in shown(pilot))
        assert "Esc close" in shown(pilot)
        assert shown(pilot).count("default") >= 4
        assert_harmless(pilot)
