"""Getting a model into memory: room, the way down, crashes, and a person's numbers for a model."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.limited import limited
from tests.support.scripted_engine import ScriptedEngine

from corral.chat.conversation import Conversation
from corral.chatting import Chatting, Event, Finished, Notice, Options, Turn, Working
from corral.engine.engine import Engine, OutOfMemory
from corral.engine.process import WorkerEnded
from corral.engine.protocol import Device, LoadSpec
from corral.errors import CorralError, DoesNotFit, EngineError, Refused, UsageError
from corral.loading.memo import LoadMemo
from corral.loading.pace import Pace
from corral.models.catalog import Catalog, find_catalogue
from corral.models.fit import memory, offload
from corral.models.fit.shape import Shape
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.settings import Settings
from corral.store.store import Store

KILLED = OutOfMemory("Memory ran out while the model was loaded", killed=True)
REFUSED = OutOfMemory("Memory ran out while the model was loaded")
CRASHED = WorkerEnded("The engine stopped in the middle: it crashed", code=-11)


@dataclass
class Halving:
    """Knows one way down: half the context."""

    learned: list[str] = field(default_factory=list)
    broken: bool = False
    layers: list[int] = field(default_factory=list)
    """What fits on the card, plan for plan; nothing more to say plans as it is."""

    def plan_load(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Any
    ) -> LoadSpec:
        return spec.model_copy(update={"n_gpu_layers": self.layers.pop(0)}) if self.layers else spec

    def ladder(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Any
    ) -> Iterator[Any]:
        n_ctx = spec.n_ctx // 2
        while n_ctx >= 512:
            yield SimpleNamespace(spec=spec.model_copy(update={"n_ctx": n_ctx}))
            n_ctx //= 2

    def learn(self, model: LocalModel, header: Header, loaded: Any, finished: Any) -> None:
        if self.broken:
            raise RuntimeError("a bug")
        self.learned.append(model.name)


@dataclass
class Scene:
    store: Store
    library: Library
    engine: ScriptedEngine
    fitter: Halving
    conversation: Conversation

    def chatting(self, fitter: bool = True) -> Chatting:
        """As after a start of the program."""
        self.engine._warm.clear()
        return Chatting(
            self.store,
            self.library,
            self.engine,
            Settings(),
            fitter=self.fitter if fitter else None,
        )

    async def ask(self, chatting: Chatting, options: Options = Options()) -> list[Event]:
        return await run(chatting.send(self.conversation.id, "Hello", options))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    yield Scene(store, library, ScriptedEngine(), Halving(), store.create_conversation())
    store.close()


async def run(turn: Turn) -> list[Event]:
    return [event async for event in turn]


def finished(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def notices(events: Sequence[Event]) -> list[Notice]:
    return [event for event in events if isinstance(event, Notice)]


def contexts(engine: ScriptedEngine) -> list[int]:
    return [spec.n_ctx for spec in engine.loads]


# --- the way down -------------------------------------------------------------------------------


async def test_every_failure_is_one_step_down_and_is_said(scene: Scene) -> None:
    scene.engine.load_errors = [REFUSED, REFUSED]
    chatting = scene.chatting()
    events = await scene.ask(chatting)
    assert finished(events).error is None
    assert contexts(scene.engine) == [4096, 2048, 1024]
    said = notices(events)
    assert len(said) == 2
    assert "2\u202f048 tokens of context instead of 4\u202f096" in said[0].text
    assert "Memory ran out" in said[0].text and "1\u202f024" in said[1].text
    # The next turn uses what there is, without another try.
    events = await scene.ask(chatting)
    assert finished(events).error is None and notices(events) == []
    assert len(scene.engine.loads) == 3


async def test_what_a_person_asked_for_is_changed_only_after_a_failure(scene: Scene) -> None:
    scene.engine.load_errors = [REFUSED]
    chatting = scene.chatting()
    events = await scene.ask(chatting, Options(parameters={"n_ctx": 3072}))
    assert contexts(scene.engine) == [3072, 1536] and len(notices(events)) == 1


async def test_at_the_bottom_the_first_error_is_told(scene: Scene) -> None:
    scene.engine.load_errors = [REFUSED] * 9
    events = await scene.ask(scene.chatting())
    assert finished(events).error is REFUSED
    assert contexts(scene.engine) == [4096, 2048, 1024, 512]


async def test_without_a_fitter_a_failure_is_a_failure(scene: Scene) -> None:
    scene.engine.load_errors = [REFUSED]
    events = await scene.ask(scene.chatting(fitter=False))
    assert finished(events).error is REFUSED and notices(events) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a worker takes")
async def test_a_real_allocation_that_fails_is_stepped_down(scene: Scene, tmp_path: Path) -> None:
    wide = {"n_ctx": 1024, "type_k": "f32", "type_v": "f32", "max_tokens": 2, "threads": 1}
    log = tmp_path / "engine.log"
    engine = Engine(log)
    chatting = Chatting(scene.store, scene.library, engine, Settings())
    assert finished(await scene.ask(chatting, Options(parameters=wide))).error is None
    status = Path(f"/proc/{engine.pid}/status").read_text()
    peak = 1024 * int(status.partition("VmPeak:")[2].split()[0])
    await engine.close()
    # A cache of 8,192 tokens takes 330 MB more than one of 1,024, one of 2,048 only 47 MB.
    engine = Engine(log, command=lambda: limited(peak + 80_000_000))
    chatting = Chatting(scene.store, scene.library, engine, Settings(), fitter=scene.fitter)
    events = await scene.ask(chatting, Options(parameters={**wide, "n_ctx": 8192}))
    await engine.close()
    assert finished(events).error is None, finished(events).error
    made_by = finished(events).message.model
    assert made_by is not None and made_by["n_ctx"] in (1024, 2048)
    assert all("Memory ran out" in said.text for said in notices(events))
    assert len(notices(events)) in (2, 3)


def limit(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: free)


def need(scene: Scene, n_ctx: int, n_ubatch: int = 256) -> int:
    """Bytes; a processor takes steps of 256 tokens."""
    header = scene.library.header(scene.library.resolve(None))
    return memory.memory_needed(header, n_ctx, n_ubatch=n_ubatch).total


async def test_what_is_known_not_to_fit_is_stepped_down_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, need(scene, 1024))
    events = await scene.ask(scene.chatting())
    assert finished(events).error is None
    assert contexts(scene.engine) == [1024]
    (said,) = notices(events)
    assert (
        "1\u202f024 tokens of context instead of 4\u202f096" in said.text
        and "are free" in said.text
    )


async def test_a_model_named_again_is_not_left_a_step_lower(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatting = scene.chatting()
    limit(monkeypatch, need(scene, 1024))
    named = Options(model="smollm2-135m-instruct")
    for _ in range(2):
        assert len(notices(await scene.ask(chatting, named))) == 1
    assert contexts(scene.engine) == [1024]  # Still no room: what is there is used.
    limit(monkeypatch, need(scene, 4096))
    assert notices(await scene.ask(chatting)) == []
    assert contexts(scene.engine) == [1024]
    assert notices(await scene.ask(chatting, named)) == []
    assert contexts(scene.engine) == [1024, 4096]


class Layered(Halving):
    """The real way down, and what fits on the card."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self._fits = fits

    def plan_load(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Any
    ) -> LoadSpec:
        layers = self._fits if spec.n_gpu_layers < 0 else spec.n_gpu_layers
        return spec.model_copy(update={"n_gpu_layers": layers})

    def ladder(self, model: LocalModel, header: Header, spec: LoadSpec, machine: Any) -> Any:
        yield from offload.ladder(Shape.of_header(header), spec, machine)


