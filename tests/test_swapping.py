"""Another model in the middle of a conversation, and back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.gguf_files import LLAMA_7B, sparse_llama
from tests.support.scripted_engine import Script, ScriptedEngine

from corral.chat.conversation import Conversation, Message
from corral.chatting import Chatting, Finished, Notice, Options, Swap, Swapped, Working
from corral.engine.engine import Engine, EngineStopped, OutOfMemory
from corral.engine.process import WorkerEnded
from corral.errors import CorralError, DoesNotFit, EngineError, NotFound
from corral.loading.swap import Event
from corral.models.catalog import Catalog, find_catalogue
from corral.models.fit import memory
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.planning import Plan
from corral.settings import Settings
from corral.store.store import Store

STARTER = "smollm2-135m-instruct"
SHORT = {"max_tokens": 4, "temperature": 0}


@dataclass
class Scene:
    store: Store
    library: Library
    conversation: Conversation

    def chatting(self, engine: Engine | ScriptedEngine) -> Chatting:
        return Chatting(self.store, self.library, engine, Settings())

    async def ask(self, chatting: Chatting, text: str = "Name a colour.") -> Message:
        options = Options(parameters=SHORT, format="chatml")
        async for event in chatting.send(self.conversation.id, text, options):
            last = event
        assert isinstance(last, Finished)
        assert last.error is None, last.error
        return last.message

    async def swap(self, chatting: Chatting, name: str) -> Swapped:
        """As the screen does it: the conversation is changed after success."""
        swapped = (await events(chatting.swap(name, self.conversation)))[-1]
        assert isinstance(swapped, Swapped)
        self.store.update_conversation(self.conversation.id, model=name)
        return swapped


class Formatted(Library):
    """A library that knows the format of every file."""

    def resolve(self, name: str | None, *, default: str | None = None) -> LocalModel:
        model = super().resolve(name, default=default)
        return replace(model, format=model.format or "llama-2")


async def events(swap: Swap) -> list[Event]:
    return [event async for event in swap]


@pytest.fixture
def scene(tmp_path: Path, q8: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    library = Formatted(store, Catalog.load(find_catalogue()))
    library.import_file(q8, name="q8")
    conversation = store.create_conversation(model=STARTER)
    yield Scene(store, library, conversation)
    store.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine.log")
    yield engine
    await engine.close()


# --- with real models -----------------------------------------------------------------------------


async def test_there_and_back(scene: Scene, engine: Engine) -> None:
    chatting = scene.chatting(engine)
    first = await scene.ask(chatting)
    begun = time.perf_counter()
    there = await scene.swap(chatting, "q8")
    cold = time.perf_counter() - begun
    assert (there.warm, there.model.name) == (False, "q8")
    assert there.previous is not None and there.previous.name == STARTER
    second = await scene.ask(chatting, "Another one.")
    begun = time.perf_counter()
    back = await scene.swap(chatting, STARTER)
    warm = time.perf_counter() - begun
    print(f"cold {cold * 1000:.0f} ms, warm {warm * 1000:.1f} ms, ratio {warm / cold:.4f}")
    assert back.warm and warm < cold / 2
    assert chatting.in_memory() == [STARTER, "q8"]
    # Each answer says who made it, and what the old model had read was kept.
    third = await scene.ask(chatting, "And one more.")
    made_by = [message.model and message.model["name"] for message in (first, second, third)]
    assert made_by == [STARTER, "q8", STARTER]
    assert third.usage is not None and first.usage is not None
    assert third.usage["reused_tokens"] >= first.usage["prompt_tokens"]


async def test_a_model_that_does_not_fit_beside_the_other_takes_its_place(
    scene: Scene, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatting = scene.chatting(engine)
    await scene.ask(chatting)
    q8 = scene.library.header(scene.library.resolve("q8"))
    monkeypatch.setattr(memory, "available_memory", lambda: memory.memory_needed(q8, 4096).total)
    swapped = await scene.swap(chatting, "q8")
    assert not swapped.warm and chatting.in_memory() == ["q8"]
    # Not even alone: the one that is there stays.
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    with pytest.raises(DoesNotFit):
        await events(chatting.swap(STARTER, scene.conversation))
    assert chatting.in_memory() == ["q8"]
    assert (await scene.ask(chatting)).model is not None


@pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda n: str(n.name))
async def test_a_worker_that_dies_while_swapping_leaves_the_old_model(
    scene: Scene, engine: Engine, tmp_path: Path, number: signal.Signals
) -> None:
    chatting = scene.chatting(engine)
    await scene.ask(chatting)
    keeps = engine.pid
    sparse = sparse_llama(tmp_path / "7b.gguf", LLAMA_7B, "Q4_0")
    slow = scene.store.update_conversation(
        scene.conversation.id, parameters={"n_ctx": 256, "load_mode": "read"}
    )
    killed = number == signal.SIGKILL
    notices = 0
    with pytest.raises(OutOfMemory if killed else EngineError) as caught:
        async for event in chatting.swap(str(sparse), slow):
            notices += isinstance(event, Notice)
            if isinstance(event, Working) and 0 < event.done < 1:
                for child in psutil.Process().children():
                    if child.pid != keeps:
                        os.kill(child.pid, number)
    # Where memory ran out, what was kept warm had to go; nothing else lets go of it.
    assert notices == killed and chatting.in_memory() == ([] if killed else [STARTER])
    assert ("Memory" if killed else "crashed") in caught.value.message
    scene.store.update_conversation(scene.conversation.id, parameters={})
    answer = await scene.ask(chatting)
    assert answer.model is not None and answer.model["name"] == STARTER
    assert killed or engine.pid == keeps


async def test_a_swap_is_stopped_within_a_second_and_the_old_model_is_still_there(
    scene: Scene, engine: Engine, tmp_path: Path
) -> None:
    chatting = scene.chatting(engine)
    await scene.ask(chatting)
    keeps = engine.pid
    sparse = sparse_llama(tmp_path / "7b.gguf", LLAMA_7B, "Q4_0")
    slow = scene.store.update_conversation(
        scene.conversation.id, parameters={"n_ctx": 256, "load_mode": "read"}
    )
    chatting.load_memo.note_rate(1e9)
    swap = chatting.swap(str(sparse), slow)
    stopped = 0.0
    seen: list[Event] = []
    async with asyncio.timeout(20):
        with pytest.raises(EngineStopped):
            async for event in swap:
                seen.append(event)
                if isinstance(event, Working) and event.done > 0 and not stopped:
                    stopped = time.monotonic()
                    swap.stop()
    took = time.monotonic() - stopped
    print(f"stopped after {took * 1000:.0f} ms")
    assert took < 5 and swap.stopped
    first = seen[0]
    assert isinstance(first, Working) and first.eta == pytest.approx(3.8, abs=0.1)
    assert engine.pid == keeps and chatting.in_memory() == [STARTER]


# --- with a scripted one --------------------------------------------------------------------------


async def test_a_failed_swap_leaves_the_model_the_next_turn_uses(scene: Scene) -> None:
    engine = ScriptedEngine()
    chatting = scene.chatting(engine)
    await scene.ask(chatting)
    engine.load_errors = [WorkerEnded("The engine stopped in the middle: it crashed", code=-6)]
    with pytest.raises(CorralError, match="crashed") as caught:
        await events(chatting.swap("q8", scene.conversation))
    assert "try anyway" in caught.value.hint
    assert (await scene.ask(chatting)).status == "complete"
    assert chatting.model is not None and chatting.model.name == STARTER
    # Naming it once more is the wish to try again.
    assert (await scene.swap(chatting, "q8")).model.name == "q8"


async def test_an_unknown_name_is_refused_and_nothing_changes(scene: Scene) -> None:
    chatting = scene.chatting(ScriptedEngine())
    await scene.ask(chatting)
    with pytest.raises(NotFound):
        await events(chatting.swap("no-such-model", scene.conversation))
    assert chatting.in_memory() == [STARTER]


async def test_a_worker_starts_while_a_cold_model_is_planned_and_none_for_a_warm_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    chatting = scene.chatting(engine)
    await scene.ask(chatting)
    await scene.swap(chatting, "q8")
    before = engine.prepared
    assert before >= 2  # One for each of the two.
    await scene.swap(chatting, STARTER)
    assert engine.prepared == before
    # A file that has to be read first takes longer than the moment a plan takes else.
    began: list[int] = []
    plan = chatting.planner.plan

    def slow(*arguments: Any, **more: Any) -> Plan:
        deadline = time.monotonic() + 20
        while engine.prepared == before and time.monotonic() < deadline:
            time.sleep(0.01)
        began.append(engine.prepared)
        return plan(*arguments, **more)

    monkeypatch.setattr(chatting.planner, "plan", slow)
    await scene.swap(chatting, "q8")
    assert began == [before + 1]


async def test_a_swap_waits_for_the_running_answer(scene: Scene) -> None:
    engine = ScriptedEngine(scripts=[Script(hold_after=1)])
    chatting = scene.chatting(engine)
    turn = chatting.send(scene.conversation.id, "Hello")

    async def read() -> Finished:
        async for event in turn:
            last = event
        assert isinstance(last, Finished)
        return last

    reader = asyncio.create_task(read())
    async with asyncio.timeout(20):
        while not turn.text:
            await asyncio.sleep(0.01)
        swap = chatting.swap("q8", scene.conversation)
        swapping = asyncio.create_task(events(swap))
        while swap.working is None or swap.working.stage != "waiting":
            await asyncio.sleep(0.01)
        # One that waits can be stopped, and the answer does not notice.
        other = chatting.swap("q8", None)
        other.stop()
        with pytest.raises(EngineStopped):
            await events(other)
        assert not swapping.done() and not reader.done()
        engine.go_on()
        answer = await reader
        seen = await swapping
    assert answer.error is None and answer.message.status == "complete"
    assert seen[0] == Working("waiting") and isinstance(seen[-1], Swapped)


async def test_a_caller_that_leaves_a_swap_frees_the_engine(scene: Scene) -> None:
    engine = ScriptedEngine(scripts=[Script(hold_loading=True)])
    chatting = scene.chatting(engine)
    async with aclosing(chatting.swap("q8", None)) as swap:
        async for event in swap:
            assert isinstance(event, Working)
            if event.done > 0:
                break
    engine.scripts = []
    assert (await scene.ask(chatting)).status == "complete"


@pytest.mark.parametrize("turns_of_the_loop", range(6))
async def test_a_swap_cancelled_as_its_turn_comes_frees_the_engine(
    scene: Scene, turns_of_the_loop: int
) -> None:
    chatting = scene.chatting(ScriptedEngine())
    async with asyncio.timeout(20):
        await chatting._engine_free.acquire()
        waiting = asyncio.create_task(events(chatting.swap("q8", None)))
        await asyncio.sleep(0.02)
        chatting._engine_free.release()
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not chatting._engine_free.locked()


async def test_a_copy_under_another_path_is_another_model(scene: Scene, tmp_path: Path) -> None:
    path = shutil.copy(scene.library.resolve("q8").path or "", tmp_path / "copy.gguf")
    scene.library.import_file(Path(path), name="copy")
    chatting = scene.chatting(ScriptedEngine())
    await scene.swap(chatting, "q8")
    await scene.swap(chatting, "copy")
    assert chatting.in_memory() == ["copy", "q8"]
