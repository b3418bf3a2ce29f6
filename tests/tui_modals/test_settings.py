"""The settings screen: what is shown, changed at once, refused, and set back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.shelf import Entry, StuckShelf, TitleStore, fill, kept_prompts, left
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    SIZES,
    Host,
    assert_harmless,
    shown,
    until,
)
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from corral.errors import StoreError
from corral.kept import KeptPrompts
from corral.settings import EngineSettings, Settings
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from corral.tui.screens.kept import KeptScreen
from corral.tui.screens.settings import KEPT_ROW, SettingsScreen, Surroundings
from corral.tui.setting import SETTINGS, Setting

ALL = [setting for group in SETTINGS.values() for setting in group]


class Desk:
    """The screen, and what it asked to keep."""

    def __init__(self, *, problem: str = "", **around: Any) -> None:
        self.settings = Settings()
        self.kept: list[tuple[str, Any, bool]] = []
        self.problem = problem
        self.screen = SettingsScreen(self.settings, self._keep, Surroundings(**around))

    def _keep(self, setting: Setting, value: Any, reset: bool) -> str:
        setting.put(self.settings, value)
        self.kept.append((setting.key, value, reset))
        return self.problem

    def go_to(self, name: str) -> None:
        for number, item in enumerate(self.screen._items):
            if item == name or (isinstance(item, Setting) and item.name == name):
                self.screen.query_one(OptionList).highlighted = number
                return
        raise AssertionError(name)


def lines(pilot: Pilot[None]) -> list[str]:
    return [" ".join(line.strip(" │▌▁▂▃▄▅▆▇█").split()) for line in shown(pilot).splitlines()]


def test_every_setting_can_be_shown_and_its_default_is_good() -> None:
    settings = Settings()
    for setting in ALL:
        value = setting.of(settings)
        assert value == setting.default and setting.text.endswith(".")
        setting.put(settings, value)
        if setting.is_number:
            bare = setting.shown(value).removesuffix(f" {setting.unit}")
            assert setting.read(bare) == value
        elif setting.choices:
            assert value in setting.choices and setting.read(setting.shown(value)) == value
    assert settings == Settings()
    assert len({setting.key for setting in ALL}) == len(ALL)


def test_units_stand_after_numbers_and_not_after_words() -> None:
    by_name = {setting.name: setting for setting in ALL}
    assert by_name["limit"].shown(2.5) == "2.5 MB/s" and by_name["limit"].shown(0) == "none"
    assert by_name["kv_disk"].shown(-1.0) == "auto" and by_name["kv_disk"].shown(8.0) == "8 GB"
    assert by_name["idle_minutes"].read("never") == 0
    assert (by_name["lookup"].key, by_name["theme"].key) == ("engine.lookup", "theme")


async def test_shows_values_defaults_and_when_a_change_counts() -> None:
    desk = Desk(
        notes={"pace": "quiet now", "folder": f"~/models {HOSTILE}"},
        own={"threads": "tiny has its own: 3 (Ctrl+G)"},
    )
    desk.settings.engine.threads = 6
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        await until(pilot, lambda: "Threads 6 default auto" in lines(pilot))
        assert "Pace auto quiet now" in lines(pilot)
        assert "K cache f16 default" in lines(pilot)
        assert "Idle models leave 30 min default" in lines(pilot)
        assert "Holds at once." in lines(pilot)
        desk.go_to("folder")
        await until(pilot, lambda: any(line.startswith("Folder ~/models") for line in lines(pilot)))
        assert_harmless(pilot)
        desk.go_to("lookup")
        await until(pilot, lambda: "Holds from the next answer on." in lines(pilot))
        desk.go_to("threads")
        await until(pilot, lambda: "tiny has its own: 3 (Ctrl+G)" in lines(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
    assert not desk.kept


async def test_says_what_is_taken_here_and_why_where_there_is_room() -> None:
    reasons = {"load_mode": f"Now mmap: the file is there at once {HOSTILE}"}
    desk = Desk(reasons=lambda: reasons)
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.open(desk.screen)
        desk.go_to("load_mode")
        await until(pilot, lambda: "Now mmap: the file is there at once" in shown(pilot))
        assert_harmless(pilot)
        await until(pilot, lambda: desk.screen.has_class("-reasons"))
        assert any("Holds with the next load" in line for line in lines(pilot))
        await pilot.resize_terminal(80, 24)
        desk.go_to("threads")
        desk.go_to("load_mode")
        await until(pilot, lambda: "mlock keeps" in shown(pilot) and "Now mmap" not in shown(pilot))


async def test_switches_and_few_values_change_at_once() -> None:
    desk = Desk()
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("lookup")
        await pilot.press("enter")
        await until(pilot, lambda: desk.kept == [("engine.lookup", False, False)])
        await until(pilot, lambda: "Prompt lookup off default on" in lines(pilot))
        desk.go_to("pace")
        await pilot.press("right", "right", "right", "left")
        await until(pilot, lambda: len(desk.kept) == 5)
        assert [value for _, value, _ in desk.kept[1:]] == ["full", "quiet", "auto", "quiet"]
        await pilot.press("delete")
        await until(pilot, lambda: desk.kept[-1] == ("engine.pace", "auto", True))
        await until(pilot, lambda: "Pace auto default" in lines(pilot))
        assert desk.settings == Settings(engine=EngineSettings(lookup=False))


async def test_presses_that_come_at_once_all_count() -> None:
    desk = Desk()
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("pace")
        for key in ("right", "right", "right", "left", "delete"):
            app.post_message(events.Key(key, None))
        await until(pilot, lambda: len(desk.kept) == 5)
        assert [value for _, value, _ in desk.kept] == ["full", "quiet", "auto", "quiet", "auto"]


async def test_trouble_with_what_is_kept_is_said(tmp_path: Path) -> None:
    def broken() -> Any:
        raise StoreError("The history cannot be read")

    shelf = fill(tmp_path, [Entry("1")])
    assert isinstance(shelf, StuckShelf)
    shelf.stuck = "1"
    desk = Desk(kept=KeptPrompts(shelf, TitleStore({1: "One"})), reasons=broken)
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        await until(pilot, lambda: "1 conversation, 0.64" in shown(pilot))
        desk.go_to("kv_disk")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await pilot.press(*"none", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "What is kept of “One” could not be removed" in shown(pilot))
        assert left(shelf) == {"1"}


async def test_one_of_several_is_chosen_from_a_list() -> None:
    desk = Desk(names={"draft": lambda: [("auto", "auto"), ("tiny:Q8_0", f"tiny\t{HOSTILE}")]})
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("type_k")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await until(pilot, lambda: "f16   default" in shown(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: desk.kept == [("engine.type_k", "q8_0", False)])
        desk.go_to("draft")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        assert_harmless(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: desk.settings.engine.draft == "tiny:Q8_0")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is desk.screen)
        assert len(desk.kept) == 2


async def test_a_number_is_checked_while_it_can_be_mended() -> None:
    desk = Desk()
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("threads")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        await until(pilot, lambda: "A whole number from 0 to 512, or auto." in shown(pilot))
        await pilot.press(*"10000", "enter")
        await until(pilot, lambda: "✗ Threads takes a whole number from 0 to 512" in shown(pilot))
        await pilot.press("backspace", "backspace", "backspace")
        await until(pilot, lambda: "✗" not in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: desk.kept == [("engine.threads", 10, False)])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        app.screen.query_one(Input).value = "auto"
        await pilot.press("enter")
        await until(pilot, lambda: desk.settings.engine.threads == 0)


async def test_what_cannot_be_together_is_refused() -> None:
    desk = Desk()
    desk.settings.engine.type_v = "q8_0"
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("flash_attn")
        await pilot.press("left")
        await until(pilot, lambda: "needs flash attention, which is off" in shown(pilot))
        assert not desk.kept and desk.settings.engine.flash_attn == "auto"
        await pilot.press("down")
        await until(pilot, lambda: "✗" not in shown(pilot))


async def test_a_choice_that_is_not_kept_is_told() -> None:
    desk = Desk(problem="The choice holds, but it is not kept")
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.open(desk.screen)
        desk.go_to("sidebar")
        await pilot.press("space")
        await until(pilot, lambda: "✗ The choice holds, but it is not kept" in shown(pilot))


async def test_the_folder_is_only_shown() -> None:
    desk = Desk(notes={"folder": "~/models"})
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("folder")
        await pilot.press("enter", "delete", "right")
        await until(pilot, lambda: "Changed in config.toml" in shown(pilot))
        assert app.screen is desk.screen and not desk.kept


async def test_kept_prompts_are_counted_and_opened(tmp_path: Path) -> None:
    desk = Desk(kept=kept_prompts(tmp_path), free=lambda: 50 * 10**9)
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        await until(pilot, lambda: "3 conversations, 3.96 of 5.0 GB" in shown(pilot))
        desk.go_to(KEPT_ROW)
        await pilot.press("delete", "right", "enter")
        await until(pilot, lambda: isinstance(app.screen, KeptScreen))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "Nothing is kept yet" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is desk.screen)
        await until(pilot, lambda: "Kept prompts nothing yet" in lines(pilot))


async def test_who_keeps_none_is_asked_about_those_that_are_there(tmp_path: Path) -> None:
    shelf = fill(tmp_path, [Entry("1")])
    desk = Desk(kept=KeptPrompts(shelf, TitleStore({1: "One"})))
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.open(desk.screen)
        desk.go_to("kv_disk")
        for answer, stays in (("escape", {"1"}), ("enter", set())):
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, TextDialog))
            await pilot.press(*"none", "enter")
            await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
            await until(pilot, lambda: "Conversations stay" in shown(pilot))
            await pilot.press(answer)
            await until(pilot, lambda: app.screen is desk.screen)
            await until(pilot, lambda stays=stays: left(shelf) == stays)  # type: ignore[misc]
        assert desk.settings.engine.kv_disk == 0


@pytest.mark.parametrize("size", SIZES)
async def test_fits_every_size(size: tuple[int, int], tmp_path: Path) -> None:
    desk = Desk(kept=kept_prompts(tmp_path))
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(desk.screen)
        for setting in ALL:
            desk.go_to(setting.name)
            await until(pilot, lambda s=setting: s.title in shown(pilot))  # type: ignore[misc]
            # The whole sentence can be read, and when it counts.
            await until(pilot, lambda s=setting: s.when in " ".join(lines(pilot)))  # type: ignore[misc]
        assert "Esc close" in shown(pilot)
        await pilot.resize_terminal(40, 12)
        await until(pilot, lambda: "Folder" in shown(pilot))
