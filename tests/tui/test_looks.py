"""Sizes, themes, no colour, the palette, other screens, and leaving."""

from __future__ import annotations

import os
import signal
import tomllib
from pathlib import Path

import pytest
from tests.support.chat_app import Chat, History, chat, lines_of
from tests.support.scripted_engine import Script
from textual.widgets import TextArea

from corral.settings import Settings
from corral.tui.app import CorralApp
from corral.tui.keys import KEYS
from corral.tui.screens.chat import ChatScreen
from corral.tui.screens.completion import CompletionScreen
from corral.tui.screens.models.screen import ModelsScreen
from corral.tui.screens.tree import TreeScreen
from corral.tui.widgets.prompt import PromptArea

TABLE = "| a | b |\n| - | - |\n| 1 | 2 |\n\n```python\ndef f() -> int:\n    return 1\n```\n"


def one(history: History) -> None:
    history.conversation("Llama vs alpaca", ("What is the difference?", TABLE))


async def whole(c: Chat) -> None:
    """Until the box is closed on all sides, and every line is as wide as the terminal: the parts of
    a screen may be painted one after the other."""

    def is_whole() -> bool:
        lines = lines_of(c.app)
        return (
            len(lines) == c.app.size.height
            and any("╭" in line and "╮" in line for line in lines)
            and any("╰" in line and "╯" in line for line in lines)
            and "Enter send" in lines[-1]
            and "▲" in lines[0]
        )

    await c.until(is_whole)


def last_line(c: Chat) -> str:
    return c.text().splitlines()[-1]


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (79, 24), (60, 20), (40, 12), (20, 5)])
async def test_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    async with chat(tmp_path, Script(["Some words."]), fill=one, size=size) as c:
        if size >= (40, 12):
            await whole(c)
        await c.send("And?")
        await c.settled()
        if size >= (60, 20):
            await c.until(lambda: "Some words." in c.text() and "tiny-llama" in c.text())
        for other in ((100, 30), (60, 20), (30, 8), size) if size == (80, 24) else ():
            await c.pilot.resize_terminal(*other)
            await c.pilot.pause()
        assert c.app.is_running
        if size >= (40, 12):
            await c.until(lambda: len(lines_of(c.app)) == size[1])
            await whole(c)


@pytest.mark.parametrize("theme", ["altiplano", "puna", "terminal", "nord", "ansi-light"])
async def test_themes(tmp_path: Path, theme: str) -> None:
    async with chat(tmp_path, Script(["`x`"]), fill=one, settings=Settings(theme=theme)) as c:
        assert c.app.theme == theme
        await whole(c)
        await c.send("And?")
        await c.settled()
        await c.until(lambda: "def f() -> int:" in c.text())


async def test_the_theme_is_kept(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one) as c:
        c.app.theme = "puna"
        await c.until(c.paths.settings_file.exists)
        assert tomllib.loads(c.paths.settings_file.read_text()) == {"theme": "puna"}
        await c.until(lambda: "def f() -> int:" in c.text())


async def test_an_unknown_theme_is_told(tmp_path: Path) -> None:
    async with chat(tmp_path, settings=Settings(theme="[/foo]")) as c:
        assert c.app.theme == "altiplano"
        await c.until(lambda: "There is no theme [/foo]" in c.toasts())


async def test_without_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with chat(tmp_path, fill=one) as c:
        assert c.app.no_color
        await c.until(lambda: "▌ What is the difference?" in c.text())
        await c.until(lambda: "▸ Llama vs alpaca" in c.text())
        await c.until(lambda: "○ tiny-llama" in c.text())


async def test_the_model_and_its_place(tmp_path: Path) -> None:
    async with chat(tmp_path, gpu_layers=33) as c:
        await c.send("Hello")
        await c.settled()
        await c.until(lambda: "● tiny-llama · GPU 33/33 layers · 41.2 tok/s" in c.text())
        await c.until(lambda: "context ▰▱▱▱▱▱▱▱▱▱" in c.text())


