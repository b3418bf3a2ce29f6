"""Nothing typed into a text is lost, and nobody gets stuck in one, whatever happens beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.chat_app import chat
from tests.support.scripted_engine import Script
from tests.tui.test_completion import BEGINNING, begin, pieces, press, screen_of, stored

from corral.chat import texts
from corral.errors import StoreError
from corral.settings import Settings
from corral.store.store import Store
from corral.tui.screens.completion import CompletionScreen
from corral.tui.screens.tree import TreeScreen
from corral.tui.widgets.text_editor import TextEditor


def every(store: Store, id: int) -> str:
    """All that is stored of a text, whatever branch it is in."""
    return "\n".join(one.text for one in store.messages(id))


async def test_typed_words_stay_where_an_alternative_cuts_them_off(tmp_path: Path) -> None:
    async with chat(tmp_path, Script([" It is soft."]), Script([" hums"])) as c:
        screen = await begin(c)
        await press(c, "tab")
        screen.editor.insert(" All of this was typed just now.")
        await c.pilot.pause()
        screen.editor.put_cursor(len(BEGINNING))
        await press(c, "ctrl+l", "home", "enter")
        assert screen.editor.text == BEGINNING + " llama hums"
        assert "All of this was typed just now." in every(c.store, screen.conversing.id)

        # Its places are no longer right once something else is typed.
        await press(c, "ctrl+l")
        assert screen.alternatives.display
        screen.editor.focus()
        screen.editor.put_cursor(0)
        await c.pilot.press("O", "h")
        await c.until(lambda: not screen.alternatives.display)
        assert screen.editor.cursor == 2, "the cursor stays where it is typed"


async def test_redo_with_nothing_to_redo_does_nothing(tmp_path: Path) -> None:
    async with chat(tmp_path, Script([" It hums."])) as c:
        screen = await begin(c)
        await c.pilot.press("x", "ctrl+y")
        for _ in range(20):
            await c.pilot.pause()
        steps = [one for one in c.messages if isinstance(one, TextEditor.Step)]
        assert len(set(map(id, steps))) == 1, "it is asked once, and not for ever"
        assert screen.editor.text == BEGINNING + "x"


async def test_what_was_typed_before_a_restart_is_undone_and_kept(tmp_path: Path) -> None:
    async with chat(tmp_path, Script([" It hums."])) as c:
        screen = await begin(c)
        await press(c, "tab")
        await c.pilot.press("x", "y")
        await c.until(lambda: c.store.conversation(screen.conversing.id).draft.endswith("xy"))
    async with chat(tmp_path) as c:
        await c.until(lambda: isinstance(c.app.screen, CompletionScreen))
        screen = screen_of(c)
        whole = BEGINNING + " It hums."
        await c.until(lambda: screen.editor.text == whole + "xy")
        await press(c, "ctrl+z")
        assert screen.editor.text == whole == texts.joined(stored(c))
        await press(c, "ctrl+y")
        assert screen.editor.text == whole + "xy" and pieces(c)[-1] == ("user", "xy")


async def test_the_tree_leads_to_another_branch_and_leaves_what_is_typed(tmp_path: Path) -> None:
    scripts = [Script([" One."]), Script([" Two."]), Script([" Three."], hold_after=1)]
    async with chat(tmp_path, *scripts) as c:
        screen = await begin(c)
        await press(c, "tab", "ctrl+z", "tab")
        assert pieces(c)[-1] == ("assistant", " Two.")
        await c.pilot.press("ctrl+t")
        await c.until(lambda: isinstance(c.app.screen, TreeScreen) and " One." in c.text())
        await c.pilot.press("home", "down", "enter")
        await c.until(lambda: not isinstance(c.app.screen, TreeScreen))
        await c.until(lambda: screen.editor.text == BEGINNING + " One.")
        assert pieces(c)[-1] == ("assistant", " One.")

        # Another answer from there: what was typed and is not stored yet is a branch of its own.
        screen.editor.insert(" and more words")
        await c.pilot.pause()
        await c.pilot.press("ctrl+t")
        await c.until(lambda: isinstance(c.app.screen, TreeScreen))
        await c.pilot.press("r")
        await c.until(lambda: screen.editor.text == BEGINNING + " Three.")
        c.engine.go_on()
        await c.settled()
        await c.until(lambda: not screen._writing)
        await c.pilot.pause()
        assert pieces(c) == [("user", BEGINNING), ("assistant", " Three.")]
        assert " and more words" in every(c.store, screen.conversing.id)


async def test_nobody_is_stuck_where_an_answer_could_not_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat(tmp_path, Script([" It hums."])) as c:
        screen = await begin(c)

        def full(*_: object, **__: object) -> None:
            raise StoreError("The disk is full")

        monkeypatch.setattr(Store, "begin_answer", full)
        await press(c, "ctrl+r")
        await c.until(lambda: "The disk is full" in c.text() + c.toasts())
        await c.settled()
        monkeypatch.undo()
        await press(c, "tab")
        assert pieces(c) == [("user", BEGINNING), ("assistant", " It hums.")]
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)

        # Nor does a beginning get lost that cannot be stored at once.
        monkeypatch.setattr(Store, "add_pieces", full)
        await c.type("/complete Once upon a time")
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, CompletionScreen))
        await c.until(lambda: screen_of(c).editor.text == "Once upon a time")
        assert screen_of(c) is not screen


async def test_a_text_is_begun_once_however_many_want_it(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        screen = await begin(c, "")
        conversing = screen.conversing
        await asyncio.gather(
            conversing.begin_text(), conversing.commit("Once"), conversing.commit("Once")
        )
        assert [one.id for one in c.store.conversations()] == [conversing.id]
        assert [one.text for one in c.store.messages(conversing.id)] == ["Once"]


async def test_candidates_differ_where_a_seed_is_set_for_all(tmp_path: Path) -> None:
    settings = Settings(sampling={"seed": 0xFFFF_FFFE})
    async with chat(tmp_path, settings=settings) as c:
        await begin(c)
        await press(c, "tab", "ctrl+z", "tab", "ctrl+r")
        seeds = [one.seed for one in c.engine.samplings]
        assert seeds == [0xFFFF_FFFE, 0, 1, 2, 3], "the first is as it was set"
