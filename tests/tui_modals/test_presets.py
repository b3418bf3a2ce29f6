"""The presets screen: chosen, looked at, edited; what is wrong with a file is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, shown, until
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, TextArea

from corral.presets import Presets
from corral.tui.screens.dialogs import ConfirmDialog, TextDialog
from corral.tui.screens.presets import Chosen, PresetEditor, PresetsScreen


async def opened(app: Host, pilot: Pilot[None], presets: Presets, at: str = "") -> PresetsScreen:
    screen = PresetsScreen(presets)
    await app.open(screen)
    await until(pilot, lambda: "of them yours" in shown(pilot))
    go_to(screen, at)
    await pilot.pause()
    return screen


def go_to(screen: PresetsScreen, name: str) -> None:
    names = [preset.name if preset else "" for preset in screen.items]
    screen.query_one(OptionList).highlighted = names.index(name)


@pytest.mark.parametrize("size", SIZES)
async def test_a_preset_is_chosen_at_every_size(size: tuple[int, int], tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot, Presets(tmp_path), "entities")
        assert "Named entities" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.result == Chosen("entities"))


async def test_none_is_the_first_and_the_one_that_holds_is_marked(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.open(PresetsScreen(Presets(tmp_path), "brief"))
        await until(pilot, lambda: "✓ Brief" in shown(pilot))
        await until(pilot, lambda: "/preset brief" in shown(pilot))
        await pilot.press("home", "enter")
        await until(pilot, lambda: app.result == Chosen(""))


async def test_labels_are_asked_for_and_checked(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot, Presets(tmp_path), "classify")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "At least one label is needed" in shown(pilot))
        app.screen.query_one(Input).value = "spam, not spam"
        await pilot.press("enter")
        await until(pilot, lambda: app.result == Chosen("classify", ("spam", "not spam")))


async def test_one_of_ones_own_is_made_by_editing_and_deleted_after_a_question(
    tmp_path: Path,
) -> None:
    app, presets = Host(), Presets(tmp_path / "presets")
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, presets, "sentiment")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, PresetEditor))
        area = app.screen.query_one(TextArea)
        good = area.text.replace('"neutral"]', '"neutral", "mixed"]')
        area.text = "wrong = 1\n" + good
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "There is no such key" in shown(pilot))
        assert not (tmp_path / "presets").exists()
        area.text = good
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        await until(pilot, lambda: "1 of them yours" in shown(pilot))
        assert presets.get("sentiment").labels[-1] == "mixed"
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "0 of them yours" in shown(pilot))
        assert len(presets.get("sentiment").labels) == 3
        await pilot.press("delete")
        await until(pilot, lambda: "comes with corral" in shown(pilot))


async def test_a_copy_has_a_name_of_its_own(tmp_path: Path) -> None:
    app, presets = Host(), Presets(tmp_path)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await opened(app, pilot, presets, "extract")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        app.screen.query_one(Input).value = "brief"
        await pilot.press("enter")
        await until(pilot, lambda: "There is one already" in shown(pilot))
        app.screen.query_one(Input).value = "orders"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PresetEditor))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen is screen)
        assert presets.get("orders").schema == presets.get("extract").schema


async def test_what_was_typed_is_not_lost_without_a_question(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot, Presets(tmp_path), "brief")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, PresetEditor))
        await pilot.press("x", "escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, PresetEditor))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)


@pytest.mark.parametrize("size", SIZES)
async def test_files_are_only_words_and_a_wrong_one_is_named(
    size: tuple[int, int], tmp_path: Path
) -> None:
    quoted = HOSTILE.encode("unicode_escape").decode().replace("\\x", "\\u00")
    (tmp_path / "evil.toml").write_text(f'title = "{quoted}"\ntext = "{quoted}"\nsystem = "x"')
    (tmp_path / "wrong.toml").write_text("\nlabels = 3")
    app = Host()
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot, Presets(tmp_path), "evil")
        assert_harmless(pilot)
        assert "wrong.toml line 2, key labels" in " ".join(shown(pilot).split())
