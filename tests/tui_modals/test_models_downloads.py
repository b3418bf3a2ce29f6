"""Downloads on the models screen: asking first, the licence, and rows that live."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.tui_modals.host import Host, assert_harmless, local, shown, until
from tests.tui_modals.models_host import CATALOG, Stage, download
from textual.pilot import Pilot

from corral.errors import NetworkError, Refused
from corral.models.catalog import Catalog
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.models.licence import LicenceScreen
from corral.tui.screens.models.starting import DownloadDialog

SEVEN = Catalog({"llama-2-7b-chat": CATALOG.families["llama-2-7b-chat"]}, CATALOG.licences)
Q5 = "llama-2-7b-chat:Q5_K_M"
Q8 = "llama-2-7b-chat:Q8_0"
Q6 = "llama-2-7b-chat:Q6_K"


async def asked(app: Host, pilot: Pilot[None], stage: Stage) -> None:
    await stage.open(app, pilot)
    await stage.select(pilot, Q5)
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, DownloadDialog))


async def test_before_the_first_byte_it_is_said_what_comes_and_where_to(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN)
        await asked(app, pilot, stage)
        await until(pilot, lambda: "4.78 GB" in shown(pilot))
        for words in ("212.0 GB free", "LLAMA 2 Community License, shown next", "TheBloke/"):
            assert words in shown(pilot)
        assert tmp_path.name in shown(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is stage.screen)
        assert stage.downloads.calls == [("plan", Q5)]


async def test_the_licence_is_read_and_accepted_once(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN)
        await asked(app, pilot, stage)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LicenceScreen))
        await until(pilot, lambda: "700 million" in shown(pilot))
        assert "https://ai.meta.com/llama/license/" in shown(pilot)
        assert_harmless(pilot)
        await pilot.press("enter", "end")
        await until(pilot, lambda: "79. Additional" in shown(pilot))
        assert stage.downloads.agreed == []
        await pilot.press("a")
        await until(pilot, lambda: app.screen is stage.screen)
        assert stage.downloads.agreed == ["llama2"]
        assert stage.downloads.calls[-1] == ("add", Q5)
        await until(pilot, lambda: "waiting" in shown(pilot))
        await stage.select(pilot, "llama-2-7b-chat:Q4_K_M")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is stage.screen and len(stage.downloads.rows) == 2)
        assert [call[0] for call in stage.downloads.calls].count("text") == 1


async def test_a_declined_licence_downloads_nothing(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN)
        await asked(app, pilot, stage)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LicenceScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is stage.screen)
        await pilot.pause()
        assert stage.downloads.rows == {} and stage.downloads.agreed == []


async def test_what_stands_in_the_way_is_told(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN)
        stage.downloads.error = NetworkError("The hub does not answer [/INST]", hint="Try later")
        await stage.open(app, pilot)
        await stage.select(pilot, Q5)
        await pilot.press("enter")
        await until(pilot, lambda: "does not answer [/INST]" in shown(pilot))
        assert "Try later" in shown(pilot)
        assert_harmless(pilot)


# --- live ---------------------------------------------------------------------------------------


async def test_a_running_download_moves_its_row_and_nothing_else(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(),))
        await stage.open(app, pilot)
        await pilot.press("m")
        await until(pilot, lambda: " 43 %" in shown(pilot))
        await stage.select(pilot, Q6)
        drawn: list[int] = []
        draw = stage.screen._line

        def watched(number: int, width: int) -> object:
            drawn.append(number)
            return draw(number, width)

        await pilot.pause()
        stage.table._line = watched  # type: ignore[assignment]
        stage.downloads.set(1, done=4_368_264_675)
        await until(pilot, lambda: " 61 %" in shown(pilot))
        changed = [entry.model.name for entry in stage.screen.entries].index(Q8)
        assert set(drawn) == {changed}
        assert stage.screen.selected is not None and stage.screen.selected.model.name == Q6
        await stage.select(pilot, Q8)
        await until(pilot, lambda: "4.37 GB of 7.16 GB · 12.4 MB/s · 5:29 left" in shown(pilot))


async def test_nothing_is_asked_while_nothing_runs(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(state="paused"),))
        await stage.open(app, pilot)
        looks: list[int] = []
        every = stage.downloads.all

        def watched() -> object:
            looks.append(1)
            return every()

        stage.downloads.all = watched  # type: ignore[method-assign, assignment]
        for _ in range(3):
            await stage.screen._tick()
        await pilot.pause()
        assert looks == []


async def test_a_finished_download_becomes_a_model(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(),))
        await stage.open(app, pilot)
        await stage.select(pilot, Q8)
        stage.library.kept.append(local(Q8, quant="Q8_0", family=SEVEN.families["llama-2-7b-chat"]))
        del stage.downloads.rows[1]
        await until(pilot, lambda: "✓ installed" in shown(pilot))
        assert stage.screen.selected is not None and stage.screen.selected.model.name == Q8
        await pilot.press("enter")
        await until(pilot, lambda: getattr(app.result, "name", "") == Q8)


async def test_a_list_that_is_read_again_stays_where_it_was_scrolled_to(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 20)) as pilot:
        stage = Stage(tmp_path, catalog=CATALOG, downloads=(download(),))
        await stage.open(app, pilot)
        await stage.select(pilot, Q8)
        stage.table.scroll_to(y=30, animate=False)
        await until(pilot, lambda: stage.table.scroll_offset.y == 30)
        del stage.downloads.rows[1]
        await until(pilot, lambda: not stage.screen._live)
        await until(pilot, lambda: all(entry.download is None for entry in stage.screen.entries))
        await pilot.pause()
        assert stage.table.scroll_offset.y == 30
        await pilot.press("slash", *"7b chat q8")
        await until(pilot, lambda: stage.table.scroll_offset.y == 0)


@pytest.mark.parametrize(
    ("keys", "call"),
    [
        ("space", ("pause", 1)),
        ("K", ("move", 1, -1)),
        ("greater_than_sign", ("move", 1, 1)),
    ],
)
async def test_keys_of_a_download(tmp_path: Path, keys: str, call: tuple[object, ...]) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(), download(2, Q6)))
        await stage.open(app, pilot)
        await stage.select(pilot, Q8)
        await pilot.press(keys)
        await until(pilot, lambda: call in stage.downloads.calls)


async def test_enter_and_space_go_on_with_what_stands_still(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        failed = download(2, Q6, state="failed", error="It said 503 [/INST]", hint="Wait a little")
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(state="paused"), failed))
        await stage.open(app, pilot)
        await stage.select(pilot, Q6)
        await until(pilot, lambda: "It said 503 [/INST]. Wait a little" in shown(pilot))
        await pilot.press("space")
        await until(pilot, lambda: ("resume", 2) in stage.downloads.calls)
        await stage.select(pilot, Q8)
        await pilot.press("enter")
        await until(pilot, lambda: ("resume", 1) in stage.downloads.calls)
        await until(pilot, lambda: shown(pilot).count("waiting") == 2)


async def test_cancelling_says_what_is_lost(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=SEVEN, downloads=(download(),))
        await stage.open(app, pilot)
        await stage.select(pilot, Q8)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "3.08 GB of 7.16 GB" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is stage.screen)
        assert stage.downloads.calls == []
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: stage.downloads.calls == [("cancel", 1)])
        await until(pilot, lambda: "43 %" not in shown(pilot))


# --- verifying ----------------------------------------------------------------------------------


async def test_verifying_shows_how_far_it_is_and_what_came_of_it(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, local())
        await stage.open(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: " 43 %" in shown(pilot))
        stage.library.go_on.set()
        await until(pilot, lambda: "is sound: sha256 cdcdcdcdcdcd" in shown(pilot))
        await until(pilot, lambda: "43 %" not in shown(pilot))


async def test_a_check_can_be_cancelled(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, local())
        await stage.open(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: " 43 %" in shown(pilot))
        await pilot.press("x")
        await until(pilot, lambda: "The check was cancelled" in shown(pilot))
        assert stage.library.seen_cancel.is_set()
        await until(pilot, lambda: "43 %" not in shown(pilot))


async def test_leaving_ends_a_check(tmp_path: Path) -> None:
    app = Host()
    stage = Stage(tmp_path, local())
    async with app.run_test(size=(120, 36)) as pilot:
        await stage.open(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: " 43 %" in shown(pilot))
    assert stage.library.seen_cancel.wait(5)


async def test_damage_is_told_and_repaired(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, local())
        stage.library.verdict = SimpleNamespace(
            ok=False,
            sha256="ee" * 32,
            path=tmp_path / "x.gguf",
            damaged_pieces=[7],
            reason="its sha256 is wrong [/INST]",
        )
        stage.library.go_on.set()
        await stage.open(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "One piece of 8 MB can be fetched again" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("enter")
        repair = ("repair", tmp_path / "x.gguf", (7,))
        await until(pilot, lambda: repair in stage.downloads.calls)


async def test_a_check_that_cannot_be_done_is_told(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, local())
        stage.library.refused[local().name] = Refused("the disk went away [/INST]")
        await stage.open(app, pilot)
        await pilot.press("v")
        await until(pilot, lambda: "the disk went away [/INST]" in shown(pilot))
