"""Choosing, importing and removing models with the keyboard, on a library without files."""

from __future__ import annotations

import pytest
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    SIZES,
    FakeLibrary,
    Host,
    assert_harmless,
    local,
    opened,
    shown,
    until,
)
from textual.widgets import OptionList

from corral.errors import Refused, StoreError
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.models import ModelPicker

CHAT = local()
BASE = local("llama-2-7b:Q8_0", title="Llama 2 7B", kind="base", quant="Q8_0", format="completion")
GONE = local("gone", title="Gone", state="missing")
NAMELESS = local("wild", title="Wild", kind="unknown", format=None, format_source=None)


async def test_a_row_says_what_is_known() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, FakeLibrary(CHAT, BASE, GONE, NAMELESS), BASE.name)
        await until(pilot, lambda: "continues text" in shown(pilot) and "●" in shown(pilot))
        rows = [" ".join(line.strip(" │").split()) for line in shown(pilot).splitlines()]
        assert "Llama 2 7B Chat chat Q4_K_M 4.08 GB Llama 2 Chat ready" in rows
        (loaded,) = [row for row in rows if "●" in row]
        assert "Llama 2 7B" in loaded and "in use" in loaded and "Plain completion" in loaded
        assert "file missing" in shown(pilot)
        assert "not known" in shown(pilot)
        assert BASE.path is not None and BASE.path in shown(pilot)
        assert "12.2 GB on disk" in shown(pilot)


async def test_enter_picks() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await opened(app, pilot, FakeLibrary(CHAT, BASE))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result == BASE


async def test_escape_picks_nothing() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await opened(app, pilot, FakeLibrary(CHAT))
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is None


@pytest.mark.parametrize(("state", "words"), [("missing", "file missing"), ("damaged", "damaged")])
async def test_what_cannot_be_used_is_not_picked(state: str, words: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await opened(app, pilot, FakeLibrary(local(state=state), BASE))
        await pilot.press("enter")
        await until(pilot, lambda: f"It cannot be used: {words}" in shown(pilot))
        assert app.result is PENDING
        await pilot.press("down")
        await until(pilot, lambda: "It cannot be used" not in shown(pilot))


async def test_an_unknown_format_is_asked_for_before_the_model_is_picked() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = FakeLibrary(NAMELESS)
        await opened(app, pilot, library)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.result is not PENDING)
        assert library.calls == [("format", NAMELESS.path, "chatml")]
        assert app.result.format == "chatml"


async def test_without_a_format_nothing_is_picked() -> None:
    app = Host()
    async with app.run_test() as pilot:
        picker = await opened(app, pilot, FakeLibrary(NAMELESS))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is picker)
        assert app.result is PENDING


async def test_f_sets_the_format_and_says_who_chose_it() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        library = FakeLibrary(CHAT)
        await opened(app, pilot, library)
        await pilot.press("f")
        await until(pilot, lambda: "[INST] … [/INST]" in shown(pilot))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "its own template, chosen by you" in shown(pilot))
        assert library.calls == [("format", CHAT.path, "template")]


async def test_a_refused_format_is_told() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = FakeLibrary(CHAT)
        await opened(app, pilot, library)
        library.error = Refused("“x” has no template [/INST]", hint="Choose another")
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
        library.models = lambda all=False: [CHAT]  # type: ignore[method-assign]
        await pilot.press("enter")
        await until(pilot, lambda: "“x” has no template [/INST]" in shown(pilot))
        assert_harmless(pilot)


async def test_removing_asks_and_says_that_the_file_stays() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = FakeLibrary(CHAT, BASE)
        picker = await opened(app, pilot, library)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await until(pilot, lambda: "The file itself stays" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is picker)
        assert library.calls == []
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: picker.query_one(OptionList).option_count == 1)
        assert library.calls == [("forget", CHAT.path)]


async def test_the_starter_is_not_removed() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = FakeLibrary(local(source="starter"))
        picker = await opened(app, pilot, library)
        await pilot.press("delete")
        await until(pilot, lambda: "uninstall that to remove it" in shown(pilot))
        assert app.screen is picker


async def test_an_empty_library_says_how_to_get_a_model() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(ModelPicker(FakeLibrary(), None))  # type: ignore[arg-type]
        await until(pilot, lambda: 'pip install "corral[starter]"' in shown(pilot))
        assert "imports a GGUF file" in shown(pilot)
        await pilot.press("enter", "f", "delete", "down")
        await pilot.pause()
        assert app.result is PENDING


async def test_a_library_that_fails_is_told_in_plain_words() -> None:
    app = Host()
    async with app.run_test() as pilot:
        library = FakeLibrary()
        library.error = StoreError("The disk says no [/INST]", hint="Try again")
        await app.open(ModelPicker(library, None))  # type: ignore[arg-type]
        await until(pilot, lambda: "The disk says no [/INST]" in shown(pilot))
        assert_harmless(pilot)
        assert "No model is on this machine" not in shown(pilot)
        assert "looking" not in shown(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_names_are_only_names(size: tuple[int, int]) -> None:
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
        await opened(app, pilot, FakeLibrary(hostile, CHAT), HOSTILE)
        await until(pilot, lambda: "[/INST]" in shown(pilot))
        assert_harmless(pilot)
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert_harmless(pilot)
        assert app.is_running


@pytest.mark.parametrize("size", SIZES)
async def test_rows_and_keys_are_in_sight_at_every_size(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        many = [local(f"model-{number}") for number in range(60)]
        await opened(app, pilot, FakeLibrary(*many))
        await until(pilot, lambda: "Esc close" in shown(pilot))
        await until(pilot, lambda: shown(pilot).count("Llama 2 7B Chat") >= 5)
        await pilot.press("end")
        await until(pilot, lambda: "/models/model-59.gguf" in shown(pilot))


async def test_a_smaller_window_gets_narrower_rows() -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await opened(app, pilot, FakeLibrary(CHAT, BASE))
        await pilot.press("down")
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: "Prompt format" not in shown(pilot).split("Models")[1][:200])
        await until(pilot, lambda: "ready" in shown(pilot))
        assert app.screen.query_one(OptionList).highlighted == 1


async def test_what_is_missing_is_never_called_in_use() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await opened(app, pilot, FakeLibrary(GONE), GONE.name)
        await until(pilot, lambda: "file missing" in shown(pilot))
        assert "in use" not in shown(pilot)
