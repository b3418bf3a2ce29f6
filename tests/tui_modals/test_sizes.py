"""Every modal screen at every size, down to one that is far too small."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.shelf import kept_prompts
from tests.tui_modals.host import SIZES, Host, is_shown, local, until
from tests.tui_modals.models_host import (
    LICENCE,
    TEXT,
    FakeDownloads,
    FakeFitter,
    FakeHub,
    ModelLibrary,
    Stage,
)
from textual.screen import ModalScreen

from corral.chat.conversation import Conversation
from corral.kept import KeptPrompts
from corral.models.downloads.files import Leftover
from corral.settings import Settings
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog, TextDialog
from corral.tui.screens.help import HelpScreen
from corral.tui.screens.importing import PathDialog
from corral.tui.screens.kept import KeptScreen
from corral.tui.screens.log import LogScreen
from corral.tui.screens.models.adopting import AdoptScreen
from corral.tui.screens.models.cleaning import CleanScreen
from corral.tui.screens.models.details import DetailsScreen
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.hub_search import HubSearchScreen
from corral.tui.screens.models.licence import LicenceScreen
from corral.tui.screens.models.words import middle_cut
from corral.tui.screens.parameters import ParametersScreen
from corral.tui.screens.recall import RecallScreen
from corral.tui.screens.settings import SettingsScreen, Surroundings
from corral.tui.themes import THEMES


def cleaning() -> CleanScreen:
    downloads = FakeDownloads(Path("/data/models"))
    downloads.left = [Leftover(Path("/data/models/o--r/left.gguf.part"), 10**9, 0.0)]
    library = ModelLibrary(local(), local("copy"))
    return CleanScreen(library, downloads)  # type: ignore[arg-type]


def nothing_kept() -> KeptPrompts:
    return kept_prompts(Path("none"), ())


def settings() -> SettingsScreen:
    around = Surroundings(kept=nothing_kept(), free=lambda: 10**12)
    return SettingsScreen(Settings(), lambda setting, value, reset: "", around)


SCREENS: dict[str, tuple[Callable[[], ModalScreen[Any]], str]] = {
    "text": (lambda: TextDialog("Rename", "A title", "A hint."), "Rename"),
    "confirm": (lambda: ConfirmDialog("Delete it?", "It is gone then."), "Delete it?"),
    "choice": (lambda: ChoiceDialog("Which one?", [("a", "A")] * 20), "Which one?"),
    "path": (PathDialog, "Import a model file"),
    "models": (lambda: Stage(Path(), local()).screen, "Models"),
    "licence": (lambda: LicenceScreen(LICENCE, TEXT), "LLAMA 2"),
    "hub search": (lambda: HubSearchScreen(FakeHub, FakeFitter()), "Search"),  # type: ignore[arg-type]
    "adopt": (lambda: AdoptScreen(ModelLibrary()), "Adopt"),  # type: ignore[arg-type]
    "clean up": (cleaning, "Clean up"),
    "details": (lambda: DetailsScreen(ModelLibrary(), Entry(local())), "Llama"),  # type: ignore[arg-type]
    "parameters": (
        lambda: ParametersScreen(Conversation(1, "Title", 0, 0), local()),
        "Parameters",
    ),
    "settings": (settings, "Settings"),
    "kept prompts": (lambda: KeptScreen(nothing_kept(), 0), "Kept prompts"),
    "earlier prompts": (lambda: RecallScreen(lambda words, most: []), "Nothing was asked"),
    "help": (HelpScreen, "Help"),
    "log": (lambda: LogScreen(Path("none.log")), "The engine's log"),
}


@pytest.mark.parametrize("size", [*SIZES, (36, 10), (12, 4)])
async def test_every_screen_opens_and_closes(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        below = app.screen
        for make, words in SCREENS.values():
            await app.open(screen := make())
            if size[0] > 12:
                await until(pilot, partial(is_shown, pilot, words))
            await pilot.press("down", "tab", "up", "escape")
            await until(pilot, lambda: app.screen is below)
            await pilot.pause()
            # A message that was on its way finds nothing of it any more.
            screen.call_after_refresh = lambda call, *values: call(*values)  # type: ignore[method-assign]
            if late := getattr(screen, "on_resize", None):
                late()


@pytest.mark.parametrize("theme", [*(theme.name for theme in THEMES), "textual-light", "ansi-dark"])
async def test_any_theme_will_do(theme: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        app.theme = theme
        for make, words in SCREENS.values():
            await app.open(make())
            await until(pilot, partial(is_shown, pilot, words))
            app.pop_screen()


def test_a_path_is_cut_in_its_middle() -> None:
    assert middle_cut("/models/llama.gguf", 18) == "/models/llama.gguf"
    assert middle_cut("/data/somebody/models/llama.gguf", 16) == "/data…llama.gguf"
    assert middle_cut("abc", 0) == "…"
