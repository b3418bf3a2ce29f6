"""Several contenders for one question: who is asked when, what each says, and what fails alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.scripted_engine import Script, ScriptedEngine

from corral.chat.conversation import Conversation, Message, active_path
from corral.chatting import Chatting, Turn, Words
from corral.comparing import (
    Comparison,
    Done,
    Entry,
    Event,
    Ordered,
    Told,
    figures,
    told_order,
)
from corral.contenders import Contender, contenders, parameter_set
from corral.engine.engine import Engine
from corral.errors import CorralError, DoesNotFit, EngineDied, NotFound, UsageError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.fit import memory
from corral.models.library.library import Library
from corral.planning import Options
from corral.settings import Settings
from corral.store.store import Store

NEW = Conversation(0, "", 0.0, 0.0)
SHORT = Options(parameters={"max_tokens": 6, "temperature": 0, "n_ctx": 512})


@dataclass
class Scene:
    store: Store
    library: Library
    engine: ScriptedEngine
    chatting: Chatting
    conversation: int
    seen: list[Event] = field(default_factory=list)

    def compare(self, question: Message | str, who: Sequence[Contender], **more: Any) -> Comparison:
        return Comparison(
            self.chatting, self.store.conversation(self.conversation), question, who, **more
        )

    async def run(self, comparison: Comparison) -> list[Entry]:
        """To its end; gives the entries as they were named."""
        self.seen = [event async for event in comparison]
        return list(comparison.entries)

    @property
    def order(self) -> list[str]:
        (ordered,) = [event for event in self.seen if isinstance(event, Ordered)]
        return [entry.label for entry in ordered.entries]

    def shown(self) -> list[str]:
        conversation = self.store.conversation(self.conversation)
        path = active_path(self.store.messages(conversation.id), conversation.active)
        return [message.text for message in path]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    for name, layers in (("small", 1), ("large", 4), ("middle", 2)):
        path = tiny_llama(tmp_path / f"{name}.gguf", n_layer=layers, context=512)
        library.import_file(path, format="llama-2", name=name)
    engine = ScriptedEngine()
    chatting = Chatting(store, library, engine, Settings())
    yield Scene(store, library, engine, chatting, store.create_conversation().id)
    store.close()


def says(*texts: str) -> list[Script]:
    return [Script([text]) for text in texts]


# --- who takes part -------------------------------------------------------------------------------


def test_contenders_are_every_model_with_every_preset_and_set() -> None:
    found = contenders(["a", "b"], ["brief", "off"], [], Options(parameters={"max_tokens": 3}))
    assert [(one.options.model, one.options.preset) for one in found] == [
        ("a", "brief"),
        ("a", "off"),
        ("b", "brief"),
        ("b", "off"),
    ]
    assert all(one.options.parameters == {"max_tokens": 3} for one in found)
    two = contenders([], [], ["temperature=0", "temperature=1 max-tokens=9"], SHORT)
    assert two[1].options.parameters == {"max_tokens": 9, "temperature": 1, "n_ctx": 512}
    assert parameter_set("top_k=1 adapter='my cats.gguf:0.5' format=chatml") == Options(
        parameters={"top_k": 1}, adapters=(("my cats.gguf", 0.5),), format="chatml"
    )
    for wrong in (["a"], [], ["m"] * 13):
        with pytest.raises(UsageError):
            contenders(wrong)
    for text in ("temprature=1", "temperature", "seed=", "path=/etc/passwd", "a='b"):
        with pytest.raises(UsageError):
            parameter_set(text)


# --- how it goes ----------------------------------------------------------------------------------


async def test_the_answers_are_siblings_with_one_seed_and_the_winner_is_shown(
    scene: Scene,
) -> None:
    scene.engine.scripts = says("from small", "from middle", "from large")
    scene.engine.private_bytes = 7
    who = contenders(["large", "small", "middle"])
    comparison = scene.compare("Who?", who, draw=lambda: 77)
    large, small, middle = await scene.run(comparison)
    # None was in memory: the small ones first, whatever was named first.
    assert scene.order == ["small", "middle", "large"]
    assert [spec.path.rsplit("/", 1)[1] for spec in scene.engine.loads] == [
        "small.gguf",
        "middle.gguf",
        "large.gguf",
    ]
    assert {one.seed for one in scene.engine.samplings} == {77}
    question, *answers = scene.store.messages(scene.conversation)
    assert comparison.question == question and question.text == "Who?"
    assert [one.parent for one in answers] == [question.id] * 3
    assert [one.answer and one.answer.text for one in (large, small, middle)] == [
        "from large",
        "from small",
        "from middle",
    ]
    assert all(one.memory == 7 and not one.error for one in comparison.entries)
    assert (large.label, large.name) == ("large", "large")
    assert figures(large) == ("41.2", "1", "0.18 s", "0.0 MB", "end")
    # Nobody chose: the one that was named first. Then somebody does, and it is only shown.
    assert scene.shown() == ["Who?", "from large"]
    await comparison.show(middle)
    assert scene.shown() == ["Who?", "from middle"]
    assert len(scene.store.messages(scene.conversation)) == 4
    words = [e.event.text for e in scene.seen if isinstance(e, Told) and isinstance(e.event, Words)]
    assert words == ["from small", "from middle", "from large"]
    assert [e.entry.label for e in scene.seen if isinstance(e, Done)] == scene.order
    # The same once more: what is in memory comes first, the latest used before the others.
    scene.engine.scripts = says("1", "2", "3")
    again = scene.compare(question, contenders(["small", "middle", "large"]))
    await scene.run(again)
    assert scene.order == ["large", "middle", "small"]
    assert told_order(again.entries[:2]) == "small (in memory), then middle (in memory)"
    assert len(scene.engine.loads) == 3
    # What was shown below the question is what is shown again.
    assert scene.shown() == ["Who?", "from middle"]


async def test_parameters_presets_and_a_seed_of_ones_own_make_contenders_of_one_model(
    scene: Scene,
) -> None:
    scene.engine.scripts = says("a", "b")
    who = contenders(["small"], [], ["temperature=0 seed=5", "temperature=1"])
    entries = await scene.run(scene.compare("Who?", who))
    assert [(s.temperature, s.seed) for s in scene.engine.samplings] == [(0, 5), (1, 5)]
    assert [one.label for one in entries] == ["temperature=0 seed=5", "temperature=1"]
    assert entries[1].name == "small · temperature=1"
    assert len(scene.engine.loads) == 1
    stored = [one.parameters for one in scene.store.messages(scene.conversation)[1:]]
    assert [one and (one["seed"], one.get("temperature")) for one in stored] == [(42, 0), (42, 1)]
    scene.engine.scripts = says("c", "d")
    presets = contenders(["small"], ["brief", "off"])
    question = scene.store.messages(scene.conversation)[1]  # An answer stands for its question.
    entries = await scene.run(scene.compare(question, presets))
    assert [one.label for one in entries] == ["brief", "no preset"]
    assert len({message.parent for message in scene.store.messages(scene.conversation)[1:]}) == 1


async def test_one_that_fails_is_told_and_the_others_are_asked(scene: Scene) -> None:
    died = EngineDied("The engine was ended by SIGKILL")
    scene.engine.scripts = [
        Script(["half of", " it"], fail_after=1, error=died),
        *says("from middle"),
    ]
    scene.engine.load_errors = []
    comparison = scene.compare("Who?", contenders(["small", "middle", "large"]))
    seen: list[Event] = []
    async for event in comparison:
        seen.append(event)
        if isinstance(event, Done) and event.entry.label == "middle":
            scene.engine.load_errors = [DoesNotFit("large needs 9 GB, 1 GB is free")]
    small, middle, large = comparison.entries
    assert isinstance(small.error, EngineDied) and small.answer and small.answer.text == "half of"
    assert middle.error is None and middle.answered
    assert isinstance(large.error, DoesNotFit) and not large.answered
    stored = {one.id: one.status for one in scene.store.messages(scene.conversation)}
    assert list(stored.values()) == ["complete", "failed", "complete", "failed"]


async def test_a_question_too_long_for_one_is_sent_by_the_next(scene: Scene) -> None:
    scene.engine.n_ctx = 64
    long = "so many words " * 40
    who = contenders(["small", "middle"])
    comparison = scene.compare(long, who)
    async for event in comparison:
        if isinstance(event, Done):
            scene.engine.n_ctx = 4096
    small, middle = comparison.entries
    assert isinstance(small.error, DoesNotFit) and small.answer is None
    assert middle.answered and middle.error is None
    question, answer = scene.store.messages(scene.conversation)
    assert (question.text, answer.parent) == (long, question.id)
    assert scene.store.conversation(scene.conversation).draft == ""
    # Too long for all of them: there is no conversation with nothing in it.
    scene.engine.n_ctx = 64
    new = Comparison(scene.chatting, replace(NEW, system="Be kind"), long, who)
    assert all(isinstance(one.error, DoesNotFit) for one in await scene.run(new))
    assert len(scene.store.conversations()) == 1 and new.conversation.id == 0
    scene.engine.n_ctx = 4096
    new = Comparison(scene.chatting, replace(NEW, system="Be kind", preset="brief"), long, who)
    assert all(one.answered for one in await scene.run(new))
    stored = scene.store.conversation(new.conversation.id)
    assert (stored.system, stored.preset, stored.messages) == ("Be kind", "brief", 3)


async def test_stopping_stops_all_and_keeps_what_there_is(scene: Scene) -> None:
    scene.engine.scripts = [Script(["so ", "far"], hold_after=1)]
    comparison = scene.compare("Who?", contenders(["small", "middle"]))
    async for event in comparison:
        if isinstance(event, Told) and isinstance(event.event, Words):
            comparison.stop()
    small, middle = comparison.entries
    assert small.answer is not None and (small.answer.text, small.answer.status) == (
        "so ",
        "stopped",
    )
    assert (middle.answer, middle.error) == (None, None)
    assert len(scene.engine.loads) == 1 and scene.chatting.running == {}
    early = scene.compare("Again?", contenders(["small", "middle"]))
    early.stop()
    assert await scene.run(early) == []
    assert len(scene.store.messages(scene.conversation)) == 2


async def test_stopped_while_it_is_planned_names_nobody(scene: Scene) -> None:
    comparison = scene.compare("Who?", contenders(["small", "middle"]))
    prepare, loop = comparison._prepare, asyncio.get_running_loop()

    def planned_as_it_is_stopped() -> Any:
        made = prepare()
        loop.call_soon_threadsafe(comparison.stop)
        return made

    comparison._prepare = planned_as_it_is_stopped  # type: ignore[method-assign]
    assert await scene.run(comparison) == []
    assert (
        comparison.entries == ()
        and scene.seen == []
        and scene.store.messages(scene.conversation) == []
    )


async def test_who_leaves_in_the_middle_finds_what_was_shown_before(scene: Scene) -> None:
    scene.engine.scripts = says("one", "two")
    await scene.run(scene.compare("Who?", contenders(["small", "middle"])))
    before = scene.shown()
    question = scene.store.messages(scene.conversation)[0]
    scene.engine.scripts = [Script(["so ", "far"], hold_after=1)]
    comparison = scene.compare(question, contenders(["middle", "small"]))
    async for event in comparison:
        if isinstance(event, Told) and isinstance(event.event, Words):
            break
    await comparison.aclose()
    last = scene.store.messages(scene.conversation)[-1]
    assert (last.text, last.status) == ("so ", "stopped"), "it is kept"
    assert scene.shown() == before


async def test_an_answer_that_is_begun_in_between_is_a_reason_and_no_end(scene: Scene) -> None:
    comparison = scene.compare("Who?", contenders(["small", "middle"]))
    async for event in comparison:
        if isinstance(event, Done) and event.entry.label == "small":
            scene.chatting.running[scene.conversation] = Turn(scene.conversation, none())
    small, middle = comparison.entries
    assert small.answered and isinstance(middle.error, UsageError)


async def none() -> AsyncGenerator[Any, None]:
    return
    yield


@pytest.mark.parametrize(
    ("models", "sets", "kind", "said"),
    [
        (["small", "small"], [], UsageError, "small is named twice"),
        (["small"], ["temperature=1", "temperature=1.0"], UsageError, "named twice"),
        (["small", "nobody"], [], NotFound, "nobody"),
        (["small", "large"], ["temperature=-1"], UsageError, "temperature"),
    ],
)
async def test_a_wrong_wish_is_refused_before_anything_is_written(
    scene: Scene, models: list[str], sets: list[str], kind: type[CorralError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        await scene.run(scene.compare("Who?", contenders(models, [], sets)))
    assert scene.store.messages(scene.conversation) == []
    with pytest.raises(UsageError, match="empty"):
        await scene.run(scene.compare(" ", contenders(["small", "large"])))


async def test_the_same_file_by_name_and_by_path_is_the_same(scene: Scene) -> None:
    path = str(scene.library.resolve("small").path)
    with pytest.raises(UsageError, match="named twice"):
        await scene.run(scene.compare("Who?", contenders(["small", path])))


async def test_a_damaged_file_is_a_row_with_its_reason(scene: Scene) -> None:
    path = Path(str(scene.library.resolve("middle").path))
    path.write_bytes(path.read_bytes()[:1000])
    comparison = scene.compare("Who?", contenders(["middle", "small"]))
    middle, small = await scene.run(comparison)
    assert scene.order == ["small", "middle"]
    assert small.answered and small.error is None
    assert middle.error is not None and not middle.answered


async def test_two_that_do_not_fit_together_are_never_in_memory_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes what is planned for it, and there is half as much again."""
    large = scene.library.resolve("large")
    needed = memory.memory_needed(scene.library.header(large), 512).total
    scene.engine.private_bytes = needed
    most = 0

    def available() -> int:
        nonlocal most
        most = max(most, len(scene.engine.loaded_specs))
        return needed * 3 // 2 - needed * len(scene.engine.loaded_specs)

    monkeypatch.setattr(memory, "available_memory", available)
    warm = scene.compare("Warm?", contenders(["large", "small"], base=SHORT))
    await scene.run(warm)
    assert scene.order == ["small", "large"]
    entries = await scene.run(scene.compare("Who?", contenders(["small", "large", "middle"])))
    # The one that is in memory is asked before it has to go.
    assert scene.order == ["large", "small", "middle"]
    assert all(entry.answered and entry.error is None for entry in entries)
    assert most == 1 and len(scene.engine.loaded_specs) == 1


