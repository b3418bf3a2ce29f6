"""Importing a model file: its path, the progress, and everything that can go wrong."""

from __future__ import annotations

from pathlib import Path

from tests.tui_modals.host import (
    HOSTILE,
    FakeLibrary,
    Host,
    assert_harmless,
    local,
    shown,
    until,
)
from tests.tui_modals.models_host import Stage
from textual.pilot import Pilot
from textual.widgets import Input

from corral.errors import Refused
from corral.tui.screens.dialogs import ChoiceDialog
from corral.tui.screens.importing import ImportScreen, PathDialog

CHAT = local()


async def importing(app: Host, pilot: Pilot[None], path: str, ways: int = 0) -> None:
    await pilot.press("i")
    await until(pilot, lambda: isinstance(app.screen, PathDialog))
    app.screen.query_one(Input).value = path
    await pilot.press("enter")
    await until(pilot, lambda: "How should it come in?" in shown(pilot))
    await pilot.press(*["down"] * ways, "enter")


async def test_an_import_shows_how_far_it_is_and_then_asks_for_the_format(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        library, picker = stage.library, await stage.open(app, pilot)
        await importing(app, pilot, "~/new.gguf")
        await until(pilot, lambda: "25 %  1.10 of 4.40 GB" in shown(pilot))
        assert "new.gguf" in shown(pilot)
        library.go_on.set()
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is picker and "New" in shown(pilot))
        assert library.calls == [
            ("import", Path.home() / "new.gguf", "in place"),
            ("format", library.imported.path, "llama-2"),
        ]
        assert picker.selected is not None and picker.selected.model.name == "new"


async def test_an_import_can_be_cancelled(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        library, picker = stage.library, await stage.open(app, pilot)
        await importing(app, pilot, "/big.gguf")
        await until(pilot, lambda: "25 %" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is picker)
        assert library.seen_cancel.is_set()
        await until(pilot, lambda: "The import was cancelled" in shown(pilot))


async def test_leaving_the_program_ends_an_import() -> None:
    app = Host()
    library = FakeLibrary()
    async with app.run_test() as pilot:
        await app.open(ImportScreen(library, "/big.gguf"))  # type: ignore[arg-type]
        await until(pilot, lambda: "25 %" in shown(pilot))
    assert library.seen_cancel.wait(5)


async def test_a_failed_import_says_why_and_keeps_what_was_typed(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        await stage.open(app, pilot)
        stage.library.error = Refused(f"it is no GGUF file {HOSTILE}", hint="Look at it again")
        await importing(app, pilot, "/wrong.gguf")
        await until(pilot, lambda: "it is no GGUF file [/INST]" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, PathDialog))
        assert app.screen.query_one(Input).value == "/wrong.gguf"


async def test_a_disk_error_is_told(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        await stage.open(app, pilot)
        stage.library.error = OSError(5, "Input/output error")
        await importing(app, pilot, "/dying.gguf")
        await until(pilot, lambda: "dying.gguf cannot be read" in shown(pilot))
        assert "Input/output error" in shown(pilot)


async def test_it_can_come_in_by_copy_and_says_what_happens_to_the_file(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        await stage.open(app, pilot)
        await importing(app, pilot, "/big.gguf", ways=3)
        await until(pilot, lambda: "It is copied and checked" in shown(pilot))
        assert stage.library.calls == [("import", Path("/big.gguf"), "copy")]
        await pilot.press("escape")
        await until(pilot, lambda: "The import was cancelled" in shown(pilot))


async def test_tab_completes_the_path(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("llama-2-7b.gguf", "llama-2-13b.gguf", "notes.txt", "[INST]\x1b.gguf"):
        (tmp_path / "models" / name).touch()
    app = Host()
    async with app.run_test() as pilot:
        await app.open(PathDialog(f"{tmp_path}/m"))
        field = app.screen.query_one(Input)
        await pilot.press("tab")
        await until(pilot, lambda: field.value == f"{tmp_path}/models/")
        await pilot.press("tab")
        await until(pilot, lambda: field.value == f"{tmp_path}/models/llama-2-")
        await until(pilot, lambda: "llama-2-13b.gguf" in shown(pilot))
        assert "notes" not in shown(pilot)
        assert_harmless(pilot)
        await pilot.press("7", "tab")
        await until(pilot, lambda: field.value.endswith("llama-2-7b.gguf"))
        await pilot.press("x", "tab")
        await until(pilot, lambda: "No folder and no GGUF file" in shown(pilot))
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: app.result == f"{tmp_path}/models/llama-2-7b.gguf")
