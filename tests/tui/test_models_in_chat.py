"""Another model in the middle of a conversation, and downloads beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.chat_app import Chat, History, chat
from tests.support.gguf_files import tiny_llama
from tests.support.scripted_engine import Script

from corral.errors import EngineError, StoreError
from corral.models.library.local import LocalModel
from corral.store.downloads import Download, RemoteSegment, Target
from corral.tui.screens.parameters import Changes, ParametersScreen


async def add(c: Chat, name: str) -> None:
    """One more model in the library; the conversation goes on with its own."""
    path = tiny_llama(c.paths.data / f"{name}.gguf", seed=len(name), context=4096)
    c.app.library.import_file(path, format="llama-2", name=name)


def one_talk(history: History) -> None:
    talk = history.conversation("Llamas", ("What is a llama?", "Not an alpaca."))
    history.store.update_conversation(talk.id, model="tiny-llama")


async def test_another_model_is_loaded_at_once_and_answers_from_then_on(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk) as c:
        await add(c, "other-llama")
        await c.type("/model other")
        await c.pilot.press("enter")
        await c.until(lambda: "● other-llama" in c.text())
        assert c.screen.prompt.text == ""
        assert c.store.conversation(c.screen.conversing.id).model == "other-llama"
        await c.send("And an alpaca?")
        await c.settled()
        answer = c.path()[-1]
        assert answer.model is not None
        assert answer.model["name"] == "other-llama"
        first = c.path()[1].model
        assert first is not None
        assert first["name"] == "llama-2-7b-chat:Q4_K_M"


async def test_escape_keeps_the_model_before(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_loading=True), fill=one_talk) as c:
        await add(c, "other-llama")
        await c.screen.choose_model("other-llama")
        await c.until(lambda: "loading other-llama" in c.text() and "43 %" in c.text())
        assert "Esc keeps" in c.text()
        await c.pilot.press("escape")
        await c.until(lambda: c.screen.swap is None)
        assert c.store.conversation(c.screen.conversing.id).model == "tiny-llama"
        assert "tiny-llama" in c.text().splitlines()[0]
        assert not c.toasts()


async def test_a_model_that_cannot_be_loaded_changes_nothing(tmp_path: Path) -> None:
    failure = EngineError("llama.cpp refused the file", title="Not loaded")
    async with chat(tmp_path, fill=one_talk, load_errors=[failure]) as c:
        await add(c, "other-llama")
        await c.screen.choose_model("other-llama")
        await c.until(lambda: "llama.cpp refused the file" in c.toasts())
        await c.until(lambda: c.screen.swap is None)
        assert c.store.conversation(c.screen.conversing.id).model == "tiny-llama"
        await c.send("Are you still there?")
        await c.settled()
        assert c.path()[-1].status == "complete"


async def test_what_is_sent_meanwhile_waits_in_the_box(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_loading=True), fill=one_talk) as c:
        await add(c, "other-llama")
        await c.screen.choose_model("other-llama")
        await c.until(lambda: "43 %" in c.text())
        await c.type("Hello, other one")
        await c.pilot.press("enter")
        await c.until(lambda: "sent when loaded" in c.text())
        assert c.screen.prompt.text == "Hello, other one"
        c.engine.go_on()
        await c.until(lambda: c.path() and c.path()[-1].status == "complete")
        await c.settled()
        question, answer = c.path()[-2:]
        assert question.text == "Hello, other one"
        assert answer.model is not None
        assert answer.model["name"] == "other-llama"


async def test_words_that_fit_several_models_open_the_list(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk) as c:
        await add(c, "other-llama")
        await c.type("/model llama")
        await c.pilot.press("enter")
        await c.until(lambda: c.covered)
        await c.until(lambda: "Tiny Llama" in c.text())


async def test_a_model_that_came_later_does_not_take_over(tmp_path: Path) -> None:
    async with chat(tmp_path) as c:
        await c.send("Hello")
        await c.settled()
        assert c.store.conversation(c.screen.conversing.id).model is None
        await add(c, "other-llama")
        await c.screen.conversing.find_model()
        assert c.screen.conversing.model_name == "tiny-llama"
        await c.pilot.press("ctrl+n")
        await c.until(lambda: not c.path())
        assert c.screen.conversing.model_name == "other-llama"


def download(**values: object) -> Download:
    return Download(
        **{  # type: ignore[arg-type]
            "id": 0,
            "name": "llama-2-7b-chat:Q8_0",
            "title": "Llama 2 7B Chat",
            "family": "llama-2-7b-chat",
            "quant": "Q8_0",
            "repository": "a/b",
            "revision": "0" * 40,
            "licence": None,
            "folder": "/nowhere",
            "targets": (Target("a.gguf", (RemoteSegment("a.gguf", 100, None),), 100, None),),
            "bytes": 100,
            **values,
        }
    )


async def test_downloads_stand_below_the_conversations(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk) as c:
        assert "↓" not in c.text()
        id = c.store.add_download(download()).id
        c.store.update_download(id, state="paused", done=61)
        await c.until(lambda: "↓ llama-2-7b-chat:Q8_0" in c.text())
        assert "61 % paused" in c.text()
        c.store.update_download(id, state="done", done=100)
        await c.until(lambda: "llama-2-7b-chat:Q8_0 is here" in c.toasts())
        await c.until(lambda: "↓" not in c.text())


async def test_a_download_that_fails_is_told(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk) as c:
        id = c.store.add_download(download()).id
        c.store.update_download(id, state="paused")
        await c.until(lambda: "↓" in c.text())
        c.store.update_download(id, state="failed", error="It changed on the hub [/foo]")
        await c.until(lambda: "It changed on the hub [/foo]" in c.toasts())


async def test_without_a_sidebar_the_header_says_it(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk, size=(70, 24)) as c:
        id = c.store.add_download(download()).id
        c.store.update_download(id, done=61)
        await c.until(lambda: "↓ 61 %" in c.text().splitlines()[0])


async def test_how_a_model_is_loaded_belongs_to_the_model(tmp_path: Path) -> None:
    async with chat(tmp_path, fill=one_talk) as c:
        await c.pilot.press("ctrl+g")
        await c.until(lambda: isinstance(c.app.screen, ParametersScreen))
        chosen = {"n_ctx": 2048, "temperature": 0.1}
        c.app.screen.dismiss(Changes(system="", parameters=chosen))
        model = c.screen.conversing.model
        assert model is not None
        memo = c.app.chatting.load_memo
        await c.until(lambda: memo.parameters(model) == {"n_ctx": 2048})
        await c.until(lambda: c.screen.conversing.conversation.parameters == {"temperature": 0.1})
        await c.pilot.press("ctrl+n")
        await c.until(lambda: not c.path())
        await c.send("Hello")
        await c.settled()
        assert c.engine.loads[-1].n_ctx == 2048
        assert c.path()[-1].parameters == {"seed": 42}


async def test_the_end_of_the_program_stops_the_loading(tmp_path: Path) -> None:
    async with chat(tmp_path, Script(hold_loading=True), fill=one_talk) as c:
        await add(c, "other-llama")
        await c.screen.choose_model("other-llama")
        await c.until(lambda: "43 %" in c.text())
        await c.pilot.press("ctrl+q")
        await c.until(lambda: not c.app.is_running)
        assert c.engine.loaded_specs == []
    assert not [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]


async def test_a_history_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    def locked(all: bool = False) -> list[LocalModel]:
        raise StoreError("The history is locked by another program")

    async with chat(tmp_path, fill=one_talk) as c:
        c.app.library.models = locked  # type: ignore[method-assign]
        await c.screen.model_command("7b")
        await c.until(lambda: c.toasts().count("The history is locked") == 1)
        c.screen.action_again_with()
        await c.until(lambda: c.toasts().count("The history is locked") == 2)
        assert not c.covered
