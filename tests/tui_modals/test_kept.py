"""Kept prompts: listed, one or all cleared after a question."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.support.shelf import (
    THREE,
    Entry,
    StuckShelf,
    TitleStore,
    fill,
    kept_prompts,
    left,
)
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, shown, until
from tests.tui_modals.models_host import FakeDownloads, ModelLibrary
from textual.pilot import Pilot

from corral.engine.states.shelf import Shelf
from corral.kept import KeptPrompts
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.kept import KeptScreen
from corral.tui.screens.models.cleaning import CleanScreen

DAY = 86_400


def kept(folder: Path) -> Shelf:
    return fill(folder, [*THREE[:3], Entry("9", tokens=10, bytes=10**6, ago=DAY)])


STORE = TitleStore({1: "Llama vs alpaca", 2: "Trip to Cusco"})


def lines(pilot: Pilot[None]) -> list[str]:
    return [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]


async def test_lists_by_conversation_and_forgets_the_deleted(tmp_path: Path) -> None:
    shelf = kept(tmp_path)
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.open(KeptScreen(KeptPrompts(shelf, STORE), 20 * 10**9))
        row = "Llama vs alpaca llama-2-7b-chat.Q4_K_M 1 204 tokens 0.64 GB 1 minute"
        await until(pilot, lambda: row in lines(pilot))
        assert "Trip to Cusco 2 models 3 899 tokens 3.20 GB 2 days" in lines(pilot)
        assert "3.85 GB of 20.0 GB" in shown(pilot)
        assert "9" not in left(shelf)
        await pilot.press("down")
        models = "llama-2-13b-chat.Q4_K_M, SmolLM2-135M-Instruct · used 2 days ago"
        await until(pilot, lambda: f"Trip to Cusco · {models}" in shown(pilot))


async def test_a_long_title_gives_way_and_little_is_not_nothing(tmp_path: Path) -> None:
    shelf = fill(tmp_path, [Entry("1", "SmolLM2-135M-Instruct", bytes=1_900_000)])
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        await app.open(KeptScreen(KeptPrompts(shelf, TitleStore({1: "A long title " * 8})), 0))
        await until(pilot, lambda: "· SmolLM2-135M-Instruct · used 1 minute ago" in shown(pilot))
        assert "1.9 MB" in shown(pilot) and "0.00 GB" not in shown(pilot)


async def test_nothing_is_said_to_be_kept_before_anybody_looked(tmp_path: Path) -> None:
    seen = threading.Event()

    class Slow(TitleStore):
        def titles(self) -> dict[int, str]:
            seen.wait(20)
            return super().titles()

    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        await app.open(KeptScreen(KeptPrompts(kept(tmp_path), Slow(STORE.known)), 0))
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        seen.set()
        await until(pilot, lambda: "Trip to Cusco" in shown(pilot))
        assert "Nothing is kept yet" not in shown(pilot)


async def test_one_and_all_are_cleared_after_a_question(tmp_path: Path) -> None:
    shelf = kept(tmp_path)
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        screen = KeptScreen(KeptPrompts(shelf, STORE), 0)
        await app.open(screen)
        await until(pilot, lambda: "Trip to Cusco" in shown(pilot))
        await pilot.press("down", "delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "What was read of “Trip to Cusco”: 3.20 GB" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert left(shelf) == {"1", "2"}
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "3.20 GB are free again" in shown(pilot))
        await until(pilot, lambda: "Trip to Cusco" not in shown(pilot))
        assert left(shelf) == {"1"}
        await pilot.press("c")
        await until(pilot, lambda: "What was read of 1 conversation" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Nothing is kept yet" in shown(pilot))
        assert not left(shelf)
        await pilot.press("c", "delete")
        assert app.screen is screen


async def test_what_stays_is_told(tmp_path: Path) -> None:
    shelf = kept(tmp_path)
    assert isinstance(shelf, StuckShelf)
    shelf.stuck = "1"
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.open(KeptScreen(KeptPrompts(shelf, STORE), 0))
        await until(pilot, lambda: "Trip to Cusco" in shown(pilot))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "“Llama vs alpaca” could not be removed" in shown(pilot))
        await until(pilot, lambda: "Trip to Cusco" not in shown(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_titles_are_only_words(size: tuple[int, int], tmp_path: Path) -> None:
    prompts = kept_prompts(tmp_path, [Entry("1", HOSTILE)], {1: HOSTILE * 5})
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(KeptScreen(prompts, 10**9))
        await until(pilot, lambda: "1 204 tokens" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert_harmless(pilot)


async def test_cleaning_up_shows_them_and_marks_only_what_nobody_can_use(tmp_path: Path) -> None:
    shelf = kept(tmp_path)
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        downloads = FakeDownloads(Path("/data/models"))
        screen = CleanScreen(ModelLibrary(), downloads, KeptPrompts(shelf, STORE))  # type: ignore[arg-type]
        await app.open(screen)
        await until(pilot, lambda: "[x] deleted conversation 9" in shown(pilot))
        assert "[ ] Trip to Cusco 3 899 tokens, 2 days old 3.20 GB" in lines(pilot)
        await pilot.press("space", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "Cleared: what was read of “Llama vs alpaca”" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: app.result == "2 kept prompts are gone; 0.64 GB freed")
    assert left(shelf) == {"2"}
