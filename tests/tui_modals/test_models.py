"""The models screen with the keyboard: what it lists, choosing, filtering, sorting, removing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    SIZES,
    Host,
    assert_harmless,
    is_shown,
    local,
    shown,
    until,
)
from tests.tui_modals.models_host import CATALOG, Stage, download
from textual.widgets import Input

from corral.errors import Refused, StoreError
from corral.models.catalog import Catalog
from corral.models.library.local import LocalModel
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog

CHAT = local()
BASE = local("llama-2-7b:Q8_0", title="Llama 2 7B", kind="base", quant="Q8_0", format="completion")
GONE = local("gone", title="Gone", state="missing")
NAMELESS = local("wild", title="Wild", kind="unknown", format=None, format_source=None)
LLAMAS = Catalog(
    {name: CATALOG.families[name] for name in ("llama-2-7b-chat", "llama-2-13b-chat")},
    CATALOG.licences,
)


def rows(stage: Stage) -> list[str]:
    return [entry.model.name for entry in stage.screen.entries]


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


async def test_a_row_says_what_is_known(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, CHAT, BASE, GONE, catalog=LLAMAS, loaded=(BASE.name,))
        await stage.open(app, pilot)
        await until(pilot, lambda: "needs more memory" in shown(pilot) or "layers" in shown(pilot))
        seen = lines(shown(pilot))
        assert seen[0] == (
            "▲ corral Models RAM 11.8 of 16.0 GB free GPU 7.2 of 8.0 GB free "
            + f"disk {stage.screen.free_on_disk() / 1e9:.0f} GB free"
        )
        assert "Model Quant Download Memory @4k Fits ≈ tok/s Quality State" in seen
        assert "Llama 2 7B Q8_0 4.08 GB 6.4 GB ● all on the GPU 38–46 – ✓ loaded" in seen
        assert "Gone Q4_K_M 4.08 GB – – – ✗ missing" in seen
        assert "Q5_K_M 4.78 GB 7.1 GB ● all on the GPU 38–46 – download" in seen
        assert any(line.startswith("Llama 2 13B Chat Q4_K_M") for line in seen)


async def test_the_catalogue_is_cut_to_a_sensible_choice_until_all_is_asked_for(
    tmp_path: Path,
) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=LLAMAS)
        await stage.open(app, pilot)
        choice = ["Q4_K_M", "Q3_K_M", "Q5_K_M"]
        assert [name.partition(":")[2] for name in rows(stage)] == choice * 2
        assert "★" in shown(pilot) and "Recommended for this machine" in shown(pilot)
        assert "comfortable with 15 GB, CUDA0" in shown(pilot)
        await pilot.press("m")
        every = sum(len(family.files) for family in LLAMAS.families.values())
        await until(pilot, lambda: stage.table.count == every)
        assert stage.screen.selected is not None
        assert stage.screen.selected.model.name == "llama-2-7b-chat:Q4_K_M"
        await pilot.press("m")
        await until(pilot, lambda: stage.table.count == 6)


async def test_what_is_here_stands_before_what_could_be(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        here = local("llama-2-13b-chat:Q8_0", family=CATALOG.families["llama-2-13b-chat"])
        stage = Stage(tmp_path, NAMELESS, here, catalog=CATALOG, downloads=(download(),))
        await stage.open(app, pilot)
        groups = list(dict.fromkeys(entry.group for entry in stage.screen.entries))
        assert groups[:3] == ["llama-2-7b-chat", "llama-2-13b-chat", "wild"]
        assert "llama-2-7b-chat:Q8_0" in rows(stage) and here.name in rows(stage)


async def test_enter_picks(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await Stage(tmp_path, CHAT, BASE).open(app, pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result in (CHAT, BASE)


async def test_the_model_in_use_is_highlighted(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT, BASE, catalog=LLAMAS, current=BASE.path)
        await stage.open(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.result == BASE)


async def test_escape_picks_nothing(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await Stage(tmp_path, CHAT).open(app, pilot)
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (local(state="missing"), "Its file is gone"),
        (local(state="damaged"), "v finds out where"),
    ],
)
async def test_what_cannot_be_used_is_not_picked(
    tmp_path: Path, model: LocalModel, words: str
) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, model, BASE)
        await stage.open(app, pilot)
        await stage.select(pilot, model.name)
        await pilot.press("enter")
        await until(pilot, lambda: words in shown(pilot))
        assert app.result is PENDING
        assert stage.downloads.calls == []


async def test_an_unknown_format_is_asked_for_before_the_model_is_picked(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, NAMELESS)
        await stage.open(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is stage.screen)
        assert app.result is PENDING
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert stage.library.calls == [("format", NAMELESS.path, app.result.format)]
        assert app.result.format_source == "person"


async def test_f_sets_the_format_and_says_who_chose_it(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, CHAT)
        await stage.open(app, pilot)
        await pilot.press("f")
        await until(pilot, lambda: "[INST] … [/INST]" in shown(pilot))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "its own template, chosen by you" in shown(pilot))
        assert stage.library.calls == [("format", CHAT.path, "template")]


async def test_a_refused_format_is_told(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT)
        await stage.open(app, pilot)
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        stage.library.error = Refused("“x” has no template [/INST]", hint="Choose another")
        await pilot.press("enter")
        await until(pilot, lambda: "“x” has no template [/INST]" in shown(pilot))
        assert_harmless(pilot)


async def test_removing_says_first_what_goes_and_what_stays(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT, BASE)
        await stage.open(app, pilot)
        await stage.select(pilot, CHAT.name)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "Stays: /disk/y.gguf" in shown(pilot))
        assert "Deleted: /data/models/x.gguf" in shown(pilot)
        assert "2 conversations use it" in shown(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is stage.screen)
        assert stage.library.calls == []
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: rows(stage) == [BASE.name])
        assert stage.library.calls == [("remove", CHAT.name)]


async def test_a_library_that_fails_is_told_in_plain_words(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path)
        stage.library.error = StoreError("The disk says no [/INST]", hint="Try again")
        await app.open(stage.screen)
        await until(pilot, lambda: "The disk says no [/INST]" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("enter", "space", "x", "v", "d", "f", "delete", "K", "down")
        await pilot.pause()
        assert app.result is PENDING


# --- filter and order ---------------------------------------------------------------------------


async def test_a_filter_looks_at_everything_and_escape_ends_it(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, CHAT, catalog=LLAMAS)
        await stage.open(app, pilot)
        before = rows(stage)
        await pilot.press("slash", *"13b q8 adi")
        await until(pilot, lambda: stage.table.count == 0)
        assert "Nothing matches" in shown(pilot)
        for _ in range(4):
            await pilot.press("backspace")
        await until(pilot, lambda: rows(stage) == ["llama-2-13b-chat:Q8_0"])
        await pilot.press("enter")
        assert app.screen.focused is stage.table
        await pilot.press("escape")
        await until(pilot, lambda: rows(stage) == before)
        assert app.result is PENDING and not app.screen.query_one(Input).value
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)


async def test_it_can_be_opened_with_a_filter(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        stage = Stage(tmp_path, CHAT, catalog=LLAMAS, filter="13b q4_k_m")
        await stage.open(app, pilot)
        assert rows(stage) == ["llama-2-13b-chat:Q4_K_M"]


async def test_sorting_marks_its_column_and_keeps_the_highlighted_row(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, GONE, catalog=LLAMAS)
        await stage.open(app, pilot)
        await until(pilot, lambda: all(e.fit for e in stage.screen.entries if e.model.family))
        await stage.select(pilot, "llama-2-13b-chat:Q3_K_M")
        for column in ("Download", "Fits", "≈ tok/s", "State"):
            await pilot.press("s")
            await until(pilot, partial(is_shown, pilot, f"{column}▾"))
            assert stage.screen.selected is not None
            assert stage.screen.selected.model.name == "llama-2-13b-chat:Q3_K_M"
            sizes = [entry.model.bytes for entry in stage.screen.entries]
            assert (sizes == sorted(sizes)) == (column == "Download")
        assert rows(stage)[0] == GONE.name
        await pilot.press("s")
        await until(pilot, lambda: "▾" not in shown(pilot))


async def test_help_tells_the_keys(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await Stage(tmp_path, CHAT).open(app, pilot)
        await pilot.press("f1")
        await until(pilot, lambda: "Adopt what other programs have" in shown(pilot))


# --- sizes and hostile text ---------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_only_names(tmp_path: Path, size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        hostile = local(
            HOSTILE,
            title=HOSTILE,
            quant=HOSTILE,
            licence=HOSTILE,
            size=HOSTILE,
            path=f"/models/{HOSTILE}",
            format=HOSTILE,
            format_source=None,
        )
        coming = local("coming", title=HOSTILE, state="available", path=None)
        failed = download(
            1, "coming", state="failed", error=HOSTILE, hint=HOSTILE, title=HOSTILE, stage=HOSTILE
        )
        stage = Stage(tmp_path, hostile, coming, CHAT, downloads=(failed,), loaded=(HOSTILE,))
        await stage.open(app, pilot)
        for name in (HOSTILE, "coming"):
            await stage.select(pilot, name)
            await until(pilot, lambda: "[/INST]" in shown(pilot))
            assert_harmless(pilot)
            await pilot.press("d")
            await until(pilot, lambda: app.screen is not stage.screen)
            await pilot.pause()
            assert_harmless(pilot)
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is stage.screen)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert_harmless(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_rows_and_keys_are_in_sight_at_every_size(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        stage = Stage(tmp_path, catalog=CATALOG)
        await stage.open(app, pilot)
        await pilot.press("m")
        await until(pilot, lambda: stage.table.count > 300)
        await until(pilot, lambda: "Esc close" in shown(pilot))
        assert stage.table.size.height >= size[1] // 2
        for line in shown(pilot).splitlines():
            assert len(line) == size[0]
        await pilot.press("end")
        last = stage.screen.entries[-1]
        await until(pilot, lambda: last.title[:10] in shown(pilot))
        # The topmost row in sight bears its name though its family began further up.
        top = stage.screen.entries[stage.table.scroll_offset.y].title
        heading = next(n for n, line in enumerate(lines(shown(pilot))) if "Model Quant" in line)
        assert lines(shown(pilot))[heading + 1].startswith(top[:8])


async def test_a_smaller_window_gets_fewer_columns(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, CHAT, BASE)
        await stage.open(app, pilot)
        await pilot.press("down")
        for width, there, gone in ((80, "Download", "Memory"), (60, "Fits", "Download")):
            await pilot.resize_terminal(width, 20)
            await until(pilot, partial(is_shown, pilot, there))
            await until(pilot, lambda: len(shown(pilot).splitlines()[0]) == width)  # noqa: B023
            assert gone not in shown(pilot) and "✓ installed" in shown(pilot)
        assert stage.table.highlighted == 1


async def test_only_rows_in_sight_are_drawn(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        stage = Stage(tmp_path, catalog=CATALOG)
        drawn: set[int] = set()
        draw = stage.screen._line

        def watched(number: int, width: int) -> object:
            drawn.add(number)
            return draw(number, width)

        await stage.open(app, pilot)
        stage.table._line = watched  # type: ignore[assignment]
        await pilot.press("m")
        await until(pilot, lambda: stage.table.count > 300)
        await pilot.pause()
        assert 0 < len(drawn) <= 36