async def test_less_context_leaves_the_layers_where_they_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.engine.cards = [
        Device(name="CUDA0", description="", kind="gpu", memory_free=1, memory_total=2)
    ]
    scene.fitter = Layered(20)
    limit(monkeypatch, need(scene, 2048, 512))
    # Known not to fit, and then it does not even in the smaller size.
    scene.engine.load_errors = [REFUSED]
    events = await scene.ask(scene.chatting())
    assert finished(events).error is None
    loads = [(spec.n_ctx, spec.n_gpu_layers) for spec in scene.engine.loads]
    assert loads == [(2048, 20), (2048, 15)]
    assert "15 layers on the GPU instead of 20" in notices(events)[-1].text


async def test_another_context_is_planned_without_the_one_it_replaces(scene: Scene) -> None:
    scene.engine.cards = [
        Device(name="CUDA0", description="", kind="gpu", memory_free=1, memory_total=2)
    ]
    seen: list[list[LoadSpec]] = []
    plan_load = scene.fitter.plan_load

    def planned(model: LocalModel, header: Header, spec: LoadSpec, machine: Any) -> LoadSpec:
        seen.append(scene.engine.loaded_specs)
        return plan_load(model, header, spec, machine)

    scene.fitter.plan_load = planned  # type: ignore[method-assign]
    chatting = scene.chatting()
    await scene.ask(chatting)
    await scene.ask(chatting, Options(parameters={"n_ctx": 2048}))
    assert contexts(scene.engine) == [4096, 2048] and seen == [[], []]


