"""Which draft model is loaded beside a model: by name, by itself, or none; and at what pace."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.gguf_files import Shape, sparse_llama
from tests.support.scripted_engine import ScriptedEngine

from corral.chat.conversation import Conversation
from corral.chatting import Chatting, Event, Finished, Notice, Options
from corral.engine.engine import OutOfMemory
from corral.engine.process import WorkerEnded
from corral.engine.protocol import Device, Loaded, LoadSpec, Progress
from corral.errors import NotFound, UsageError
from corral.loading import ahead, drafts
from corral.loading.room import reading_ahead
from corral.models.catalog import Catalog, find_catalogue
from corral.models.fit import memory
from corral.models.fit.fitter import Fitter
from corral.models.library.library import Library
from corral.settings import EngineSettings, Settings
from corral.store.store import Store

BIG = Shape(4, 1024, 8, 8, 2048)
SMALL = Shape(2, 256, 4, 4, 512)
STARTER = "smollm2-135m-instruct"


@dataclass
class Scene:
    store: Store
    library: Library
    engine: ScriptedEngine
    conversation: Conversation
    battery: list[bool] = field(default_factory=lambda: [False])

    def chatting(self, **engine: object) -> Chatting:
        """As after a start of the program."""
        self.engine._warm.clear()
        settings = Settings(engine=EngineSettings.model_validate(engine))
        fitter = Fitter(self.library.catalog, self.store)
        chatting = Chatting(self.store, self.library, self.engine, settings, fitter=fitter)
        chatting.planner._on_battery = lambda: self.battery[0]
        return chatting

    async def ask(self, chatting: Chatting, model: str | None = None) -> list[Event]:
        options = Options(model=model)
        events = [e async for e in chatting.send(self.conversation.id, "Hello", options)]
        assert isinstance(events[-1], Finished) and events[-1].error is None, events[-1]
        return events

    @property
    def loaded(self) -> list[str]:
        """Names of the draft models of all loads."""
        return [Path(spec.draft).stem for spec in self.engine.loads]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history that knows both files: reading 200 MB takes a while."""
    folder = tmp_path_factory.mktemp("drafts")
    store = Store.open(folder / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    sparse_llama(folder / "big.gguf", BIG, "F16")
    sparse_llama(folder / "small.gguf", SMALL, "Q4_0")
    for name in ("small", "big"):
        library.import_file(folder / f"{name}.gguf", name=name)
        library.set_format(folder / f"{name}.gguf", "llama-2")
    store.close()
    return folder / "corral.db"


@pytest.fixture
def scene(imported: Path, tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(Path(shutil.copy(imported, tmp_path)))
    library = Library(store, Catalog.load(find_catalogue()))
    conversation = store.create_conversation(model="big")
    yield Scene(store, library, ScriptedEngine(layers=BIG.n_layer + 1), conversation)
    store.close()


def notices(events: list[Event]) -> list[Notice]:
    return [event for event in events if isinstance(event, Notice)]


def card(free: int, name: str = "CUDA0") -> list[Device]:
    return [Device(name=name, description="", kind="gpu", memory_free=free, memory_total=free)]


ROOMY = card(8 << 30)

# --- by name ------------------------------------------------------------------------------------


def test_a_name_in_the_settings_becomes_a_path(scene: Scene) -> None:
    plan = scene.chatting(draft="small").planner.plan(scene.conversation, Options())
    small = scene.library.resolve("small")
    assert plan.spec.draft == small.path and plan.draft == scene.library.header(small)
    assert plan.asked == frozenset() and not plan.draft_refused
    for setting in ("off", "auto", "big"):
        plan = scene.chatting(draft=setting).planner.plan(scene.conversation, Options())
        assert (plan.spec.draft, plan.draft, plan.draft_refused) == ("", None, "")


async def test_one_with_another_vocabulary_is_told_once_and_the_model_answers(
    scene: Scene,
) -> None:
    for name in (STARTER, "no-such-model"):
        chatting = scene.chatting(draft=name)
        (said,) = notices(await scene.ask(chatting))
        assert "not used" in said.title and name in said.text
        assert notices(await scene.ask(chatting)) == []
    assert scene.loaded == ["", ""]


def test_one_that_was_named_for_this_conversation_has_to_suit(scene: Scene) -> None:
    planner = scene.chatting().planner
    with pytest.raises(UsageError, match="cannot guess ahead") as caught:
        planner.plan(scene.conversation, Options(parameters={"draft": STARTER}))
    assert caught.value.title == "Draft model refused" and "same vocabulary" in caught.value.hint
    with pytest.raises(NotFound):
        planner.plan(scene.conversation, Options(parameters={"draft": "no-such-model"}))


def test_what_is_set_for_a_model_goes_over_the_settings(scene: Scene) -> None:
    chatting = scene.chatting(draft="small")
    chatting.load_memo.set_parameters(scene.library.resolve("big"), {"draft": "off"})
    assert chatting.planner.plan(scene.conversation, Options()).spec.draft == ""
    named = Options(parameters={"draft": "small"})
    assert chatting.planner.plan(scene.conversation, named).spec.draft.endswith("small.gguf")


async def test_a_named_one_is_loaded_without_a_graphics_card_too(scene: Scene) -> None:
    chatting = scene.chatting(draft="small")
    await scene.ask(chatting)
    await scene.ask(chatting)
    assert scene.loaded == ["small"]


# --- by itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cards", "wanted"),
    [([], ""), (ROOMY, "small"), (card(1 << 20), ""), (card((1 << 30) + 230_000_000), "")],
    ids=["a processor", "room for both", "no room", "room for the model alone"],
)
async def test_one_is_taken_where_it_pays(scene: Scene, cards: list[Device], wanted: str) -> None:
    scene.engine.cards = cards
    chatting = scene.chatting(n_ctx=512)
    events = await scene.ask(chatting)
    assert scene.loaded == [wanted] and notices(events) == []
    # Neither the next turn nor choosing it once more loads it again.
    await scene.ask(chatting)
    await scene.ask(chatting, "big")
    assert scene.loaded == [wanted]


async def test_one_that_comes_later_waits_for_the_next_load(scene: Scene) -> None:
    scene.engine.cards = ROOMY
    small = scene.library.resolve("small")
    scene.library.forget(small.path or "")
    chatting = scene.chatting()
    await scene.ask(chatting)
    scene.library.import_file(Path(small.path or ""), name="small")
    await scene.ask(chatting)
    assert scene.loaded == [""]
    await scene.ask(scene.chatting())
    assert scene.loaded == ["", "small"]


async def test_only_a_much_smaller_one_is_ahead(scene: Scene, tmp_path: Path) -> None:
    sparse_llama(tmp_path / "half.gguf", Shape(4, 512, 8, 8, 2048), "F16")
    scene.library.import_file(tmp_path / "half.gguf", name="half")
    big, header = (model := scene.library.resolve("big")), scene.library.header(model)
    half = scene.library.resolve("half")
    assert drafts.SHARE * half.bytes > big.bytes
    found = drafts.best(scene.library, big, header, lambda target, draft: "")
    assert found is not None and found[0].name == "small"
    assert drafts.best(scene.library, big, header, lambda target, draft: "another") is None


async def test_what_the_worker_says_of_it_is_told(scene: Scene) -> None:
    class Refusing(ScriptedEngine):
        async def load(self, spec: LoadSpec) -> AsyncGenerator[Progress | Loaded, None]:
            async for event in super().load(spec):
                refused = {"draft_refused": "its token 7 is “x”, not “y”"}
                yield event.model_copy(update=refused) if isinstance(event, Loaded) else event

    scene.engine = Refusing()
    chatting = scene.chatting(draft="small")
    (said,) = notices(await scene.ask(chatting))
    assert said.text == "small cannot guess ahead: its token 7 is “x”, not “y”"
    assert notices(await scene.ask(chatting)) == []


# --- memory -------------------------------------------------------------------------------------


def limit(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: free)


def needed(scene: Scene, n_ubatch: int = 256) -> tuple[int, int]:
    """Bytes of the model alone, and with its draft model."""
    headers = [scene.library.header(scene.library.resolve(name)) for name in ("big", "small")]
    alone = memory.memory_needed(headers[0], 4096, n_ubatch=n_ubatch)
    both = memory.memory_needed(headers[0], 4096, n_ubatch=n_ubatch, draft=headers[1])
    draft = memory.draft_bytes(headers[1], 4096, n_ubatch=n_ubatch)
    assert both.total - alone.total == both.draft == draft
    return alone.total, both.total


async def test_where_memory_is_short_it_goes_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, both = needed(scene)
    limit(monkeypatch, both - 1)
    (said,) = notices(await scene.ask(scene.chatting(draft="small")))
    assert said.text.startswith("no draft model: big and its draft model") and "need" in said.text
    assert scene.loaded == [""] and scene.engine.loads[0].n_ctx == 4096
    limit(monkeypatch, both)
    await scene.ask(scene.chatting(draft="small"))
    assert scene.loaded == ["", "small"]
    # Too little for either: the context gets shorter, and it stays away.
    limit(monkeypatch, alone - 1)
    events = await scene.ask(scene.chatting(draft="small"))
    assert scene.loaded[2:] == [""] and scene.engine.loads[2].n_ctx == 2048
    assert notices(events)[0].text.startswith("no draft model")


async def test_where_memory_runs_out_all_the_same_it_goes_first_too(scene: Scene) -> None:
    scene.engine.load_errors = [OutOfMemory("Memory ran out while the model was loaded")]
    (said,) = notices(await scene.ask(scene.chatting(draft="small")))
    assert said.text == "no draft model: Memory ran out while the model was loaded"
    assert scene.loaded == ["small", ""]


async def test_one_that_nobody_named_stays_away_where_memory_ran_out(scene: Scene) -> None:
    scene.engine.cards = ROOMY
    scene.engine.load_errors = [OutOfMemory("The card's memory ran out")]
    (said,) = notices(await scene.ask(scene.chatting()))
    assert said.text == "no draft model: The card's memory ran out"
    assert scene.loaded == ["small", ""]


async def test_one_that_nobody_named_lets_no_other_model_go(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.engine.cards = ROOMY
    _, both = needed(scene)
    limit(monkeypatch, both - 1)
    assert notices(await scene.ask(scene.chatting())) == []
    assert scene.loaded == [""]


@pytest.mark.parametrize("cards", [ROOMY, [*ROOMY, *card(2 << 30, "CUDA1")]], ids=["one", "two"])
async def test_one_that_crashes_and_that_nobody_named_is_left_out_from_then_on(
    scene: Scene, cards: list[Device]
) -> None:
    scene.engine.cards = cards
    scene.engine.load_errors = [WorkerEnded("The engine stopped in the middle: crash", code=-6)]
    (said,) = notices(await scene.ask(scene.chatting()))
    assert said.title == "The draft model is not used" and "crash" in said.text
    assert scene.loaded == ["small", ""]
    assert notices(await scene.ask(scene.chatting())) == []
    assert scene.loaded == ["small", "", ""]


def test_both_files_are_read_while_the_worker_starts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "is_cached", lambda descriptor, size: False)
    planner = scene.chatting(draft="small").planner
    plan = planner.plan(scene.conversation, Options())
    _, both = needed(scene, plan.spec.n_ubatch)
    limit(monkeypatch, both)
    with reading_ahead(plan) as reading:
        assert reading is not None and reading.join(30)
    sizes = (scene.library.resolve(name).bytes for name in ("big", "small"))
    assert reading.asked == sum(sizes)
    # What does not fit would push itself out again.
    limit(monkeypatch, both - 1)
    with reading_ahead(plan) as reading:
        assert reading is None
    limit(monkeypatch, both)
    unbuffered = Options(parameters={"load_mode": "direct_io"})
    with reading_ahead(planner.plan(scene.conversation, unbuffered)) as reading:
        assert reading is None


# --- pace and other numbers -----------------------------------------------------------------------


async def test_going_on_battery_loads_nothing_again(scene: Scene) -> None:
    chatting = scene.chatting()
    await scene.ask(chatting)
    scene.battery[0] = True
    assert chatting.planner.plan(scene.conversation, Options()).spec.pace == "quiet"
    await scene.ask(chatting)
    assert [spec.pace for spec in scene.engine.loads] == ["full"]
    await scene.ask(scene.chatting())
    assert [spec.pace for spec in scene.engine.loads] == ["full", "quiet"]
    # What a person asked for counts, whatever is in memory.
    for pace in ("full", "quiet"):
        chatting.settings.engine.pace = pace
        await scene.ask(chatting)
        assert scene.engine.loads[-1].pace == pace


@pytest.mark.parametrize("name", ["threads", "threads_batch"])
def test_numbers_of_threads_that_make_no_sense_are_refused(scene: Scene, name: str) -> None:
    planner = scene.chatting().planner
    for number in (10_000, -1):
        with pytest.raises(UsageError, match=name) as caught:
            planner.plan(scene.conversation, Options(parameters={name: number}))
        assert caught.value.title == "Parameter out of range"
    plan = planner.plan(scene.conversation, Options(parameters={name: 0}))
    assert getattr(plan.spec, name) == 0  # It follows the machine's load.


@pytest.mark.parametrize(("wanted", "given"), [(1, 256), (257, 512), (1001, 1024), (4095, 4096)])
def test_a_context_of_any_size_is_rounded_up(scene: Scene, wanted: int, given: int) -> None:
    planner = scene.chatting().planner
    plan = planner.plan(scene.conversation, Options(parameters={"n_ctx": wanted}))
    assert plan.spec.n_ctx == given
