"""Thousands of messages are data, a few dozen are widgets, and the text keeps its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.chat_app import Chat, History, chat
from tests.support.scripted_engine import Script
from textual._compositor import Compositor

from corral.tui.widgets.message import AnswerView

ANSWER = "Answer number {n}.\n\nA *second* paragraph with `code`.\n\n- one\n- two\n"


def long_one(count: int) -> Callable[[History], None]:
    def fill(history: History) -> None:
        store = history.store
        made = store.create_conversation(title="Long")
        parent: int | None = None
        with store._database.write() as connection:
            for n in range(count // 2):
                for role, text in (("user", f"Question number {n}?"), ("assistant", ANSWER)):
                    connection.execute(
                        "INSERT INTO message (conversation, parent, role, text, status, created)"
                        " VALUES (?, ?, ?, ?, 'complete', ?)",
                        (made.id, parent, role, text.format(n=n), history.now),
                    )
                    parent = connection.last_insert_rowid()
        store.update_conversation(made.id, active=parent)

    return fill


def top_line(c: Chat) -> str:
    """The first painted line of the transcript that says which message it belongs to."""
    region = c.screen.transcript.region
    lines = c.text().splitlines()[region.y : region.bottom]
    return next(line[region.x :].strip() for line in lines if "number" in line)


def row_of(c: Chat, text: str) -> int:
    return next(n for n, line in enumerate(c.text().splitlines()) if text in line)


async def test_three_thousand_messages_mount_few(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(3000)) as c:
        transcript = c.screen.transcript
        assert len(transcript.path) == 3000
        assert len(transcript.children) <= 30
        assert "Answer number 1499." in c.text()
        most = 0
        seen = set()
        for _ in range(12):
            await c.pilot.press("pageup")
            await c.pilot.pause()
            most = max(most, len(transcript.children))
            seen.add(top_line(c))
        assert most <= 40
        assert len(seen) == 12
        assert "Answer number 1499." not in c.text()


async def test_paging_keeps_the_place(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(400)) as c:
        transcript = c.screen.transcript
        swaps = 0
        for _ in range(24):
            before = list(transcript.children)
            text = top_line(c)
            row = row_of(c, text)
            transcript.scroll_relative(y=-5, animate=False)
            for _ in range(3):
                await c.pilot.pause()
            if list(transcript.children) != before:
                swaps += 1
            # Whatever was swapped: the text moved down by the five lines, and no further.
            if any(text in line for line in c.text().splitlines()):
                assert row_of(c, text) == row + 5
        assert swaps >= 2


async def test_home_and_end(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(400)) as c:
        c.screen.transcript.focus()
        await c.pilot.press("home")
        await c.until(lambda: "Question number 0?" in c.text())
        assert len(c.screen.transcript.children) <= 40
        for _ in range(8):
            await c.pilot.press("pagedown")
            await c.pilot.pause()
        assert len(c.screen.transcript.children) <= 40
        assert "Question number 0?" not in c.text()
        await c.pilot.press("end")
        await c.until(lambda: "Answer number 199." in c.text())
        assert c.screen.transcript.following


async def test_scrolling_down_to_the_very_end_follows_again(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(16)) as c:
        transcript = c.screen.transcript
        transcript.focus()
        await c.pilot.press("home")
        await c.until(lambda: "Question number 0?" in c.text())
        for _ in range(200):
            await c.pilot.press("pagedown")
            await c.pilot.pause()
            if transcript.following:
                break
        assert "Answer number 7." in c.text()
        c.engine.scripts.append(Script(["line\n\n"] * 40))
        await c.send("more")
        await c.settled()
        assert transcript.following


async def test_a_hit_is_shown_with_its_surroundings(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(400)) as c:
        wanted = c.path()[101]
        await c.open(c.screen.conversing.id, wanted.id)
        await c.until(lambda: "Answer number 50." in c.text())
        assert not c.screen.transcript.following


async def test_a_resize_keeps_the_place(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(400)) as c:
        for _ in range(5):
            await c.pilot.press("pageup")
            await c.pilot.pause()
        text = top_line(c)
        await c.pilot.resize_terminal(90, 36)
        await c.pilot.pause()
        await c.until(lambda: text in c.text())
        assert row_of(c, text) - c.screen.transcript.region.y < 12
        await c.pilot.resize_terminal(60, 20)
        await c.pilot.pause()
        await c.pilot.resize_terminal(120, 36)
        await c.until(lambda: text in c.text())


async def test_a_short_conversation_stands_at_the_top(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("Short", ("one?", "one."))

    async with chat(tmp_path, Script(["para\n\n"] * 40), fill=fill) as c:
        assert row_of(c, "one?") == c.screen.transcript.region.y
        await c.send("more")
        await c.settled()
        assert c.screen.transcript.following
        assert c.screen.transcript.scroll_offset.y > 0


async def test_very_long_messages_are_cut_but_copied_whole(tmp_path: Path) -> None:
    question = "\n".join(f"line {n}" for n in range(20_000))
    answer = "\n\n".join(f"paragraph {n}" for n in range(5_000))

    def fill(history: History) -> None:
        history.conversation("Big", (question, answer))

    async with chat(tmp_path, fill=fill) as c:
        assert "more lines" in c.text()
        await c.pilot.press("ctrl+y")
        await c.until(lambda: c.copied)
        assert c.copied[-1] == answer


async def test_a_very_long_answer_streams_to_its_end(tmp_path: Path) -> None:
    pieces = [f"word{n} " * 20 + "\n" for n in range(900)]
    async with chat(tmp_path, Script(pieces)) as c:
        await c.send("go on")
        await c.settled()
        await c.until(lambda: "characters; copying takes them all" in c.text())
        assert c.path()[-1].text == "".join(pieces)


async def test_the_cursor_walks_through_the_messages(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=long_one(40)) as c:
        transcript = c.screen.transcript
        transcript.focus()
        await c.pilot.pause()
        assert transcript.current == c.path()[-1]
        await c.pilot.press("up")
        await c.pilot.press("up")
        assert transcript.current == c.path()[-3]
        await c.pilot.press("down")
        assert transcript.current == c.path()[-2]
        c.screen.prompt.area.focus()
        await c.pilot.pause()
        assert transcript.current is None


async def test_an_answer_that_grows_is_laid_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Textual does it twice, and a key that is pressed meanwhile waits for both."""
    async with chat(tmp_path, fill=long_one(40)) as c:
        transcript = c.screen.transcript
        last = transcript._views[transcript.path[-1].id]
        assert isinstance(last, AnswerView)
        await last.body.append("\n\nIt goes on")
        await c.pilot.pause(0.2)
        layouts: list[int] = []
        reflow = Compositor.reflow

        def counted(*given: Any) -> Any:
            layouts.append(len(given))
            return reflow(*given)

        monkeypatch.setattr(Compositor, "reflow", counted)
        height = last.body.size.height
        await last.body.append(" alpaca" * 30)  # A line more, and the transcript scrolls.
        await c.pilot.pause(0.2)
        assert last.body.size.height > height
        assert len(layouts) == 1
        assert transcript.following and c.text().count("alpaca") == 30