async def test_what_was_asked_for_and_does_not_fit_is_refused_with_a_hint(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, need(scene, 1024))
    events = await scene.ask(scene.chatting(), Options(parameters={"n_ctx": 4096}))
    error = finished(events).error
    assert isinstance(error, DoesNotFit) and "would fit" in error.hint
    assert scene.engine.loads == []


async def test_a_smaller_file_of_the_family_is_the_last_step(
    scene: Scene, tmp_path: Path, starter: Path, q8: Path
) -> None:
    """The starter's family, once as Q8_0 and once as Q4_1 in files of the person's."""
    big = scene.library.import_file(Path(shutil.copy(q8, tmp_path / "big.gguf")))
    family = scene.library.resolve("smollm2-135m-instruct").family
    scene.library = WithFamily(scene.library, big.path or "", family)
    scene.engine.load_errors = [REFUSED] * 4
    chatting = scene.chatting()
    events = await scene.ask(chatting, Options(model=big.name))
    answer = finished(events)
    assert answer.error is None and answer.message.model is not None
    assert answer.message.model["name"] == "smollm2-135m-instruct"
    assert "instead of big" in notices(events)[-1].text
    assert chatting.in_memory() == ["smollm2-135m-instruct"]


class WithFamily(Library):
    """A library that knows of what family a file is."""

    def __init__(self, library: Library, path: str, family: Any) -> None:
        self.__dict__ |= library.__dict__
        self._theirs = path, family

    def resolve(self, name: str | None, *, default: str | None = None) -> LocalModel:
        return self._told(super().resolve(name, default=default))

    def models(self, all: bool = False) -> list[LocalModel]:
        return [self._told(model) for model in super().models(all)]

    def _told(self, model: LocalModel) -> LocalModel:
        path, family = self._theirs
        return replace(model, family=family, format="chatml") if model.path == path else model


# --- crashes ------------------------------------------------------------------------------------


async def test_what_crashed_is_not_loaded_again_by_itself(scene: Scene) -> None:
    scene.engine.load_errors = [CRASHED]
    assert isinstance(finished(await scene.ask(scene.chatting())).error, EngineError)
    error = finished(await scene.ask(scene.chatting())).error
    assert error is not None and error.title == "Not loaded again"
    assert "it crashed" in error.message and "to try anyway" in error.hint
    assert len(scene.engine.loads) == 1
    # Another context is another way to load it, and naming the model is the wish to try again.
    other = Options(parameters={"n_ctx": 512})
    assert finished(await scene.ask(scene.chatting(), other)).error is None
    named = Options(model="smollm2-135m-instruct")
    assert finished(await scene.ask(scene.chatting(), named)).error is None
    assert finished(await scene.ask(scene.chatting())).error is None


async def test_what_ended_for_memory_starts_a_step_lower_the_next_time(scene: Scene) -> None:
    scene.engine.load_errors = [KILLED]
    assert finished(await scene.ask(scene.chatting())).error is None
    events = await scene.ask(scene.chatting())
    assert finished(events).error is None
    assert contexts(scene.engine) == [4096, 2048, 2048]
    assert "the last time" in notices(events)[0].text
    error = finished(await scene.ask(scene.chatting(fitter=False))).error
    assert error is not None and error.title == "Not loaded again"


async def test_every_way_that_ended_for_memory_is_left_out_the_next_time(scene: Scene) -> None:
    scene.engine.load_errors = [KILLED, KILLED]
    assert finished(await scene.ask(scene.chatting())).error is None
    assert finished(await scene.ask(scene.chatting())).error is None
    assert contexts(scene.engine) == [4096, 2048, 1024, 1024]
    # Where none is left, the error says how to try again. Naming the model is the wish to.
    scene.engine.load_errors = [KILLED] * 9
    assert finished(await scene.ask(scene.chatting())).error is not None
    tried = len(scene.engine.loads)
    error = finished(await scene.ask(scene.chatting())).error
    assert isinstance(error, OutOfMemory) and "to try anyway" in error.hint
    assert len(scene.engine.loads) == tried
    scene.engine.load_errors = []
    named = Options(model="smollm2-135m-instruct")
    assert finished(await scene.ask(scene.chatting(), named)).error is None
    assert contexts(scene.engine)[-1] == 4096