# --- with a real engine ---------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")
async def test_two_real_models_answer_and_a_killed_one_does_not_stop_the_other(
    scene: Scene, tmp_path: Path
) -> None:
    file = tiny_llama(tmp_path / "patient.gguf", n_layer=4, context=32_768)
    scene.library.import_file(file, format="llama-2", name="patient")
    engine = Engine(tmp_path / "engine.log")
    chatting = Chatting(scene.store, scene.library, engine, Settings())
    try:
        who = contenders(["patient", "small"], base=SHORT)
        comparison = Comparison(
            chatting, scene.store.conversation(scene.conversation), "What is a llama?", who
        )
        patient, small = await scene.run(comparison)
        for one in (patient, small):
            assert one.error is None and one.answer is not None and one.answer.usage is not None
            assert one.answer.usage["completion_tokens"] == 6
            assert one.memory > 10_000_000
        assert comparison.question is not None
        before = len(scene.store.messages(scene.conversation))
        # The first one, still in memory, writes as long as it takes to kill it: at temperature 0 it
        # repeats itself, and its end is never the likeliest.
        first, second = contenders(["patient", "small"], base=SHORT)
        long = {"max_tokens": 30_000, "n_ctx": 32_768, "temperature": 0}
        endless = replace(first, options=replace(first.options, parameters=long))
        again = Comparison(
            chatting,
            scene.store.conversation(scene.conversation),
            comparison.question,
            [endless, second],
        )
        killed = ""
        async for event in again:
            if isinstance(event, Told) and isinstance(event.event, Words) and not killed:
                killed = event.entry.label
                os.kill(engine._pool.hosts[0].worker.pid, signal.SIGKILL)
        patient, small = again.entries
        assert killed == patient.label and patient.error is not None and patient.answer is not None
        assert patient.answer.status == "failed"
        assert small.error is None and small.answered
        assert len(scene.store.messages(scene.conversation)) == before + 2
    finally:
        await engine.close()
