"""Export, import and backup from the chat screen: the box, the palette, every size."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.moving.trees import chatgpt
from tests.support.chat_app import Chat, History, chat
from textual.widgets import Input

from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.importing import PathDialog
from corral.tui.screens.moving import ReportScreen
from corral.tui.screens.trash import TrashScreen

SIZES = [(120, 36), (80, 24), (60, 20)]
HOSTILE = "[@click=app.quit]x[/] \x1b]52;c;aGk=\x07 \u202egpj.exe [/]"


def one(history: History) -> None:
    history.conversation("Llama vs alpaca", ("What is a llama?", "A camelid."))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the program was started in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


async def command(app: Chat, text: str) -> None:
    app.screen.prompt.area.focus()
    await app.type(text)
    app.screen.prompt.area.action_send()
    await app.pilot.pause()


async def shows(app: Chat, kind: type[Any]) -> Any:
    await app.until(lambda: isinstance(app.app.screen, kind), f"no {kind.__name__}")
    await app.pilot.pause()
    return app.app.screen


@pytest.mark.parametrize("size", SIZES)
async def test_export_asks_for_the_format_and_the_place(
    size: tuple[int, int], tmp_path: Path, here: Path
) -> None:
    async with chat(tmp_path, fill=one, size=size) as app:
        await app.open(1)
        await command(app, "/export")
        await shows(app, ChoiceDialog)
        assert "nothing fetched" in app.text()
        await app.pilot.press("down", "down", "enter")
        place = await shows(app, PathDialog)
        assert place.query_one(Input).value == str(here / "1-llama-vs-alpaca.html")
        await app.pilot.press("enter")
        await app.until(lambda: "Exported" in app.toasts())
        assert not app.covered and "as HTML" in app.toasts()
    assert "A camelid." in (here / "1-llama-vs-alpaca.html").read_text()


async def test_a_file_is_replaced_only_after_a_question(tmp_path: Path, here: Path) -> None:
    target = here / "talk.json"
    target.write_text("old")
    async with chat(tmp_path, fill=one) as app:
        await app.open(1)
        await command(app, f"/export {target}")
        await shows(app, ConfirmDialog)
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered)
        assert target.read_text() == "old"
        await command(app, f"/export json {target}")
        await shows(app, ConfirmDialog)
        await app.pilot.press("enter")
        await app.until(lambda: "Exported" in app.toasts())
        assert json.loads(target.read_text())[0]["title"] == "Llama vs alpaca"
        # What is suggested is a name that nobody has.
        (here / "1-llama-vs-alpaca.md").write_text("mine")
        await command(app, "/export markdown")
        place = await shows(app, PathDialog)
        assert place.query_one(Input).value.endswith("1-llama-vs-alpaca-2.md")


async def test_all_of_them_and_what_cannot_be_exported(tmp_path: Path, here: Path) -> None:
    async with chat(tmp_path, fill=one) as app:
        await app.screen.open_conversation(None)
        await command(app, "/export")
        await app.until(lambda: "nothing in it yet" in app.toasts())
        await command(app, "/export pdf")
        assert not app.covered
        await command(app, f"/export all json {here}/all.json")
        await app.until(lambda: "Exported" in app.toasts())
        assert len(json.loads((here / "all.json").read_text())) == 1
        await command(app, f"/export all md {here}/no/where.md")
        await app.until(lambda: "no folder" in app.toasts())


async def test_import_opens_what_came_and_says_what_was_there(tmp_path: Path, here: Path) -> None:
    (here / "conversations.json").write_text(json.dumps([chatgpt()]))
    async with chat(tmp_path, fill=one) as app:
        await app.app.run_chat_action("import_conversations")
        place = await shows(app, PathDialog)
        place.query_one(Input).value = f"{here}/conv"
        await app.pilot.press("tab")
        await app.until(lambda: place.query_one(Input).value.endswith("conversations.json"))
        await app.pilot.press("enter")
        await app.until(lambda: "1 conversation added" in app.toasts())
        await app.until(lambda: "Cold at night." in app.text())
        assert "Trip to Cusco" in app.text() and "gpt-4o" in app.text()
        await command(app, f"/import {here}/conversations.json")
        await app.until(lambda: "1 was here already" in app.toasts())
        await command(app, f"/import {here}/nothing.json")
        await app.until(lambda: "There is no file nothing.json" in app.toasts())


@pytest.mark.parametrize("size", SIZES)
async def test_bad_records_are_listed_as_words(
    size: tuple[int, int], tmp_path: Path, here: Path
) -> None:
    records = [chatgpt("a", HOSTILE), chatgpt("b", HOSTILE, mapping={}), 5]
    (here / "c.json").write_text(json.dumps(records + [{}] * 30))
    async with chat(tmp_path, size=size) as app:
        await command(app, f"/import {here}/c.json")
        await shows(app, ReportScreen)
        assert "1 conversation added, 32 records could not be read" in " ".join(
            app.text().replace("│", " ").split()
        )
        assert "record 2 “[@click=app.quit]x[/]" in app.text()
        assert "\x1b" not in app.text() and "\u202e" not in app.text()
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered)


async def test_backup_holds_also_the_draft_that_was_just_typed(tmp_path: Path, here: Path) -> None:
    async with chat(tmp_path, fill=one) as app:
        await app.open(1)
        app.screen.prompt.area.focus()
        await app.type("A thought")
        await app.app.run_chat_action("backup")
        place = await shows(app, PathDialog)
        assert "corral-backup-" in place.query_one(Input).value
        await app.pilot.press("enter")
        await app.until(lambda: "Backed up" in app.toasts())
        assert "1 conversation" in app.toasts()
    (file,) = here.glob("corral-backup-*.zip")
    with zipfile.ZipFile(file) as archive:
        assert b"A thought" in archive.read("corral.db")


async def test_the_trash_gives_a_conversation_back_to_the_list(tmp_path: Path) -> None:
    def fill(history: History) -> None:
        one(history)
        history.store.trash(1)

    async with chat(tmp_path, fill=fill) as app:
        await command(app, "/trash")
        await shows(app, TrashScreen)
        await app.until(lambda: "1 conversation" in app.text())
        await app.pilot.press("enter")
        await app.until(lambda: "is back" in app.text())
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered and "Llama vs alpaca" in app.text())


def errors(app: Chat) -> list[str]:
    return [toast.message for toast in app.app._notifications if toast.severity == "error"]


async def test_a_place_that_cannot_be_is_told_and_nothing_ends(tmp_path: Path, here: Path) -> None:
    """A name that is too long, somebody who is not there, a folder that was deleted."""
    long = f"/tmp/{'x' * 300}.json"
    async with chat(tmp_path, fill=one) as app:
        await app.open(1)
        for text in (
            f"/export json {long}",
            f"/backup {long}",
            f"/adapter ~nobody-there/{'x' * 300}:1",
        ):
            app.app.clear_notifications()
            await command(app, text)
            await app.until(lambda: errors(app) and not app.covered, text)
        here.rmdir()
        await command(app, "/export json")
        place = await shows(app, PathDialog)
        assert place.query_one(Input).value.startswith(str(Path.home()))
        await app.pilot.press("escape")
        await app.until(lambda: not app.covered)
        app.app.clear_notifications()
        await command(app, "/import talk.json")
        await app.until(lambda: "talk.json" in app.toasts())