async def test_a_crash_counts_however_many_layers_fit_the_next_time(scene: Scene) -> None:
    scene.engine.load_errors = [CRASHED]
    scene.engine.cards = [
        Device(name="CUDA0", description="", kind="gpu", memory_free=1, memory_total=2)
    ]
    scene.fitter.layers = [20]
    assert isinstance(finished(await scene.ask(scene.chatting())).error, EngineError)
    scene.fitter.layers = [19]
    error = finished(await scene.ask(scene.chatting())).error
    assert error is not None and error.title == "Not loaded again"
    assert [spec.n_gpu_layers for spec in scene.engine.loads] == [20]


async def test_a_crash_of_another_file_under_the_same_name_does_not_count(
    scene: Scene, tmp_path: Path, starter: Path
) -> None:
    path = Path(shutil.copy(starter, tmp_path / "mine.gguf"))
    scene.store.update_conversation(scene.conversation.id, model=str(path))
    scene.engine.load_errors = [CRASHED]
    assert finished(await scene.ask(scene.chatting())).error is not None
    os.utime(path, (1, 1))
    assert finished(await scene.ask(scene.chatting())).error is None


# --- files that change ----------------------------------------------------------------------------


async def test_a_file_replaced_while_it_is_in_memory_is_said_once(
    scene: Scene, tmp_path: Path, starter: Path, q8: Path
) -> None:
    path = Path(shutil.copy(starter, tmp_path / "mine.gguf"))
    scene.store.update_conversation(scene.conversation.id, model=str(path))
    chatting = scene.chatting()
    assert finished(await scene.ask(chatting)).error is None
    fresh = Path(shutil.copy(q8, tmp_path / "fresh"))
    fresh.replace(path)
    error = finished(await scene.ask(chatting)).error
    assert isinstance(error, Refused) and "changed while it was in memory" in error.message
    assert chatting.in_memory() == []
    assert finished(await scene.ask(chatting)).error is None


async def test_an_imported_file_that_was_replaced_is_never_used_under_its_name(
    scene: Scene, tmp_path: Path, starter: Path
) -> None:
    path = Path(shutil.copy(starter, tmp_path / "mine.gguf"))
    model = scene.library.import_file(path, name="mine")
    scene.store.update_conversation(scene.conversation.id, model=model.name)
    chatting = scene.chatting()
    assert finished(await scene.ask(chatting)).error is None
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        error = finished(await scene.ask(chatting)).error
        assert isinstance(error, Refused) and "damaged" in error.message
    assert len(scene.engine.loads) == 1
    assert chatting.in_memory() == []


async def test_a_file_that_vanished_is_told_and_leaves_memory(
    scene: Scene, tmp_path: Path, starter: Path
) -> None:
    path = Path(shutil.copy(starter, tmp_path / "mine.gguf"))
    model = scene.library.import_file(path, name="mine")
    scene.store.update_conversation(scene.conversation.id, model=model.name)
    chatting = scene.chatting()
    assert finished(await scene.ask(chatting)).error is None
    path.unlink()
    error = finished(await scene.ask(chatting)).error
    assert error is not None and "gone" in error.message
    assert chatting.model is None and chatting.in_memory() == []


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps files that are in use")
async def test_a_file_cut_while_it_is_in_use(scene: Scene, tmp_path: Path, starter: Path) -> None:
    path = Path(shutil.copy(starter, tmp_path / "mine.gguf"))
    scene.store.update_conversation(scene.conversation.id, model=str(path))
    engine = Engine(tmp_path / "engine.log")
    chatting = Chatting(scene.store, scene.library, engine, Settings())
    assert finished(await scene.ask(chatting, Options(parameters={"max_tokens": 2}))).error is None
    os.truncate(path, 4096)
    error = finished(await scene.ask(chatting)).error
    assert isinstance(error, CorralError)
    assert chatting.in_memory() == []
    # Another one answers.
    other = Options(model="smollm2-135m-instruct", parameters={"max_tokens": 2})
    assert finished(await scene.ask(chatting, other)).error is None
    await engine.close()


# --- what is remembered ---------------------------------------------------------------------------


async def test_load_parameters_belong_to_a_model(scene: Scene) -> None:
    chatting = scene.chatting()
    model = scene.library.resolve(None)
    chatting.load_memo.set_parameters(model, {"n_ctx": 1024, "type_k": "q8_0", "threads": 2})
    await scene.ask(chatting)
    assert (scene.engine.loads[-1].n_ctx, scene.engine.loads[-1].type_k) == (1024, "q8_0")
    # What the conversation says counts more.
    scene.store.update_conversation(scene.conversation.id, parameters={"n_ctx": 2048})
    await scene.ask(chatting)
    assert (scene.engine.loads[-1].n_ctx, scene.engine.loads[-1].threads) == (2048, 2)
    chatting.load_memo.set_parameters(model, {"n_ctx": None, "type_k": None})
    assert chatting.load_memo.parameters(model) == {"threads": 2}


