"""Long pasted texts: folded into one piece, unfolded, sent whole, and never lost."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from tests.support.chat_app import Chat, chat
from textual import events

from corral.text import clean
from corral.tui.widgets import prompt_area
from corral.tui.widgets.folds import Folds
from corral.tui.widgets.prompt_area import LONGEST, PromptArea, typed

LINES = "a line\n" * 2_000
SIGN = "[2 001 lines, 14 000 characters #1]"


async def paste(c: Chat, text: str) -> None:
    before = c.screen.prompt.area.text
    c.app.post_message(events.Paste(text))
    await c.until(lambda: c.screen.prompt.area.text != before)


def area(c: Chat) -> PromptArea:
    return c.screen.prompt.area


async def test_a_paste_of_ten_megabytes_does_not_freeze(tmp_path: Path) -> None:
    text = "a line of ten\r\n" * 700_000
    whole = text.replace("\r\n", "\n")
    async with chat(tmp_path) as c:
        began = time.monotonic()
        await paste(c, text)
        assert time.monotonic() - began < 3
        assert "[700 001 lines, 9 800 000 characters #1]" in c.text()
        for key in "why?":
            began = time.monotonic()
            await c.pilot.press(key)
            assert time.monotonic() - began < 1
        await c.screen.save_draft()
        assert c.store.recall("draft") == whole + "why?"
        c.app.post_message(events.Paste("y" * LONGEST))
        await c.until(lambda: "Not pasted" in c.toasts())
        assert c.screen.prompt.text == whole + "why?"
    async with chat(tmp_path) as c:  # a start later
        assert c.screen.prompt.text == whole + "why?"
        assert "why?" in c.text()


async def test_a_folded_text_is_sent_whole(tmp_path: Path) -> None:
    async with chat(tmp_path, tokens_per_character=0.0001) as c:
        await c.type("Sum this up: ")
        await paste(c, LINES)
        await c.pilot.press("enter")
        await c.until(lambda: c.path())
        await c.settled()
        assert c.path()[0].text == "Sum this up: " + LINES
        assert "more lines" in c.text()


async def test_it_is_moved_over_and_deleted_as_one_piece(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type("ab")
        await paste(c, LINES)
        await c.type("cd")
        assert area(c).text == f"ab{SIGN}cd"
        await c.pilot.press("left", "left", "left", "left")
        assert area(c).cursor_location == (0, 1)
        await c.pilot.press("right", "right")
        assert area(c).cursor_location == (0, 2 + len(SIGN))
        area(c).move_cursor((0, 6))  # as a click in its middle
        assert area(c).cursor_location in ((0, 2), (0, 2 + len(SIGN)))
        area(c).move_cursor((0, 2 + len(SIGN)))
        await c.pilot.press("backspace")
        assert area(c).text == c.screen.prompt.text == "abcd"
        await c.pilot.press("ctrl+z")
        assert c.screen.prompt.text == f"ab{LINES}cd"
        area(c).delete((0, 0), (0, 10))  # a part of it takes it along
        assert area(c).text == "cd"


async def test_it_is_unfolded_and_folded_again(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await paste(c, LINES)
        await c.until(lambda: "Ctrl+L unfolds it" in c.text())
        await c.pilot.press("ctrl+l")
        assert area(c).text == LINES
        area(c).select_all()
        await c.pilot.press("ctrl+l")
        await c.until(lambda: "[2 001 lines" in c.text())
        assert c.screen.prompt.text == LINES


async def test_one_that_is_too_long_to_be_shown_stays_folded(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await paste(c, "x" * 1_500_000)
        await c.pilot.press("ctrl+l")
        await c.until(lambda: "F7 opens it in your editor" in c.toasts())
        assert area(c).text == "[1 line, 1 500 000 characters #1]"


async def test_what_is_copied_is_whole(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await paste(c, LINES)
        area(c).select_all()
        await c.pilot.press("ctrl+c")
        await c.until(lambda: c.copied)
        await c.pilot.press("ctrl+x")
        await c.until(lambda: len(c.copied) == 2)
        assert c.copied == [LINES, LINES]
        assert area(c).text == ""
        await c.pilot.press("ctrl+v")
        assert c.screen.prompt.text == LINES
        assert area(c).text.startswith("[2 001 lines")


async def test_a_paste_replaces_what_is_selected(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type("one two")
        area(c).select_all()
        c.app.post_message(events.Paste("three"))
        await c.until(lambda: area(c).text == "three")


async def test_words_that_only_look_like_a_sign_stay_words(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type("[3 lines, 9 characters #1]")
        assert c.screen.prompt.text == "[3 lines, 9 characters #1]"


def test_the_first_and_the_last_line_of_a_long_text_stay_outside() -> None:
    for text in (
        "Sum up:\n" + LINES + "Thank you",
        LINES,
        "x" * 200_000,
        "x" * 9_000 + "\n" + LINES,
        "a\n" + "x" * 200_000,
        "x" * 200_000 + "\nb",
        "a\nb",
    ):
        folds = Folds()
        shown = folds.fold_middle(text)
        assert folds.unfold(shown) == text
        assert len(shown) < 500
        assert folds.length(shown) == len(text)
    folds = Folds()
    shown = folds.fold_middle("Sum up:\n" + LINES + "Thank you")
    assert shown.startswith("Sum up:\n[") and shown.endswith("]\nThank you")


def test_what_is_clean_is_told_from_what_is_not() -> None:
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        assert (prompt_area._UNCLEAN.search(sign) is None) == (clean(sign) == sign or sign == "\t")


@pytest.mark.parametrize(
    ("text", "as_typed"),
    [("a\r\nb\rc", "a\nb\nc"), ("\tx\x1b[2J", "\tx␛[2J"), ("é\u202e", "é\ufffd")],
)
def test_what_comes_in_is_cleaned(text: str, as_typed: str) -> None:
    assert typed(text) == as_typed
