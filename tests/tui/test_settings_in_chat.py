"""Settings changed over a conversation, and what is kept of conversations going with them."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from tests.support.chat_app import Chat, History, chat
from tests.support.engine_packs import chooser, fake_pack, real_pack
from tests.support.scripted_engine import Script
from tests.support.shelf import Entry, fill, left
from textual.widgets import OptionList

from corral.tui.screens.kept import KeptScreen
from corral.tui.screens.settings import SettingsScreen
from corral.tui.setting import Setting


def three(history: History) -> None:
    for title in ("Cusco", "Llamas", "Bread"):
        history.conversation(title, (f"About {title}?", "Well."))


async def go_to(c: Chat, name: str) -> None:
    """Open the settings at one of them."""
    if not isinstance(c.app.screen, SettingsScreen):
        await c.pilot.press("f9")
        await c.until(lambda: isinstance(c.app.screen, SettingsScreen))
        await c.until(lambda: "kept in config.toml" in c.text())
    screen = c.app.screen
    assert isinstance(screen, SettingsScreen)
    numbers = [n for n, s in enumerate(screen._items) if isinstance(s, Setting) and s.name == name]
    screen.query_one(OptionList).highlighted = numbers[0]
    await c.pilot.pause()


def written(c: Chat) -> dict[str, object]:
    return tomllib.loads(c.paths.settings_file.read_text())


async def test_a_change_holds_and_is_written_at_once(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=three) as c:
        c.paths.settings_file.write_text("# mine\n[engine]  # all of it\nthreads = 2\n")
        await go_to(c, "sidebar")
        await c.pilot.press("enter")
        await c.until(lambda: c.screen.has_class("-no-sidebar"))
        await go_to(c, "pace")
        await c.pilot.press("right", "right")
        await c.until(lambda: c.app.settings.engine.pace == "quiet")
        await go_to(c, "theme")
        await c.pilot.press("enter", "down", "enter")
        await c.until(lambda: c.app.theme == "puna")
        await go_to(c, "lookup")
        await c.pilot.press("space", "delete")
        await c.until(lambda: "lookup" not in c.paths.settings_file.read_text())
        assert written(c) == {
            "sidebar": False,
            "theme": "puna",
            "engine": {"threads": 2, "pace": "quiet"},
        }
        assert "# mine" in (text := c.paths.settings_file.read_text()) and "# all of it" in text
        assert (c.app.settings.theme, c.app.settings.sidebar) == ("puna", False)
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        # What is changed elsewhere is shown here.
        await c.pilot.press("ctrl+b")
        await go_to(c, "sidebar")
        await c.until(lambda: "Sidebar             on" in c.text())


async def test_a_cache_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    shelf = fill(tmp_path / "kv", [Entry("1")])
    async with chat(tmp_path, fill=three, shelf=shelf, size=(120, 44)) as c:
        shutil.rmtree(c.paths.cache)
        await c.pilot.press("f9")
        await c.until(lambda: "1 conversation, 0.64 of" in c.text())


async def test_a_broken_file_is_left_alone_and_the_change_holds(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        c.paths.settings_file.write_text("theme = [")
        await go_to(c, "lookup")
        await c.pilot.press("enter")
        await c.until(lambda: "it is not kept in config.toml" in c.text())
        assert c.app.settings.engine.lookup is False
        assert c.paths.settings_file.read_text() == "theme = ["


async def test_the_next_answer_is_loaded_with_it(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.send("Hello")
        await c.settled()
        assert "CPU · quiet" not in c.text()
        await go_to(c, "pace")
        await c.until(lambda: "full now" in c.text())
        await c.pilot.press("left")
        await c.until(lambda: c.app.settings.engine.pace == "quiet")
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        await c.send("And?")
        await c.settled()
        assert [spec.pace for spec in c.engine.loads] == ["full", "quiet"]
        await c.until(lambda: "● tiny-llama · CPU · quiet" in c.text())


async def test_what_the_model_has_of_its_own_is_said(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        assert c.screen.conversing.model is not None
        c.app.chatting.load_memo.set_parameters(c.screen.conversing.model, {"type_k": "q8_0"})
        await go_to(c, "type_k")
        await c.until(lambda: "tiny-llama has its own: q8_0 (Ctrl+G)" in c.text())


async def test_says_why_it_is_loaded_as_it_is(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await go_to(c, "flash_attn")
        await c.until(lambda: "Now auto: " in c.text() or "Now on: " in c.text())
        await go_to(c, "lookup")
        await c.until(lambda: "Now on: " in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: "Now off: set by you." in c.text())


async def test_slash_and_palette_open_them(tmp_path: Path) -> None:
    shelf = fill(tmp_path / "kv", [Entry("1")])
    async with chat(tmp_path, fill=three, shelf=shelf) as c:
        await c.type("/settings")
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, SettingsScreen))
        await c.pilot.press("escape")
        await c.until(lambda: not c.covered)
        await c.pilot.press("ctrl+p", *"kept pr")
        await c.until(lambda: "what models have read" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: isinstance(c.app.screen, KeptScreen))
        await c.until(lambda: "Cusco" in c.text() and "1 204 tokens" in c.text())


async def test_without_a_place_to_keep_them_that_is_said(tmp_path: Path) -> None:
    async with chat(tmp_path, size=(120, 44)) as c:
        await c.screen.run_action("kept_prompts")
        await c.until(lambda: "Nothing is kept on disk here" in c.toasts())
        c.app.clear_notifications()  # It lies over what is looked at.
        await go_to(c, "kv_disk")
        assert "conversation" not in c.text().split("Kept prompts")[-1].split("Downloads")[0]


async def test_a_deleted_conversation_is_forgotten_when_it_cannot_come_back(tmp_path: Path) -> None:
    shelf = fill(tmp_path / "kv", [Entry("1"), Entry("2"), Entry("3"), Entry("77")])
    async with chat(tmp_path, fill=three, shelf=shelf) as c:
        await c.until(lambda: left(shelf) == {"1", "2", "3"})  # Nobody has the 77th any more.
        c.screen.sidebar.rows.focus()
        await c.pilot.press("home", "delete")
        await c.until(lambda: "Deleted “Bread”" in c.toasts())
        await c.pilot.press("delete")
        await c.until(lambda: "Deleted “Llamas”" in c.toasts())
        assert left(shelf) == {"1", "2", "3"}
        await c.pilot.press("u")
        await c.until(lambda: "“Llamas” is back" in c.toasts())
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
    assert left(shelf) == {"1", "2", "3"}, "the trash keeps it as long as its text"
    async with chat(tmp_path, shelf=shelf) as c:
        c.app.store.empty_trash()
    async with chat(tmp_path, shelf=shelf) as c:
        await c.until(lambda: left(shelf) == {"1", "2"})


async def test_guesses_are_told_below_an_answer_where_there_is_room(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        made = history.store.create_conversation(title="Edit")
        question = history.store.add_user(made.id, "Edit this", None)
        usage = {"prompt_tokens": 1230, "reused_tokens": 1204, "completion_tokens": 226}
        usage |= {"drafted_tokens": 256, "accepted_tokens": 145}
        history.answer(question.id, "Done.", usage=usage)

    async with chat(tmp_path, Script(), fill=fill, size=(120, 36)) as c:
        await c.until(lambda: "64 % guessed · first token 0.18 s · reused 1 204" in c.text())
        await c.pilot.resize_terminal(60, 20)
        await c.until(lambda: "reused" not in c.text())
        assert "226 tokens · 41.2 tok/s · 64 % guessed" in c.text()


async def test_draft_models_are_chosen_among_those_that_are_here(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await go_to(c, "draft")
        await c.pilot.press("enter")
        await c.until(lambda: "an installed one, where that pays" in c.text())
        # None guesses for itself.
        assert "tiny-llama" not in c.text().split("Draft model")[-1]
        await c.pilot.press("down", "enter")
        await c.until(lambda: c.app.settings.engine.draft == "off")


async def test_another_engine_is_chosen_and_said_where_it_is_broken(tmp_path: Path) -> None:
    packs = chooser(tmp_path / "packs")
    packs.shelf.add(real_pack(tmp_path / "made", "copy"))
    packs.shelf.add(fake_pack(tmp_path / "made", "broken", b"no library"))
    packs.used = "built-in"
    async with chat(tmp_path, size=(120, 44)) as c:
        c.app.parts.engine.packs = packs
        await go_to(c, "pack")
        await c.until(lambda: "built-in now" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: "was not tried yet" in c.text() and "used now" in c.text())
        await c.pilot.press("down", "down")
        await c.until(lambda: "copy" in c.text())
        await c.pilot.press("enter")
        await c.until(lambda: written(c) == {"engine": {"pack": "broken"}})
        await c.until(lambda: "is left out: its library is damaged" in c.toasts())
        await c.pilot.press("enter")
        await c.until(lambda: "is left out: its library is damaged" in c.text())
        await c.pilot.press("down", "enter")
        await c.until(lambda: written(c) == {"engine": {"pack": "copy"}})
        assert packs.wanted == "copy"
        await c.until(lambda: packs.known()[2].ok)
        await c.pilot.press("delete")
        await c.until(lambda: packs.wanted == "auto")
        assert written(c) == {"engine": {}}


async def test_an_engine_that_had_to_be_left_is_told_once(tmp_path: Path) -> None:
    packs = chooser(tmp_path / "packs")
    async with chat(tmp_path) as c:
        c.app.parts.engine.packs = packs
        packs.notices.append("The engine [/x] is not used: it hung; built-in is used instead")
        await c.app._calibrate()
        await c.until(lambda: "The engine [/x] is not used: it hung" in c.toasts())
        await c.app._calibrate()
        await c.pilot.pause()
        assert c.toasts().count("is not used") == 1