async def test_the_palette(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        one(history)
        history.conversation("Trip to Cusco", ("Plan it", "Day one: rest."), ago=100)

    async with chat(tmp_path, fill=fill) as c:
        await c.pilot.press("ctrl+p", *"trip")
        await c.until(lambda: "open the conversation" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: "Day one: rest." in c.text())
        await c.pilot.press("ctrl+p", *"new conv")
        await c.until(lambda: "Ctrl+N" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: "Keep your llamas at home." in c.text())


async def test_the_footer_says_what_works_where(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One "], hold_after=1), fill=one) as c:
        await c.until(lambda: last_line(c).startswith(" Enter send   ^J newline"))
        c.screen.transcript.focus()
        there = " c copy   y code   e edit   p pin   [ ] branch"
        await c.until(lambda: last_line(c).startswith(there))
        await c.send("And?")
        await c.until(lambda: last_line(c).startswith(" Esc stop"))
        c.engine.go_on()
        await c.settled()
        await c.until(lambda: "Esc" not in last_line(c))


async def test_an_answer_goes_on_under_another_screen(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(["One ", "two ", "three"], hold_after=1)) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.pilot.press("f1")
        await c.until(lambda: c.covered)
        c.engine.go_on()
        await c.settled()
        await c.pilot.press("escape")
        await c.until(lambda: "One two three" in c.text())


async def test_an_example_can_be_clicked(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.until(lambda: "❯ Explain" in c.text())
        lines = c.text().splitlines()
        row = next(n for n, line in enumerate(lines) if "❯ Explain" in line)
        await c.pilot.click(offset=(lines[row].index("Explain") + 2, row))
        await c.until(lambda: c.screen.prompt.text.startswith("Explain how a language model"))


async def test_the_keys_of_the_footer_can_be_clicked(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one) as c:
        await c.until(lambda: "^P" in last_line(c))
        footer = last_line(c)
        await c.pilot.click(offset=(footer.index("^N") + 1, c.app.size.height - 1))
        await c.until(lambda: "Keep your llamas at home." in c.text())
        await c.type("Hello")
        await c.pilot.click(offset=(footer.index("Enter") + 1, c.app.size.height - 1))
        await c.until(lambda: c.path())
        await c.settled()
        await c.pilot.click(offset=(footer.index("^P") + 1, c.app.size.height - 1))
        await c.until(lambda: c.covered)


async def test_other_screens_open_and_close(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one) as c:
        for key in ("ctrl+o", "ctrl+g", "f1", "f2", "f8", "f9"):
            await c.pilot.press(key)
            await c.until(lambda: c.covered, key)
            await c.pilot.press("escape")
            await c.until(lambda: not c.covered, key)


async def test_the_system_prompt_reaches_a_new_conversation(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.screen.conversing.change(system="Be brief.", parameters={"temperature": 0.1})
        await c.send("Hello")
        await c.settled()
        stored = c.store.conversations()[0]
        assert (stored.system, stored.parameters) == ("Be brief.", {"temperature": 0.1})


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"])
async def test_signals_leave_in_order(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    async with chat(tmp_path, Script(["One ", "two"], hold_after=1)) as c:
        await c.send("Count")
        await c.until(lambda: "One" in c.text())
        await c.type("half a thou")
        os.kill(os.getpid(), number)
        await c.until(lambda: not c.app.is_running)
        assert c.app.return_code == 128 + number
    async with chat(tmp_path) as c:
        assert [m.text for m in c.path()] == ["Count", "One "]
        assert c.screen.prompt.text == "half a thou"


async def test_a_fault_is_written_down_without_anybodys_words(tmp_path: Path) -> None:
    class SecretError(Exception):
        pass

    async def fault() -> None:
        secret = "my secret"
        raise SecretError(secret)

    with pytest.raises(SecretError):
        async with chat(tmp_path) as c:
            await c.type("half a thou")
            c.screen.call_later(fault)
            await c.until(lambda: not c.app.is_running)
    assert c.app.return_code == 1
    written = c.paths.app_log.read_text()
    assert "SecretError" in written
    assert "in fault" in written
    assert "secret" not in written.replace("secret = ", "").replace("(secret)", "").replace(
        '"my secret"', ""
    )
    async with chat(tmp_path) as c:
        assert c.screen.prompt.text == "half a thou"


def test_every_key_of_the_table_does_something() -> None:
    for key in KEYS:
        name = f"action_{key.action.partition('(')[0]}"
        owners = {
            "prompt": (PromptArea,),
            "models": (ModelsScreen,),
            "tree": (TreeScreen,),
            "text": (CompletionScreen, TextArea),
        }.get(key.where, (ChatScreen, CorralApp))
        assert not key.action or any(hasattr(owner, name) for owner in owners), key


async def test_while_only_the_starter_is_here_the_machine_s_best_is_named(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        assert "This machine can run" not in c.text()
        c.screen.welcome.greet("Starter", "This machine can run [/INST]: it needs 4.1 GB")
        await c.until(lambda: "This machine can run [/INST]" in c.text())
