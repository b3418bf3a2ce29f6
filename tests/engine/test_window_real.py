"""Twelve messages over a window of 512 tokens, with the real engine."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.engine.conftest import load
from tests.engine.test_engine import GREEDY, answer
from tests.support.gguf_files import tiny_llama

from corral.chat import formats, window
from corral.chat.conversation import Message, active_path
from corral.chat.window import POLICIES, Policy
from corral.chatting import Chatting, Event, Finished, LeftOut
from corral.engine.engine import Engine
from corral.engine.protocol import Sampling
from corral.errors import DoesNotFit
from corral.metering import TYPED, Measure, Meter
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.settings import Settings
from corral.store.store import Store


class Recording(Engine):
    """Keeps the ids of every prompt."""

    def __init__(self, log: Path) -> None:
        super().__init__(log)
        self.sent: list[list[int]] = []

    async def generate(
        self, tokens: Sequence[int], sampling: Sampling, **options: Any
    ) -> AsyncGenerator[Any, None]:
        self.sent.append(list(tokens))
        events = super().generate(tokens, sampling, **options)
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                yield event


@dataclass
class Scene:
    engine: Recording
    store: Store
    chatting: Chatting
    model: LocalModel
    meter: Meter
    id: int
    events: list[Event] = field(default_factory=list)

    def path(self) -> list[Message]:
        active = self.store.conversation(self.id).active
        return active_path(self.store.messages(self.id), active)

    async def measure(self, text: str) -> Measure | None:
        return await self.meter.measure(
            self.store.conversation(self.id), self.path(), text, self.model
        )

    async def say(self, text: str) -> Message:
        """Send a text; gives the answer, and keeps what was told."""
        self.events = [event async for event in self.chatting.send(self.id, text)]
        finished = self.events[-1]
        assert isinstance(finished, Finished) and finished.error is None
        return finished.message

    async def ids(self, path: Sequence[Message], seen: window.Seen) -> list[int]:
        """The prompt of a path without what lies in the gaps, made without any of our windows."""
        hidden = {m.id for m in path for begin, end in seen.gaps if begin <= m.id < end}
        turns = [turn for turn in formats.turns(path) if turn.first_message not in hidden]
        if seen.summary_at is not None:
            turns = [
                window.with_summary(turn) if turn.first_message == seen.summary_at else turn
                for turn in turns
            ]
        segments, _ = formats.render(formats.LLAMA_2, "", turns)
        return list(await self.engine.tokenize(segments))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    engine = Recording(tmp_path / "logs" / "engine.log")
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    path = tiny_llama(tmp_path / "tiny.gguf", context=512)
    library.import_file(path, format="llama-2", name="tiny")
    chatting = Chatting(store, library, engine, Settings())
    made = store.create_conversation(model="tiny")
    yield Scene(engine, store, chatting, library.resolve("tiny"), Meter(chatting), made.id)
    await engine.close()
    store.close()


def keep(scene: Scene, policy: Policy) -> None:
    parameters = {"window": policy, "max_tokens": 24, "temperature": 0.0}
    scene.store.update_conversation(scene.id, parameters=parameters)


def question(number: int) -> str:
    return f"Question {number}: " + "the llama and the alpaca " * 8


@pytest.mark.parametrize(
    ("policy", "pinned"),
    [*((policy, False) for policy in POLICIES), ("drop", True), ("summarise", True)],
)
async def test_the_ids_sent_are_what_the_meter_and_the_line_say(
    scene: Scene, policy: Policy, pinned: bool
) -> None:
    keep(scene, policy)
    refused = summaries = cut = 0
    for number in range(6):
        if number == 2 and pinned:
            scene.store.mark_message(scene.path()[2].id, pinned=True)
        text = question(number)
        measure = await scene.measure(text)
        assert measure is not None and measure.n_ctx == 512
        if policy == "stop" and measure.full:
            with pytest.raises(DoesNotFit):
                await scene.say(text)
            whole = [*scene.path(), Message(TYPED, 0, None, "user", text, "complete", 0.0)]
            assert measure.tokens == len(await scene.ids(whole, window.Seen()))
            assert scene.store.conversation(scene.id).draft.startswith(text)
            refused += 1
            continue
        assert not measure.full
        said = await scene.say(text)
        path = scene.path()
        seen = window.recorded(path)
        sent = scene.engine.sent[-1]
        assert sent == await scene.ids(path[:-1], seen)
        assert said.usage is not None and said.usage["prompt_tokens"] == len(sent)
        if number and not measure.about:
            assert measure.tokens == len(sent)
            assert measure.seen is not None
            mine = [[path[-2].id if id == TYPED else id for id in gap] for gap in measure.seen.gaps]
            assert mine == [list(gap) for gap in seen.gaps]
        told = [event for event in scene.events if isinstance(event, LeftOut)]
        assert [event.gaps for event in told] == ([seen.gaps] if seen.gaps else [])
        cut += bool(seen.gaps)
        summaries += seen.summary_at is not None
        if pinned and number >= 2:
            hidden = {m.id for m in path for begin, end in seen.gaps if begin <= m.id < end}
            assert path[2].id not in hidden and path[3].id not in hidden
    assert (refused > 0) == (policy == "stop")
    assert (cut > 1) == (policy != "stop")
    assert (summaries > 0) == (policy == "summarise")


async def test_an_edited_summary_is_what_the_model_reads(scene: Scene) -> None:
    keep(scene, "summarise")
    for number in range(5):
        await scene.say(question(number))
    at = window.recorded(scene.path()).summary_at
    assert at is not None and scene.store.message(at).summary
    scene.store.mark_message(at, summary="the alpaca is here")
    measure = await scene.measure("and?")
    assert measure is not None and not measure.about
    await scene.say("and?")
    path = scene.path()
    seen = window.recorded(path)
    assert seen.summary_at == at
    assert scene.engine.sent[-1] == await scene.ids(path[:-1], seen)
    assert measure.tokens == len(scene.engine.sent[-1])


async def test_the_meter_never_loads_a_model(scene: Scene) -> None:
    keep(scene, "drop")
    measure = await scene.measure("How much would this be?")
    assert measure is not None and measure.about and measure.n_ctx == 512
    assert scene.engine.loaded_specs == [] and scene.engine.sent == []
    await scene.say("How much was this?")
    counted = await scene.measure("And this?")
    assert counted is not None and not counted.about
    assert len(scene.engine.sent) == 1


@pytest.mark.parametrize("rope", ["linear", "yarn"])
async def test_a_stretched_window_is_loaded_and_read_to_its_end(
    engine: Engine, tmp_path: Path, rope: str
) -> None:
    path = tiny_llama(tmp_path / "tiny.gguf", context=512)
    prompt = [1, *(300 + n % 50 for n in range(900))]
    usual = await load(engine, path, n_ctx=512)
    assert usual.n_ctx == 512
    short, _ = await answer(engine, prompt[:100], GREEDY, max_tokens=8)
    loaded = await load(
        engine, path, n_ctx=1024, rope_scaling=rope, rope_freq_scale=0.5, n_seq_max=1
    )
    assert loaded.n_ctx == 1024
    text, finished = await answer(engine, prompt, GREEDY, max_tokens=8)
    assert finished.usage.prompt_tokens == 901 and finished.usage.completion_tokens > 0
    other, _ = await answer(engine, prompt[:100], GREEDY, max_tokens=8)
    assert other != short or text != short, "positions are squeezed"
