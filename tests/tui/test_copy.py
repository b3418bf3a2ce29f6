"""Copying by all doors and both roads, always cleaned."""

from __future__ import annotations

from pathlib import Path

from tests.support.chat_app import History, chat

from corral.tui.clipboard import osc52_understood
from corral.tui.widgets.markdown import Fence

ANSWER = "Two blocks:\n\n```python\nfirst = 1\n```\n\nand\n\n```sh\nsecond\nthird\n```\n"


def blocks(history: History) -> None:
    history.conversation("Code", ("q \x1b]52;c;x\x07", ANSWER), ("more?", "Sure \u202eevil."))


async def test_the_last_answer(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks) as c:
        await c.pilot.press("ctrl+y")
        await c.until(lambda: c.copied)
        assert c.copied == ["Sure \ufffdevil."]
        assert c.app.clipboard == "Sure \ufffdevil."
        await c.until(lambda: "Copied the answer" in c.toasts())


async def test_blocks_of_code_one_after_the_other(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks) as c:
        for number in range(3):
            await c.pilot.press("f4")
            await c.until(lambda: len(c.copied) > number)  # noqa: B023 - awaited at once
        assert c.copied == ["second\nthird", "first = 1", "second\nthird"]
        await c.until(lambda: "Copied 2 lines of code" in c.toasts())


async def test_the_message_at_the_cursor_and_its_code(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks) as c:
        c.screen.transcript.focus()
        c.screen.transcript.put_cursor(c.path()[1].id)
        await c.pilot.press("c")
        await c.until(lambda: c.copied == [ANSWER])
        await c.pilot.press("y")
        await c.until(lambda: c.copied[1:] == ["second\nthird"])
        c.screen.transcript.put_cursor(c.path()[0].id)
        await c.pilot.press("c")
        await c.until(lambda: c.copied[2:] == ["q ␛]52;c;x␇"])
        await c.pilot.press("y")
        await c.until(lambda: "There is no code here" in c.toasts())


async def test_the_button_of_a_block(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks) as c:
        fence = next(iter(c.screen.query(Fence)))
        lines = c.text().splitlines()
        row = next(n for n, line in enumerate(lines) if "python" in line)
        await c.pilot.click(offset=(lines[row].index("copy") + 1, row))
        await c.until(lambda: c.copied == [fence.code])
        await c.until(lambda: "copied" in c.text())
        assert c.screen.focused is c.screen.prompt.area


async def test_the_whole_conversation(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks) as c:
        await c.screen.run_action("copy_conversation")
        await c.until(lambda: c.copied)
        assert c.copied[0].startswith("**You**\n\nq ␛")
        assert "**Answer**\n\nTwo blocks:" in c.copied[0]


async def test_a_selection_with_the_mouse(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        history.conversation("One", ("select me please", "a"))

    async with chat(tmp_path, fill=fill) as c:
        lines = c.text().splitlines()
        row = next(n for n, line in enumerate(lines) if "select me" in line)
        column = lines[row].index("select me")
        await c.pilot.mouse_down(offset=(column, row))
        await c.pilot.hover(offset=(column + 9, row))
        await c.pilot.mouse_up(offset=(column + 9, row))
        await c.pilot.press("ctrl+c")
        await c.until(lambda: c.copied)
        assert c.copied[0].startswith("select me")
        assert "please" not in c.copied[0]


async def test_through_the_terminal_alone(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=blocks, copy_fails=True) as c:
        await c.pilot.press("ctrl+y")
        await c.until(lambda: "Copied the answer through the terminal" in c.toasts())


async def test_neither_road(tmp_path: Path) -> None:
    environment = {"TERM": "xterm", "TERM_PROGRAM": "Apple_Terminal"}
    async with chat(tmp_path, fill=blocks, copy_fails=True, environment=environment) as c:
        await c.pilot.press("ctrl+y")
        await c.until(lambda: "Not copied" in c.toasts())


def test_terminals_that_take_no_text() -> None:
    assert osc52_understood({"TERM": "xterm-256color"})
    assert not osc52_understood({"TERM": "linux"})
    assert not osc52_understood({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"})
