"""Cleaning up on real files: copies of models, and what downloads left behind."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.arrivals import arrive
from tests.support.gguf_files import tiny_llama
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    Host,
    assert_harmless,
    local,
    shown,
    until,
)
from tests.tui_modals.models_host import FakeDownloads, ModelLibrary, Stage
from textual.pilot import Pilot
from textual.widgets import OptionList

from corral.models.catalog import Catalog
from corral.models.downloads.downloads import Downloads
from corral.models.downloads.files import Leftover
from corral.models.hub.client import Hub
from corral.models.library.library import Library
from corral.settings import DownloadSettings
from corral.store.store import Store
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.models.cleaning import CleanScreen
from corral.tui.screens.models.screen import ModelsScreen

OLD = 3 * 86_400


class Yard:
    """One file downloaded, the same once more imported in place, and a person's own library."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.store = Store.open(folder / "corral.db")
        catalog = Catalog({}, {})
        self.library = Library(self.store, catalog, folder=self.folder)
        hub = Hub(folder / "cache")
        self.downloads = Downloads(
            self.store, catalog, self.library, lambda: hub, self.folder, DownloadSettings()
        )
        self.ours = self.folder / "o--r" / "ours.gguf"
        self.ours.parent.mkdir(parents=True)
        tiny_llama(self.ours)
        self.own = folder / "own.gguf"
        shutil.copyfile(self.ours, self.own)

    def twice(self) -> None:
        arrive(self.library, self.store, self.ours, name="o/r:F32")
        self.library.import_file(self.own, name="mine")

    def leave(self, name: str, age: float = OLD, size: int = 20_000_000) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        then = time.time() - age
        os.utime(path, (then, then))
        return path

    async def open(self, app: Host, pilot: Pilot[None]) -> None:
        await app.open(CleanScreen(self.library, self.downloads))
        await until(pilot, lambda: "looking" not in shown(pilot))


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.store.close()


def lines(pilot: Pilot[None]) -> list[str]:
    return [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]


async def test_leftovers_are_marked_and_go_after_a_question(yard: Yard) -> None:
    old, bad = yard.leave("a--b/x.gguf.part"), yard.leave("a--b/y.gguf.bad", 3700)
    fresh = yard.leave("imported/z.gguf.part", 60)
    theirs = [yard.leave("theirs/zip.part"), yard.leave("firefox.part")]
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await yard.open(app, pilot)
        await until(pilot, lambda: "[x] x.gguf.part incomplete, 3 days old 0.02 GB" in lines(pilot))
        assert "[x] y.gguf.bad wrong contents, 1 hour old 0.02 GB" in lines(pilot)
        assert "z.gguf.part in use 0.02 GB" in lines(pilot)
        assert "0.04 GB marked" in shown(pilot) and "firefox" not in shown(pilot)
        assert "a--b/x.gguf.part" in shown(pilot)
        await pilot.press("down", "space")
        await until(pilot, lambda: "[ ] y.gguf.bad" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "x.gguf.part" in shown(pilot).split("Remove it?")[-1])
        assert old.exists()
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, CleanScreen))
        assert old.exists() and app.result is PENDING
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: app.result is not PENDING)
    assert app.result == "1 file is gone; 0.02 GB freed"
    assert not old.exists() and bad.exists() and fresh.exists()
    assert all(path.exists() for path in theirs)


async def test_a_file_that_is_written_to_meanwhile_stays(yard: Yard) -> None:
    left = yard.leave("a--b/x.gguf.part")
    app = Host()
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await yard.open(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        os.utime(left)
        await pilot.press("enter")
        await until(pilot, lambda: app.result is None)
        await until(pilot, lambda: "is being written to" in shown(pilot))
    assert left.exists()


async def test_of_copies_one_stays_and_own_files_are_only_forgotten(yard: Yard) -> None:
    yard.twice()
    app = Host()
    async with app.run_test(size=(120, 40)) as pilot:
        await yard.open(app, pilot)
        await until(pilot, lambda: "Here 2 times with the same contents" in shown(pilot))
        rows = lines(pilot)
        assert "[ ] mine frees nothing" in rows and "[ ] o/r:F32 frees 0.00 GB" in rows
        assert any(row.endswith("own.gguf") for row in rows)
        assert any(row.endswith("o--r/ours.gguf") for row in rows)
        assert "Its file stays where it is" in shown(pilot) and "Enter" not in shown(pilot)
        await pilot.press("enter", "space", "down")
        await until(pilot, lambda: "It is deleted from the disk" in shown(pilot))
        await pilot.press("space")
        await until(pilot, lambda: "One copy stays" in shown(pilot))
        assert "[ ] o/r:F32" in shown(pilot) and isinstance(app.screen, CleanScreen)
        await pilot.press("up", "space", "down", "space", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "It is deleted from the disk, which frees" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: app.result is not PENDING)
    assert app.result == "1 model is gone; 0.00 GB freed"
    assert not yard.ours.exists() and yard.own.exists()
    assert [model.name for model in yard.library.models()] == ["mine"]


async def test_nothing_to_clean_up_is_said_calmly(yard: Yard) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await yard.open(app, pilot)
        await until(pilot, lambda: "There is nothing to clean up" in " ".join(lines(pilot)))
        assert "✗" not in shown(pilot)
        await pilot.press("enter", "space", "escape")
        await until(pilot, lambda: app.result is None)


async def test_the_models_screen_opens_it_and_says_what_is_gone(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, local(), local("copy"))
        await stage.open(app, pilot)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CleanScreen))
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 3)
        await pilot.press("space", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "2 conversations use it and stay" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await until(pilot, lambda: "✓ 1 model is gone; 4.00 GB freed" in shown(pilot))
        await until(pilot, lambda: len(stage.screen.entries) == 1)


async def test_names_of_files_are_only_names() -> None:
    folder = Path("/data/models")
    downloads = FakeDownloads(folder)
    downloads.left = [Leftover(folder / "o--r" / f"{HOSTILE}.part", 10**9, 0.0)]
    library = ModelLibrary(local(HOSTILE), local("copy", source="starter"))
    app = Host()
    async with app.run_test(size=(80, 30)) as pilot:
        await app.open(CleanScreen(library, downloads))  # type: ignore[arg-type]
        await until(pilot, lambda: "stays with its package" in shown(pilot))
        await pilot.press("space", "down")
        assert_harmless(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert_harmless(pilot)
