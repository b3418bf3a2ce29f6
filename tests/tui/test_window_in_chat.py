"""The meter, the lines, pins, summaries and the policy, on the whole chat screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chat_app import Chat, History, chat
from tests.support.scripted_engine import Script

from corral.chat.conversation import Message
from corral.chat.window import Seen
from corral.tui.keys import group
from corral.tui.screens.window import SummaryDialog, WindowScreen
from corral.tui.widgets.marks import Marks, marks_of

TOP = "the model no longer sees anything above this line"
BEGINS = "the model no longer sees what follows"
AGAIN = "the model sees again from here on"
LONG = "word " * 60


def six(history: History) -> None:
    history.conversation("Six", *((f"question {n} {LONG}", f"answer {n}.") for n in range(6)))


def small(**changes: object) -> dict[str, object]:
    return {"n_ctx": 512, **changes}


def meter(c: Chat) -> str:
    """The lower border of the box."""
    return next(line for line in reversed(c.text().splitlines()) if "╰" in line)


async def end(c: Chat) -> None:
    await c.settled()
    await c.until(lambda: not c.screen._counting and c.screen._meter_timer is None)
    await c.pilot.pause()


async def test_the_meter_says_about_until_a_model_is_loaded_and_never_loads_one(
    tmp_path: Path,
) -> None:
    async with chat(tmp_path, fill=six) as c:
        await end(c)
        assert "1 287 / 4 096" in meter(c) and "about" not in meter(c)
        await c.type("x" * 360)
        await c.until(lambda: "about 1 387 / 4 096" in meter(c))
        assert c.engine.loads == []
        await c.pilot.press("enter")
        await end(c)
        assert "about" not in meter(c)
        assert len(c.engine.loads) == 1


async def test_the_meter_counts_what_sending_would_cost(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["Yes."])) as c:
        await c.send("Hello")
        await end(c)
        await c.type("And what would this one be?")
        await end(c)
        said = meter(c)
        await c.pilot.press("enter")
        await end(c)
        assert f" {c.engine.prompts[-1]} / 4 096" in said


async def test_a_command_is_not_counted(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["Yes."])) as c:
        await c.send("Hello")
        await end(c)
        before = meter(c)
        await c.type("/window")
        await end(c)
        assert meter(c) == before


async def test_what_would_go_is_said_and_marked_while_it_is_typed(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=six, n_ctx=1024) as c:
        await c.send("Load it")
        await end(c)
        assert TOP not in c.text()
        await c.type("x" * 1500)
        await end(c)
        assert "left out" in meter(c)
        assert c.screen.transcript._marks
        c.screen.prompt.fill("")
        await end(c)
        assert "left out" not in meter(c) and not c.screen.transcript._marks


async def test_p_pins_a_message_and_the_lines_say_so(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=six, n_ctx=512, tokens_per_character=0.5) as c:
        await c.send("Load it")
        await end(c)
        assert c.screen.transcript._marks
        second = c.path()[2]
        c.screen.transcript.focus()
        c.screen.transcript.put_cursor(second.id)
        await c.pilot.press("p")
        await c.until(lambda: c.store.message(second.id).pinned)
        await end(c)
        marks = c.screen.transcript._marks
        assert marks[second.id].ends == "top"
        assert marks[c.path()[4].id].begins
        c.screen.transcript.put_cursor(second.id)
        await c.pilot.press("home")
        await c.until(lambda: "pinned" in c.text() and TOP in c.text() and BEGINS in c.text())
        await c.until(lambda: AGAIN in _whole(c))
        await c.pilot.press("p")
        assert {"p", "s"} <= {key.keys for key in group("transcript")}


def _whole(c: Chat) -> str:
    return " ".join(AGAIN for mark in c.screen.transcript._marks.values() if mark.ends == "gap")


def test_a_gap_that_begins_above_what_was_read_ends_like_one_from_the_top() -> None:
    path = [Message(id, 1, id - 1, "user", "text", "complete", 0.0) for id in (7, 8, 9, 10)]
    assert marks_of(path, Seen(((1, 9),))) == {9: Marks(ends="top")}
    assert marks_of(path, Seen(((7, 9),))) == {9: Marks(ends="top")}
    assert marks_of(path, Seen(((8, 10),))) == {8: Marks(begins=True), 10: Marks(ends="gap")}
    assert marks_of([], Seen()) == {}


async def test_window_changes_the_policy_and_keeps_it(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=six) as c:
        await c.type("/window stop")
        await c.pilot.press("enter")
        id = c.screen.conversing.id
        await c.until(lambda: c.store.conversation(id).parameters.get("window") == "stop")
        assert "stop at the limit" in c.toasts()
        await c.type("/window nonsense")
        await c.pilot.press("enter")
        await c.until(lambda: "neither a policy nor a size" in c.toasts())


async def test_stop_at_the_limit_sends_nothing_and_keeps_the_text(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=six, n_ctx=512) as c:
        await c.screen.window_command("stop")
        await c.type("One more")
        await c.pilot.press("enter")
        await c.until(lambda: "The window is full" in c.toasts())
        await end(c)
        assert c.screen.prompt.text == "One more"
        assert "does not fit" in meter(c)
        assert c.engine.prompts == []


async def test_a_larger_window_is_remembered_for_the_model_and_its_cost_said(
    tmp_path: Path,
) -> None:
    async with chat(tmp_path, Script(["Yes."])) as c:
        await c.screen.window_command("8192")
        await c.until(lambda: "Context too large" in c.toasts())
        await c.screen.window_command("8192 yarn")
        await c.until(lambda: "trained with" in c.toasts() and "KV cache" in c.toasts())
        await c.send("Hello")
        await c.settled()
        spec = c.engine.loads[-1]
        assert (spec.n_ctx, spec.rope_scaling, spec.rope_freq_scale) == (8192, "yarn", 0.5)
        await c.screen.window_command("auto")
        await c.send("Again")
        await c.settled()
        assert c.engine.loads[-1].n_ctx == 4096 and c.engine.loads[-1].rope_scaling == "off"


async def test_the_model_condenses_and_the_summary_can_be_edited(tmp_path: Path) -> None:
    parts = [Script(["They counted."]), Script(["They counted more."])]
    scripts = [*parts, Script(["They counted ", "words."]), Script(["Yes."])]
    async with chat(tmp_path, *scripts, fill=six, n_ctx=512) as c:
        await c.screen.window_command("summarise")
        await c.send("Go on")
        await end(c)
        with_one = [message for message in c.path() if message.summary]
        assert [message.summary for message in with_one] == ["They counted words."]
        assert c.path()[-1].text == "Yes."
        c.screen.transcript.focus()
        c.screen.transcript.put_cursor(with_one[0].id)
        await c.until(lambda: "Summary of what is above" in c.text())
        assert "They counted words." in c.text() and TOP in c.text()
        await c.pilot.press("s")
        await c.until(lambda: isinstance(c.app.screen, SummaryDialog))
        await c.pilot.press("ctrl+end")
        c.app.screen.query_one("#summary").insert(" And [/INST] rows.")  # type: ignore[attr-defined]
        await c.pilot.press("ctrl+s")
        await c.until(lambda: not c.covered)
        await c.until(lambda: "rows." in c.store.message(with_one[0].id).summary)
        await c.until(lambda: "And [/INST] rows." in c.text())


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 20)])
@pytest.mark.parametrize("theme", ["altiplano", "puna"])
async def test_the_window_screen_offers_policies_and_sizes(
    tmp_path: Path, size: tuple[int, int], theme: str
) -> None:
    async with chat(tmp_path, Script(["Yes."]), size=size) as c:
        c.app.theme = theme
        await c.send("Hello")
        await end(c)
        c.screen.run_worker(c.screen.action_window())
        await c.until(lambda: isinstance(c.app.screen, WindowScreen))
        await c.until(lambda: "keep the ends" in c.text())
        assert "● drop oldest turns" in c.text() and "○ summarise" in c.text()
        assert "● 4\u202f096 tokens" in c.text() and "8\u202f192 tokens · YaRN" in c.text()
        await c.pilot.press("down", "enter")
        await c.until(lambda: not c.covered)
        id = c.screen.conversing.id
        await c.until(lambda: c.store.conversation(id).parameters.get("window") == "stop")
