"""Asking for a folder: those that are there, a new one, none."""

from __future__ import annotations

import pytest
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, is_shown, until

from corral.tui.screens.filing import FolderDialog

FOLDERS = {"Home": 3, "Work": 1, "Work/Trips": 2, HOSTILE: 1}


@pytest.mark.parametrize("size", SIZES)
async def test_a_folder_is_typed_chosen_or_left_empty(size: tuple[int, int]) -> None:
    async def asked(current: str, *keys: str) -> object:
        app.result = None
        await app.open(FolderDialog(HOSTILE, FOLDERS, current))
        await until(pilot, lambda: is_shown(pilot, "Work/Trips"))
        assert_harmless(pilot)
        await pilot.press(*keys)
        await until(pilot, lambda: not isinstance(app.screen, FolderDialog))
        return app.result

    app = Host()
    async with app.run_test(size=size) as pilot:
        assert await asked("", "down", "down", "enter") == "Work"
        assert await asked("", "up", "up", "enter") == "Work/Trips"
        assert await asked("Home", *"New/one", "enter") == "New/one"
        assert await asked("Home", "enter") == "Home"
        assert await asked("", *"trip", "tab", "enter") == "Work/Trips"
        assert await asked("Home", "delete", "enter") == ""
        assert await asked("Home", *"else", "escape") is None
