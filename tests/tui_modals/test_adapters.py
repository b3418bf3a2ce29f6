"""The adapters screen: put on, scaled, taken off, imported and refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.lora_files import lora
from tests.tui_modals.host import HOSTILE, SIZES, Host, assert_harmless, shown, until
from textual.pilot import Pilot
from textual.widgets import Input

from corral.adapting import Choice
from corral.errors import CorralError, StoreError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.store.store import Store
from corral.tui.screens.adapters import AdaptersScreen, wrong_scale
from corral.tui.screens.dialogs import ConfirmDialog, TextDialog
from corral.tui.screens.importing import PathDialog
from corral.tui.themes import THEMES


@dataclass
class Scene:
    library: Library
    model: LocalModel
    folder: Path
    kept: list[tuple[Choice, ...]] = field(default_factory=list)
    error: CorralError | None = None

    async def keep(self, choices: tuple[Choice, ...]) -> CorralError | None:
        if self.error is None:
            self.kept.append(choices)
        return self.error

    def screen(self, *choices: Choice) -> AdaptersScreen:
        return AdaptersScreen(self.library, self.model, choices, self.keep)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(None)
    library = Library(store, Catalog.load(find_catalogue()), folder=tmp_path / "data")
    path = tiny_llama(tmp_path / "tiny.gguf")
    model = library.import_file(path, format="llama-2", name="tiny-llama")
    (tmp_path / "adapters").mkdir()
    for number, name in enumerate(("cats", "dogs")):
        library.import_adapter(lora(tmp_path / "adapters" / f"{name}.gguf", seed=number))
    large = lora(tmp_path / "adapters" / "large.gguf", {"blk.0.attn_q.weight": (128, 128)})
    library.import_adapter(large)
    yield Scene(library, model, tmp_path)
    store.close()


def rows(pilot: Pilot[None]) -> list[str]:
    lines = [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]
    return [line for line in lines if line[:2] in ("● ", "○ ", "✗ ")]


def told(pilot: Pilot[None], words: str) -> bool:
    return words in " ".join(shown(pilot).split())


async def opened(pilot: Pilot[None], app: Host, screen: AdaptersScreen) -> None:
    await app.open(screen)
    await until(pilot, lambda: "looking" not in shown(pilot) and rows(pilot))


async def test_is_put_on_scaled_and_taken_off(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(pilot, app, scene.screen())
        assert rows(pilot)[0].startswith("○ cats rank 4 F32")
        await pilot.press("enter")
        await until(pilot, lambda: rows(pilot)[0].startswith("● cats ×1.00 rank 4 F32"))
        assert "1 used · tiny-llama" in shown(pilot)
        await pilot.press("left", "left", "left")
        await until(pilot, lambda: "× 0.7" in shown(pilot) or "×0.70" in shown(pilot))
        await pilot.press("down", "right", "right")
        await until(pilot, lambda: rows(pilot)[1].startswith("● dogs ×1.10"))
        assert list(scene.kept[-1]) == [("cats", 0.7), ("dogs", 1.1)]
        await pilot.press("up", "space")
        await until(pilot, lambda: rows(pilot)[0].startswith("○ cats"))
        assert list(scene.kept[-1]) == [("dogs", 1.1)]
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)


async def test_a_key_on_a_row_that_was_forgotten_meanwhile_is_harmless(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = scene.screen(("cats", 0.5))
        await opened(pilot, app, screen)
        screen._choices = ()  # As forgetting it leaves it, before the list is read again.
        await pilot.press("right")
        await until(pilot, lambda: scene.kept == [(("cats", 0.6),)])


async def test_a_scale_is_typed(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen(("cats", 0.5)))
        assert rows(pilot)[0].startswith("● cats ×0.50")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, TextDialog))
        app.screen.query_one(Input).value = "much"
        await pilot.press("enter")
        await until(pilot, lambda: "Type a number" in shown(pilot))
        app.screen.query_one(Input).value = "-1,25"
        await pilot.press("enter")
        await until(pilot, lambda: rows(pilot) and rows(pilot)[0].startswith("● cats ×-1.25"))
        assert scene.kept == [(("cats", -1.25),)]


async def test_what_does_not_belong_says_why(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(pilot, app, scene.screen())
        assert rows(pilot)[2].startswith("✗ large")
        await pilot.press("down", "down")
        reason = "the adapter is made for 128 × 128"
        await until(pilot, lambda: reason in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "large cannot be used here" in shown(pilot))
        assert scene.kept == []


async def test_what_is_found_is_read_to_its_end_when_it_is_put_on(scene: Scene) -> None:
    def damage(arrays: dict[str, np.ndarray]) -> None:
        arrays["blk.0.attn_q.weight.lora_a"][0, 0] = np.inf

    lora(scene.folder / "a-good-one.gguf", seed=5)
    lora(scene.folder / "bad.gguf", change=damage)
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(pilot, app, scene.screen())
        assert [row.split()[1] for row in rows(pilot)][3:] == ["a-good-one", "bad"]
        await pilot.press("end", "enter")
        await until(pilot, lambda: "it holds values that are no numbers" in shown(pilot))
        assert scene.kept == []
        await pilot.press("up", "enter")
        await until(pilot, lambda: scene.kept == [(("a-good-one", 1.0),)])
        assert scene.library.adapter("a-good-one").state == "installed"


async def test_one_with_the_name_of_another_one_is_told_apart(scene: Scene) -> None:
    lora(scene.folder / "cats.gguf", seed=5)
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen(("cats", 0.5)))
        assert [row[:6] for row in rows(pilot)] == ["● cats", "○ dogs", "✗ larg", "○ cats"]
        await pilot.press("end", "enter")
        await until(pilot, lambda: scene.kept == [(("cats", 0.5), ("cats-2", 1.0))])
        await until(pilot, lambda: [row[:6] for row in rows(pilot)].count("● cats") == 2)
        await pilot.press("home", "enter")
        await until(pilot, lambda: scene.kept[1:] == [(("cats-2", 1.0),)])


async def test_a_file_is_imported(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = lora(tmp_path / "new" / "birds.gguf", seed=7)
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen())
        for path, words in (
            (scene.model.path, "it is a model, not an"),
            (str(new), "birds is here"),
        ):
            await pilot.press("i")
            await until(pilot, lambda: isinstance(app.screen, PathDialog))
            app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            await until(pilot, partial(told, pilot, words))
        await until(pilot, lambda: len(rows(pilot)) == 4)
        await pilot.press("enter")
        await until(pilot, lambda: scene.kept == [(("birds", 1.0),)])


async def test_one_is_forgotten_and_its_file_stays(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen(("cats", 1.0), ("dogs", 1.0)))
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: len(rows(pilot)) == 2)
        assert scene.kept == [(("dogs", 1.0),)]
        assert (scene.folder / "adapters" / "cats.gguf").exists()


async def test_one_that_is_gone_can_be_taken_off(scene: Scene) -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen(("/nowhere/birds.gguf", 0.5)))
        assert rows(pilot)[0].startswith("● birds ×0.50")
        await pilot.press("enter")
        await until(pilot, lambda: scene.kept == [()])


async def test_what_cannot_be_kept_is_told(scene: Scene) -> None:
    scene.error = StoreError("The disk is full")
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, scene.screen())
        await pilot.press("enter")
        await until(pilot, lambda: "The disk is full" in shown(pilot))
        assert rows(pilot)[0].startswith("○ cats")


async def test_without_any_it_says_how_one_comes(scene: Scene) -> None:
    for one in scene.library.adapters():
        scene.library.forget_adapter(one)
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        await app.open(scene.screen())
        await until(pilot, lambda: "No adapter is here yet" in shown(pilot))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_foreign_text_is_harmless_at_every_size(
    scene: Scene, tmp_path: Path, size: tuple[int, int], theme: object
) -> None:
    (tmp_path / "more").mkdir()
    lora(tmp_path / "adapters" / "cats.gguf", base="[b]" * 9, name="[/x]")
    scene.library.import_adapter(tmp_path / "adapters" / "cats.gguf")
    app = Host()
    async with app.run_test(size=size) as pilot:
        app.theme = getattr(theme, "name", "")
        await opened(pilot, app, scene.screen((HOSTILE, 1.0), ("cats", 0.5)))
        await pilot.press("down")
        await until(pilot, lambda: "[b][b]" in shown(pilot))
        assert_harmless(pilot)
        assert "Esc" in shown(pilot) and len(rows(pilot)) >= 3


@pytest.mark.parametrize(
    ("typed", "right"),
    [("1", True), ("×0.5", True), ("-2,5", True), ("nan", False), ("101", False)],
)
def test_a_scale_is_checked_while_it_is_typed(typed: str, right: bool) -> None:
    assert (wrong_scale(typed) == "") is right
