"""Measuring from the chat: the model that answers, and never beside an answer."""

from __future__ import annotations

from pathlib import Path

from tests.support.calibrated import calibrate
from tests.support.chat_app import chat
from tests.support.scripted_engine import Script

from corral.tui.screens.bench import BenchScreen


async def test_the_command_measures_the_model_that_answers(tmp_path: Path) -> None:
    async with chat(tmp_path) as app:
        calibrate(app.app.parts)
        await app.type("/bench")
        await app.pilot.press("enter")
        await app.until(lambda: isinstance(app.app.screen, BenchScreen))
        await app.until(lambda: "Reopened" in app.text())
        assert "Tiny" in app.text()
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered)
        assert app.screen.prompt.text == ""


async def test_an_answer_comes_first(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_after=1)) as app:
        await app.send("hello")
        app.app.action_bench()
        await app.until(lambda: "An answer is being written" in app.text())
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered)
        await app.pilot.press("escape")
        await app.settled()
