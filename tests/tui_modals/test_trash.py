"""The trash on the screen: listed, brought back, deleted for good after a question."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, is_shown, until

from corral.errors import NotFound
from corral.store.store import Store
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.trash import TrashScreen

NOW = 1_800_000_000.0
DAY = 86_400


def filled(path: Path, *titles: str) -> Store:
    ago = iter(range(3, 0, -1))
    store = Store.open(path, clock=lambda: NOW)
    for title in titles:
        id = store.create_conversation(title=title).id
        store.add_user(id, "Hello", None)
        store._clock = lambda days=next(ago): NOW - days * DAY  # type: ignore[misc]
        store.trash(id)
        store._clock = lambda: NOW
    return store


@pytest.mark.parametrize("size", SIZES)
async def test_listed_and_brought_back(size: tuple[int, int], tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", HOSTILE, "Trip to Cusco")
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(TrashScreen(store, lambda ids: None, lambda: NOW))
        await until(pilot, lambda: is_shown(pilot, "deleted 2 days ago"))
        assert is_shown(pilot, "2 conversations")
        assert_harmless(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: is_shown(pilot, "“Trip to Cusco” is back"))
        await until(pilot, lambda: is_shown(pilot, "1 conversation"))
        await pilot.press("escape")
        await until(pilot, lambda: app.result == [2])
    assert [c.id for c in store.conversations()] == [2]
    store.close()


async def test_for_good_only_after_a_question(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", "Trip to Cusco")
    gone: list[int] = []

    def forget(ids: Iterable[int]) -> None:
        gone.extend(ids)

    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = TrashScreen(store, forget, lambda: NOW)
        await app.open(screen)
        await until(pilot, lambda: is_shown(pilot, "Trip to Cusco"))
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert len(store.in_trash()) == 1
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: is_shown(pilot, "The trash is empty"))
        assert gone == [1] and not store.in_trash()
        await pilot.press("enter", "delete")
        assert app.screen is screen
        await pilot.press("escape")
        # Where traces of it stay for now, that is said.
        other = store.create_conversation(title="Another trip").id
        store.trash(other)
        store._database.scrub = lambda: False  # type: ignore[method-assign]
        await app.open(TrashScreen(store, forget, lambda: NOW))
        await until(pilot, lambda: is_shown(pilot, "Another trip"))
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: is_shown(pilot, "its text may stay in the file"))
    with pytest.raises(NotFound):
        store.conversation(1)
    store.close()


async def test_what_somebody_else_emptied_is_said(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", "Trip to Cusco")
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.open(TrashScreen(store, lambda ids: None, lambda: NOW))
        await until(pilot, lambda: is_shown(pilot, "Trip to Cusco"))
        store.empty_trash()
        await pilot.press("enter")
        await until(pilot, lambda: is_shown(pilot, "There is no conversation 1"))
    store.close()
