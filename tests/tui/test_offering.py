"""The list above the box while a command is typed: what it may become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.support.chat_app import Chat, History, chat

from corral.tui import slash
from corral.tui.screens.models.screen import ModelsScreen
from corral.tui.screens.recall import RecallScreen
from corral.tui.widgets.completion import Choice, matching

HOSTILE = "[/INST] [bold]x \x1b[2J \u202egpj"


def offered(c: Chat) -> list[str]:
    completion = c.screen.prompt.completion
    return [one.shown or one.text for one in completion.choices] if completion.open else []


async def closed(c: Chat) -> None:
    """Leave the screen that lies over the chat; a key that came sooner would be for that one."""
    await c.pilot.press("escape")
    await c.until(lambda: not c.covered)


def two(history: History) -> None:
    history.conversation("Trip to Cusco", ("Plan it", "Day one."), ago=100)
    history.conversation("Llamas", ("What is a llama?", "A camelid."))


def test_all_words_must_match_and_what_begins_so_comes_first() -> None:
    choices = [Choice("llama-2-7b-chat:Q4_K_M"), Choice("llama-2-13b:Q8_0"), Choice("13b-other")]
    assert [one.text for one in matching(choices, "13B")] == ["13b-other", "llama-2-13b:Q8_0"]
    assert [one.text for one in matching(choices, "q4 7b")] == ["llama-2-7b-chat:Q4_K_M"]
    assert matching(choices, "") == choices


async def test_commands_are_offered_chosen_and_put_away(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        prompt = c.screen.prompt
        await c.pilot.press("/")
        assert len(offered(c)) == len(slash.COMMANDS)
        await c.pilot.press(*"mod")
        assert offered(c)[:2] == ["/model WORDS", "/models"]
        assert "Every model, downloads, and what fits" in c.text()
        # The arrows go around its ends.
        await c.pilot.press("up", "up")
        count = len(prompt.completion.choices)
        assert prompt.completion.highlighted == (count - 2) % count
        assert prompt.text == "/mod"
        await c.pilot.press("down", "down")
        assert prompt.completion.highlighted == 0
        await c.pilot.press(*["backspace"] * 4)
        assert offered(c) == []
        # Esc puts it away until the next command.
        await c.pilot.press(*"/m", "escape", "o")
        assert offered(c) == [] and prompt.text == "/mo"
        await c.pilot.press("ctrl+u", "/")
        assert offered(c)
        await c.pilot.press("backspace", *"/usr/bin/env", "enter")
        await c.until(lambda: c.path())
        await c.settled()
        assert c.path()[0].text == "/usr/bin/env"


async def test_tab_completes_enter_runs_and_so_does_a_click(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        prompt = c.screen.prompt
        await c.pilot.press(*"/se", "tab")
        assert prompt.text == "/settings"
        assert c.screen.focused is prompt.area
        await c.pilot.press("ctrl+u", *"/he", "enter")
        await c.until(lambda: c.covered)
        assert prompt.text == ""
        await closed(c)
        await c.pilot.press(*"/mo", "down", "enter")
        await c.until(lambda: isinstance(c.app.screen, ModelsScreen))
        # One that is whole runs as it is typed, and not the first one of the list with a space.
        await closed(c)
        await c.pilot.press(*"/model", "enter")
        await c.until(lambda: isinstance(c.app.screen, ModelsScreen))
        await closed(c)
        await c.pilot.press(*"/hel")
        # A list that is laid out anew moves away under the mouse.
        await c.until(lambda: offered(c) == ["/help"] and prompt.completion.size.height == 1)
        await c.pilot.click(prompt.completion, offset=(3, 0))
        await c.until(lambda: c.covered)


async def test_arguments_are_waited_for_and_completed(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        prompt = c.screen.prompt
        await c.pilot.press(*"/mod", "enter")
        assert prompt.text == "/model "
        await c.until(lambda: offered(c) == ["tiny-llama"])
        await c.until(lambda: "/model WORDS · Answer with another model" in c.text())
        await c.pilot.press("tab")
        assert prompt.text == "/model tiny-llama"
        assert offered(c) == []
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.conversing.conversation.model == "tiny-llama")
        await c.pilot.press(*"/open ")
        await c.until(lambda: offered(c) == ["Llamas", "Trip to Cusco"])
        await c.pilot.press(*"cus")
        await c.until(lambda: offered(c) == ["Trip to Cusco"])
        await c.pilot.press("down", "enter")
        await c.until(lambda: "Day one." in c.text())
        await c.pilot.press(*"/open llam", "enter")  # as it is typed
        await c.until(lambda: "A camelid." in c.text())
        await c.pilot.press(*"/open nothing so", "enter")
        await c.until(lambda: c.screen.sidebar.box.value == "nothing so")


async def test_paths_and_every_other_kind_are_completed(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    for name in ("chats.json", ".hidden", "bad\x1bname"):
        (folder / name).touch()
    async with chat(tmp_path) as c:
        found = c.screen.path_choices(f"{folder}/")
        assert [one.shown for one in found] == ["chats.json", "deep/"]
        assert found[0].text == f"{folder}/chats.json"
        assert [one.shown for one in c.screen.path_choices(f"{folder}/.h")] == [".hidden"]
        assert c.screen.path_choices(f"{folder}/none/x") == []
        assert c.screen.path_choices("~nobody-there/x") == []
        every_command_leads_somewhere(c)
        await c.screen.recall_command("words")
        await c.until(lambda: isinstance(c.app.screen, RecallScreen))
        await c.until(lambda: "Nothing that you asked has these words" in c.text())


async def test_foreign_words_are_only_words_and_leave_room_for_the_text(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=two) as c:
        for size in ((120, 36), (80, 24), (60, 20)):
            await c.pilot.resize_terminal(*size)
            await c.pilot.press("/")
            await c.until(lambda: "/model WORDS" in c.text() and "A camelid." in c.text())
            lines = c.text().splitlines()
            assert any(line.rstrip(" │").endswith("│ /") for line in lines)
            assert "Enter send" in lines[-1]
            await c.pilot.press("backspace")
            await c.until(lambda: not offered(c))

        async def choices(kind: str, typed: str) -> Sequence[Choice]:
            return [Choice(HOSTILE, HOSTILE), Choice("other")]

        c.screen.prompt.choices_for = choices
        await c.pilot.press(*"/model ")
        await c.until(lambda: len(offered(c)) == 2)
        assert "[/INST] [bold]x" in c.text()
        assert "\x1b" not in c.text() and "\u202e" not in c.text()
        await c.pilot.press("tab")
        assert "\x1b" not in c.screen.prompt.text


def every_command_leads_somewhere(c: Chat) -> None:
    for command in slash.COMMANDS:
        owner = c.app if command.action.startswith("app.") else c.screen
        name = command.action.rpartition(".")[2]
        name = name if command.argument else f"action_{name}"
        assert callable(getattr(owner, name.partition("(")[0], None)), command.name
        kind = command.completes
        if kind and "|" not in kind:
            assert callable(getattr(c.screen, f"{kind}_choices", None)), command.name
