"""The help says what works, and what the models are not good at."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tui_modals.host import PENDING, SIZES, Host, assert_harmless, shown, until
from textual.widgets import Static

from corral.paths import Paths
from corral.tui.keys import KEYS
from corral.tui.screens.help import HelpScreen


async def everything(size: tuple[int, int], paths: Paths | None) -> str:
    """The words of the whole page, whether they are in sight or not."""
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(HelpScreen(paths))
        await until(pilot, lambda: "Esc close" in shown(pilot))
        return "\n".join(str(part.content) for part in app.screen.query(Static))


async def test_every_key_is_there() -> None:
    page = await everything((80, 24), None)
    for key in KEYS:
        assert key.shown.replace(" / ", " ") in page
        assert key.text in page


async def test_says_what_models_are_not_good_at() -> None:
    page = await everything((80, 24), None)
    for words in ("wrong, biased", "September 2022", "English", "professional", "no person"):
        assert words in page
    assert "opens no connection" in page
    assert "LLAMA 2 Community License" in page
    assert "Where the files are" not in page


async def test_says_where_the_files_are(tmp_path: Path) -> None:
    home = tmp_path / "[/INST]\x1b[31m"
    page = await everything((120, 36), Paths(home / "c", home / "d", home / "x", home / "l"))
    assert "[/INST]␛[31m" in page
    assert "corral.db" in page


@pytest.mark.parametrize("size", SIZES)
async def test_scrolls_and_closes(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(HelpScreen())
        await until(pilot, lambda: "Send the message" in shown(pilot))
        assert "LlamaUseReport@meta.com" not in shown(pilot)
        assert_harmless(pilot)
        await pilot.press("end")
        await until(pilot, lambda: "LlamaUseReport@meta.com" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
