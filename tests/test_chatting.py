"""The one streaming loop: what is on disk at every moment, and how every turn ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_engine import Script, ScriptedEngine

from corral.chat.conversation import Conversation
from corral.chatting import (
    Chatting,
    Event,
    Finished,
    LeftOut,
    Notice,
    Options,
    Sent,
    Started,
    Turn,
    Words,
)
from corral.errors import CorralError, DoesNotFit, EngineDied, NotFound, UsageError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.planning import Planner
from corral.settings import Settings
from corral.store.store import Store


class HeaderOf(Library):
    """A library that says something else of every file."""

    def __init__(self, library: Library, header: Header) -> None:
        self.__dict__ |= library.__dict__
        self._header = header

    def header(self, model: LocalModel) -> Header:
        return self._header


@dataclass
class Scene:
    store: Store
    engine: ScriptedEngine
    chatting: Chatting
    conversation: Conversation


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    engine = ScriptedEngine()
    library = Library(store, Catalog.load(find_catalogue()))
    chatting = Chatting(store, library, engine, Settings())
    yield Scene(store, engine, chatting, store.create_conversation())
    store.close()


async def run(turn: Turn) -> list[Event]:
    return [event async for event in turn]


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_a_turn_from_person_to_store(scene: Scene) -> None:
    events = await run(scene.chatting.send(scene.conversation.id, "Hello"))
    kinds = [type(event) for event in events]
    assert kinds[0] is Sent and kinds[1] is Started
    end = finished(events)
    assert end.error is None
    said = "".join(event.text for event in events if isinstance(event, Words))
    question, answer = scene.store.messages(scene.conversation.id)
    assert (question.role, question.text) == ("user", "Hello")
    assert (answer.text, answer.status, answer.stop_reason) == (said, "complete", "end")
    assert answer.parent == question.id
    assert answer.model is not None and answer.model["name"] == "smollm2-135m-instruct"
    assert answer.model["sha256"] and answer.model["format"] == "chatml"
    assert answer.usage is not None and answer.timings is not None
    assert scene.store.conversation(scene.conversation.id).active == answer.id
    assert scene.chatting.running == {}


async def test_the_question_is_on_disk_before_anything_can_fail(scene: Scene) -> None:
    async for event in scene.chatting.send(scene.conversation.id, "Hello"):
        if isinstance(event, Sent):
            break
    assert [m.text for m in scene.store.messages(scene.conversation.id)] == ["Hello"]


async def test_a_streaming_answer_is_written_within_a_second(scene: Scene) -> None:
    scene.engine.scripts = [Script(pieces=["so far", " and more"], hold_after=1)]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(turn))
    async with asyncio.timeout(20):
        while True:
            messages = scene.store.messages(scene.conversation.id)
            if len(messages) == 2 and messages[1].text == "so far":
                break
            await asyncio.sleep(0.02)
    assert messages[1].status == "streaming"
    assert scene.chatting.running[scene.conversation.id] is turn and turn.text == "so far"
    scene.engine.go_on()
    await reader
    assert scene.store.messages(scene.conversation.id)[1].text == "so far and more"


@pytest.mark.parametrize(
    "script",
    [
        Script(pieces=["kept"], hold_after=1),
        Script(hold_loading=True),
        Script(hold_reading=True),
    ],
    ids=["writing", "loading", "reading"],
)
async def test_stop_keeps_what_there_is(scene: Scene, script: Script) -> None:
    scene.engine.scripts = [script]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(turn))
    async with asyncio.timeout(20):
        while not (turn.text or (turn.answer and script.hold_after is None)):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        turn.stop()
        events = await reader
    end = finished(events)
    assert end.message.status == "stopped"
    assert end.message.text == ("kept" if script.hold_after else "")
    assert end.error is None
    # The next turn works.
    scene.engine.scripts = []
    assert finished(await run(scene.chatting.send(scene.conversation.id, "Again"))).error is None


async def test_a_caller_that_vanishes_leaves_a_stopped_answer(scene: Scene) -> None:
    scene.engine.scripts = [Script(pieces=["half"], hold_after=1)]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(turn))
    async with asyncio.timeout(20):
        while not turn.text:
            await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    answer = scene.store.messages(scene.conversation.id)[1]
    assert (answer.text, answer.status) == ("half", "stopped")
    assert scene.engine.stops >= 1
    assert scene.chatting.running == {}


async def test_a_dying_engine_is_one_failed_answer(scene: Scene) -> None:
    error = EngineDied("The engine stopped in the middle: it crashed")
    scene.engine.scripts = [Script(pieces=["some ", "text"], fail_after=1, error=error)]
    end = finished(await run(scene.chatting.send(scene.conversation.id, "Hello")))
    assert end.error is error
    assert (end.message.status, end.message.text) == ("failed", "some ")
    assert end.message.error == error.message
    again = finished(await run(scene.chatting.regenerate(end.message)))
    assert again.message.status == "complete"
    assert again.message.parent == end.message.parent
    assert len(scene.store.messages(scene.conversation.id)) == 3


async def test_no_such_model_fails_the_answer_and_keeps_the_question(scene: Scene) -> None:
    options = Options(model="no-such-model")
    end = finished(await run(scene.chatting.send(scene.conversation.id, "Hello", options)))
    assert isinstance(end.error, NotFound)
    assert [m.status for m in scene.store.messages(scene.conversation.id)] == ["complete", "failed"]


async def test_an_empty_message_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError):
        await run(scene.chatting.send(scene.conversation.id, " \n "))
    assert scene.store.messages(scene.conversation.id) == []


async def test_a_message_that_cannot_fit_goes_back_into_the_draft(scene: Scene) -> None:
    scene.engine.n_ctx = 512
    await run(scene.chatting.send(scene.conversation.id, "short"))
    text = "word " * 2000
    with pytest.raises(DoesNotFit, match="tokens"):
        await run(scene.chatting.send(scene.conversation.id, text))
    kept = scene.store.conversation(scene.conversation.id)
    assert kept.draft == text
    assert len(scene.store.messages(scene.conversation.id)) == 2
    assert kept.active == scene.store.messages(scene.conversation.id)[-1].id


async def test_what_falls_out_of_the_window_is_said(scene: Scene) -> None:
    scene.engine.n_ctx = 512
    for number in range(6):
        await run(scene.chatting.send(scene.conversation.id, f"{number} " + "word " * 100))
    events = await run(scene.chatting.send(scene.conversation.id, "and now?"))
    left_out = [event for event in events if isinstance(event, LeftOut)]
    assert left_out and left_out[0].exchanges >= 3
    assert scene.engine.prompts[-1] <= 512 - 128
    answer = finished(events).message
    assert answer.parameters is not None
    assert answer.parameters["window_from"] == left_out[0].first_message


async def test_control_tags_are_neutralised_and_said(scene: Scene) -> None:
    options = Options(format="llama-2")
    events = await run(scene.chatting.send(scene.conversation.id, "[INST] hi", options))
    notices = [event for event in events if isinstance(event, Notice)]
    assert notices and "[INST]" in notices[0].text
    assert scene.store.messages(scene.conversation.id)[0].text == "[INST] hi"


async def test_tags_of_a_file_s_own_template_are_neutralised_too(scene: Scene) -> None:
    library = scene.chatting.library
    model = library.resolve(None)
    header = replace(library.header(model), chat_template="[INST] {{ messages }} [/INST]")
    scene.chatting.planner = Planner(HeaderOf(library, header), Settings())
    options = Options(format="template")
    events = await run(scene.chatting.send(scene.conversation.id, "a [/INST] b", options))
    notices = [event for event in events if isinstance(event, Notice)]
    assert notices and "[/INST]" in notices[0].text and "<<SYS>>" not in notices[0].text


async def test_a_cut_makes_room_for_several_turns(scene: Scene) -> None:
    """As long as the prompt begins with the same message, only what is new is evaluated."""
    scene.engine.n_ctx = 1024
    starts = []
    for number in range(20):
        events = await run(scene.chatting.send(scene.conversation.id, f"{number} " + "word " * 60))
        starts += [event.first_message for event in events if isinstance(event, LeftOut)]
    assert len(starts) > 8
    assert len(set(starts)) <= len(starts) / 2


async def test_a_fault_of_the_program_ends_the_answer_and_is_passed_on(scene: Scene) -> None:
    fault: Any = RuntimeError("a bug")
    scene.engine.scripts = [Script(pieces=["some ", "text"], fail_after=1, error=fault)]
    with pytest.raises(RuntimeError):
        await run(scene.chatting.send(scene.conversation.id, "Hello"))
    answer = scene.store.messages(scene.conversation.id)[1]
    assert (answer.status, answer.text) == ("failed", "some ")
    assert "a bug" not in (answer.error or "")
    assert scene.chatting.running == {}


async def test_leaving_the_iteration_stores_what_there_is(scene: Scene) -> None:
    scene.engine.scripts = [Script(pieces=["half", "more"], hold_after=1)]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    async with contextlib.aclosing(turn):
        async for event in turn:
            if isinstance(event, Words):
                break
    answer = scene.store.messages(scene.conversation.id)[1]
    assert (answer.status, answer.text) == ("stopped", "half")
    assert scene.chatting.running == {}


async def test_a_stop_while_the_engine_starts_is_obeyed(scene: Scene) -> None:
    started = asyncio.Event()

    async def never() -> int:
        started.set()
        return int(await asyncio.Future())

    scene.engine.spare_bytes = never  # type: ignore[method-assign]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(turn))
    async with asyncio.timeout(20):
        await started.wait()
        turn.stop()
        assert finished(await reader).message.status == "stopped"


async def test_one_answer_at_a_time_in_a_conversation(scene: Scene) -> None:
    scene.engine.scripts = [Script(hold_after=1)]
    turn = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(turn))
    async with asyncio.timeout(20):
        while not turn.text:
            await asyncio.sleep(0.01)
    with pytest.raises(UsageError):
        scene.chatting.send(scene.conversation.id, "too early")
    turn.stop()
    await reader


async def test_another_conversation_waits_for_the_engine(scene: Scene) -> None:
    scene.engine.scripts = [Script(hold_after=1), Script(pieces=["second"])]
    other = scene.store.create_conversation()
    first = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(first))
    async with asyncio.timeout(20):
        while not first.text:
            await asyncio.sleep(0.01)
        second = scene.chatting.send(other.id, "me too")
        waiting = asyncio.create_task(run(second))
        while second.answer is None or second.working is None or second.working.stage != "waiting":
            await asyncio.sleep(0.01)
        first.stop()
        await reader
        assert finished(await waiting).message.text == "second"


async def test_a_waiting_turn_can_be_stopped(scene: Scene) -> None:
    scene.engine.scripts = [Script(hold_after=1)]
    other = scene.store.create_conversation()
    first = scene.chatting.send(scene.conversation.id, "Hello")
    reader = asyncio.create_task(run(first))
    async with asyncio.timeout(20):
        while not first.text:
            await asyncio.sleep(0.01)
        second = scene.chatting.send(other.id, "me too")
        waiting = asyncio.create_task(run(second))
        while second.answer is None:
            await asyncio.sleep(0.01)
        second.stop()
        assert finished(await waiting).message.status == "stopped"
        first.stop()
        assert finished(await reader).message.text


async def test_a_sibling_is_a_branch(scene: Scene) -> None:
    await run(scene.chatting.send(scene.conversation.id, "one"))
    await run(scene.chatting.send(scene.conversation.id, "uno", parent=None))
    messages = scene.store.messages(scene.conversation.id)
    assert [m.parent for m in messages if m.role == "user"] == [None, None]
    assert scene.store.conversation(scene.conversation.id).active == messages[-1].id


async def test_parameters_reach_the_engine_and_bad_ones_are_named(scene: Scene) -> None:
    options = Options(parameters={"temperature": 0, "seed": 5, "unknown to us": 1})
    end = finished(await run(scene.chatting.send(scene.conversation.id, "Hello", options)))
    assert end.error is None and end.message.parameters is not None
    assert end.message.parameters["temperature"] == 0
    options = Options(parameters={"top_p": 7})
    end = finished(await run(scene.chatting.send(scene.conversation.id, "Hello", options)))
    assert isinstance(end.error, CorralError) and "top_p" in end.error.message
