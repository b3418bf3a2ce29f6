"""Condensing in the middle of a turn: how it ends, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.scripted_engine import Script, ScriptedEngine

from corral.chat.conversation import Message, active_path
from corral.chatting import Chatting, Event, Finished, LeftOut, Notice, Working
from corral.errors import EngineDied
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.settings import Settings
from corral.store.store import Store
from corral.windowing import MOST_PARTS


@dataclass
class Scene:
    store: Store
    engine: ScriptedEngine
    chatting: Chatting
    id: int

    async def say(self, text: str) -> list[Event]:
        return [event async for event in self.chatting.send(self.id, text)]

    def path(self) -> list[Message]:
        active = self.store.conversation(self.id).active
        return active_path(self.store.messages(self.id), active)

    def summaries(self) -> list[str]:
        return [message.summary for message in self.path() if message.summary]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    engine = ScriptedEngine(n_ctx=512)
    library = Library(store, Catalog.load(find_catalogue()))
    made = store.create_conversation(parameters={"window": "summarise"})
    parent: int | None = None
    for number in range(4):
        parent = store.add_user(made.id, f"{number} " + "word " * 80, parent).id
        begun = store.begin_answer(parent, model=None, parameters=None)
        parent = store.finish_answer(begun.id, text="answer", status="complete").id
    yield Scene(store, engine, Chatting(store, library, engine, Settings()), made.id)
    store.close()


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


async def test_the_summary_is_stored_and_said(scene: Scene) -> None:
    scene.engine.scripts = [Script(["part "]), Script(["all of it"]), Script(["Yes."])]
    events = await scene.say("Go on")
    assert finished(events).message.text == "Yes."
    assert scene.summaries() == ["all of it"]
    told = next(event for event in events if isinstance(event, LeftOut))
    assert told.summary is not None and told.summary.summary == "all of it"
    assert any(isinstance(event, Working) and event.stage == "condensing" for event in events)
    parameters = finished(events).message.parameters or {}
    assert parameters["window_summary"] == told.summary.id == parameters["window_from"]


async def test_a_stop_while_it_condenses_ends_the_turn_and_changes_nothing(scene: Scene) -> None:
    scene.engine.scripts = [Script(["half", "more"], hold_after=1)]
    turn = scene.chatting.send(scene.id, "Go on")
    events: list[Event] = []

    async def read() -> None:
        async for event in turn:
            events.append(event)

    reader = asyncio.create_task(read())
    async with asyncio.timeout(20):
        while not scene.engine.prompts:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        turn.stop()
        await reader
    assert finished(events).message.status == "stopped"
    assert scene.summaries() == []
    scene.engine.scripts = []
    assert finished(await scene.say("Again")).error is None


async def test_an_engine_that_dies_while_it_condenses_fails_one_answer(scene: Scene) -> None:
    error = EngineDied("The engine stopped in the middle: it crashed")
    scene.engine.scripts = [Script(["half", "more"], fail_after=1, error=error)]
    end = finished(await scene.say("Go on"))
    assert end.error is error and end.message.status == "failed"
    assert scene.summaries() == []


async def test_without_a_summary_the_oldest_just_go(scene: Scene) -> None:
    scene.engine.scripts = [Script([" "]), Script([""]), Script(["Yes."])]
    events = await scene.say("Go on")
    assert finished(events).message.text == "Yes."
    assert any(isinstance(event, Notice) and event.title == "No summary" for event in events)
    assert any(isinstance(event, LeftOut) and event.summary is None for event in events)


async def test_a_very_long_conversation_is_condensed_in_bounded_time(scene: Scene) -> None:
    parent = scene.store.conversation(scene.id).active
    for number in range(60):
        parent = scene.store.add_user(scene.id, f"{number} " + "word " * 80, parent).id
        begun = scene.store.begin_answer(parent, model=None, parameters=None)
        parent = scene.store.finish_answer(begun.id, text="answer", status="complete").id
    assert finished(await scene.say("Go on")).error is None
    assert len(scene.engine.prompts) <= MOST_PARTS + 1
    assert max(scene.engine.prompts) <= 512


async def test_an_edited_summary_that_is_too_long_is_condensed_again(scene: Scene) -> None:
    await scene.say("Go on")
    at = next(message for message in scene.path() if message.summary)
    scene.store.mark_message(at.id, summary="long " * 2000)
    scene.engine.scripts = [Script(["short again"])]
    events = await scene.say("And on")
    assert finished(events).error is None
    assert scene.engine.prompts[-1] <= 512 - 128