@pytest.mark.parametrize("values", [{"n_ctx": -1}, {"path": "/x"}, {"temperature": 1}])
def test_only_load_parameters_are_remembered(scene: Scene, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LoadMemo(scene.store).set_parameters(scene.library.resolve(None), values)


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"n_ctx": "x"}', '{"unknown": 1}'])
def test_notes_that_make_no_sense_are_no_notes(scene: Scene, text: str) -> None:
    model = scene.library.resolve(None)
    scene.store.remember(f"load-parameters:{model.path}", text)
    scene.store.remember(f"load-crash:{model.path}", text)
    scene.store.remember("load-rate", text)
    memo = LoadMemo(scene.store)
    assert memo.parameters(model) == {} and memo.rate() is None
    assert memo.crash(LoadSpec(path=model.path or "")) is None


def test_the_time_left_is_told_from_what_is_known() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0], 1000, 100.0)
    assert pace.working(0.0) == Working("loading", 0.0, 1.0, 10.0)
    now[0] = 4.0
    assert pace.working(0.0).eta == 6.0
    assert pace.working(0.25).eta == 12.0
    # Mapping runs ahead of reading: what the disk did the last time is the least it takes.
    assert pace.working(1.0).eta == 6.0
    unknown = Pace(lambda: now[0], 1000, None)
    assert unknown.working(0.0).eta is None and unknown.rate() is None
    now[0] = 6.0
    assert unknown.working(0.5).eta == 2.0 and unknown.rate() == 500.0


async def test_every_run_is_told_to_the_fitter(scene: Scene) -> None:
    await scene.ask(scene.chatting())
    assert scene.fitter.learned == ["smollm2-135m-instruct"]
    scene.fitter.broken = True
    assert finished(await scene.ask(scene.chatting())).error is None


# --- room ---------------------------------------------------------------------------------------


async def test_the_least_recently_used_goes_first_and_only_as_many_as_must(
    scene: Scene, tmp_path: Path, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for name in ("one", "two", "three", "four"):
        path = Path(shutil.copy(starter, tmp_path / f"{name}.gguf"))
        names.append(scene.library.import_file(path, name=name).name)
    one, two, three, four = names
    needed = need(scene, 4096)
    scene.engine.private_bytes = needed
    chatting = scene.chatting()

    async def use(name: str, free: int) -> list[str]:
        # As much as the models in memory leave of a machine with so much.
        limit(monkeypatch, free - needed * len(scene.engine.loaded_specs))
        assert finished(await scene.ask(chatting, Options(model=name))).error is None
        return chatting.in_memory()

    room_for_three = 3 * needed + 1000
    assert await use(one, room_for_three) == [one]
    assert await use(two, room_for_three) == [two, one]
    assert await use(three, room_for_three) == [three, two, one]
    assert await use(one, room_for_three) == [one, three, two]
    assert await use(four, room_for_three) == [four, one, three]
    # It fits only alone: all others go, the current one too.
    assert await use(two, needed + 1000) == [two]


async def test_layers_on_the_card_are_worth_more_than_warm_models(
    scene: Scene, tmp_path: Path, starter: Path
) -> None:
    chatting = scene.chatting()
    scene.engine.cards = [
        Device(name="CUDA0", description="", kind="gpu", memory_free=1, memory_total=2)
    ]
    for name in ("one", "two", "three"):
        path = Path(shutil.copy(starter, tmp_path / f"{name}.gguf"))
        scene.library.import_file(path, name=name)
        await scene.ask(chatting, Options(model=name))
    # Beside three models 12 layers fit, beside two all of them.
    scene.fitter.layers = [12, 31]
    starting = Options(model="smollm2-135m-instruct")
    assert finished(await scene.ask(chatting, starting)).error is None
    assert chatting.in_memory() == ["smollm2-135m-instruct", "three", "two"]
    assert scene.engine.loads[-1].n_gpu_layers == 31
    # It is planned once, not for every turn.
    scene.fitter.layers = [7]
    await scene.ask(chatting, starting)
    assert len(scene.engine.loads) == 4


async def test_a_stop_while_a_file_is_read_is_obeyed(scene: Scene, tmp_path: Path) -> None:
    turn = scene.chatting().send(scene.conversation.id, "Hello")
    turn.stop()
    async with asyncio.timeout(20):
        assert finished(await run(turn)).message.status == "stopped"
