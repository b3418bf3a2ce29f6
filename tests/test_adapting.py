"""What a person chose of adapters: typed, kept with a conversation, and settled for an answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.lora_files import lora
from tests.support.scripted_engine import ScriptedEngine

from corral import adapting
from corral.chat.conversation import Conversation
from corral.chatting import Chatting, Event, Finished, Notice, Options
from corral.errors import NotFound, Refused, UsageError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.settings import Settings
from corral.store.store import Store


@dataclass
class Scene:
    store: Store
    library: Library
    engine: ScriptedEngine
    chatting: Chatting
    folder: Path

    def conversation(self, *choices: adapting.Choice, model: str = "tiny") -> Conversation:
        parameters = adapting.with_choices({}, choices)
        return self.store.create_conversation(model=model, parameters=parameters)

    async def say(self, conversation: Conversation, options: Options = Options()) -> list[Event]:
        turn = self.chatting.send(conversation.id, "Hello", options)
        return [event async for event in turn]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, Catalog.load(find_catalogue()))
    for name, width in (("tiny", 64), ("large", 128)):
        path = tiny_llama(tmp_path / f"{name}.gguf", n_embd=width, n_head=4, n_head_kv=4)
        library.import_file(path, format="llama-2", name=name)
    targets = {"blk.0.attn_q.weight": (64, 64)}
    library.import_adapter(lora(tmp_path / "cats.gguf", targets))
    library.import_adapter(lora(tmp_path / "dogs.gguf", targets, seed=2))
    engine = ScriptedEngine()
    yield Scene(store, library, engine, Chatting(store, library, engine, Settings()), tmp_path)
    store.close()


# --- typed and kept -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "choice"),
    [
        ("cats", ("cats", 1.0)),
        ("cats:0.5", ("cats", 0.5)),
        (" cats:-1 ", ("cats", -1.0)),
        ("cats:0,25", ("cats", 0.25)),
        ("owner:cats", ("owner:cats", 1.0)),
        ("owner:cats:2", ("owner:cats", 2.0)),
        ("cats:", ("cats:", 1.0)),
        (":0.5", (":0.5", 1.0)),
        ("~nobody-there:0.5", ("~nobody-there", 0.5)),
        (f"{'x' * 300}.gguf:2", (f"{'x' * 300}.gguf", 2.0)),
    ],
)
def test_a_name_and_its_scale(typed: str, choice: adapting.Choice) -> None:
    assert adapting.parse(typed) == choice


def test_the_path_of_a_file_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lora(tmp_path / "cats.gguf")
    assert adapting.parse("cats.gguf:0.5") == (str(tmp_path / "cats.gguf"), 0.5)
    # A file whose name ends like a scale is that file.
    (tmp_path / "x:2").touch()
    assert adapting.parse("x:2") == ("x:2", 1.0)


def test_nothing_is_no_name() -> None:
    with pytest.raises(UsageError):
        adapting.parse("  ")
    assert adapting.parse_all([]) is None
    assert adapting.parse_all(["off"]) == ()
    assert adapting.parse_all(["a", "b:2"]) == (("a", 1.0), ("b", 2.0))


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 101.0, -1e9])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="allowed are -100 to 100"):
        adapting.check([("cats", scale)])


def test_more_than_anybody_needs_are_refused() -> None:
    with pytest.raises(UsageError, match="33 adapters"):
        adapting.check([(str(number), 1.0) for number in range(33)])


def test_a_conversation_keeps_them(scene: Scene) -> None:
    kept = scene.conversation(("cats", 0.5), ("dogs", 1.0))
    again = scene.store.conversation(kept.id)
    assert adapting.chosen(again) == (("cats", 0.5), ("dogs", 1.0))
    assert adapting.with_choices(again.parameters, ()) == {}
    assert adapting.with_choices({"seed": 1}, [("a", 1.0)])["seed"] == 1


@pytest.mark.parametrize(
    "stored",
    [None, "cats", 5, [5], [{}], [{"name": 5}], [{"name": "a", "scale": "x"}], {"a": 1},
     *([{"name": "a", "scale": scale}] for scale in (10**400, float("nan"), -101))],
)  # fmt: skip
def test_what_is_not_understood_is_as_if_it_were_not_there(stored: Any) -> None:
    conversation = Conversation(1, "", 0.0, 0.0, parameters={"adapters": stored})
    assert adapting.chosen(conversation) == ()


# --- settled ------------------------------------------------------------------------------------


async def test_an_answer_is_given_with_those_of_the_conversation(scene: Scene) -> None:
    conversation = scene.conversation(("cats", 0.5), ("dogs", 1.0))
    *_, finished = await scene.say(conversation)
    [adapters] = scene.engine.adapters
    assert [(one.name, one.scale) for one in adapters] == [("cats", 0.5), ("dogs", 1.0)]
    assert isinstance(finished, Finished) and finished.message.model is not None
    known = {one.name: one for one in scene.library.adapters()}
    assert finished.message.model["adapters"] == [
        {
            "name": name,
            "file": str(scene.folder / f"{name}.gguf"),
            "sha256": known[name].sha256,
            "scale": scale,
        }
        for name, scale in (("cats", 0.5), ("dogs", 1.0))
    ]


async def test_without_any_nothing_is_said_about_them(scene: Scene) -> None:
    *_, finished = await scene.say(scene.conversation())
    assert scene.engine.adapters == [()]
    assert isinstance(finished, Finished) and "adapters" not in (finished.message.model or {})


async def test_those_for_one_answer_count_before_them(scene: Scene) -> None:
    conversation = scene.conversation(("cats", 0.5))
    path = str(scene.folder / "dogs.gguf")
    await scene.say(conversation, Options(adapters=((path, 2.0),)))
    await scene.say(conversation, Options(adapters=()))
    await scene.say(conversation)
    names = [[one.name for one in adapters] for adapters in scene.engine.adapters]
    assert names == [["dogs"], [], ["cats"]]


async def test_those_of_another_model_are_left_out_and_said_so(scene: Scene) -> None:
    conversation = scene.conversation(("cats", 0.5), model="large")
    events = await scene.say(conversation)
    [notice] = [event for event in events if isinstance(event, Notice)]
    assert notice.title == "An adapter is left out"
    assert "cats: blk.0.attn_q.weight is 128 × 128 in this model" in notice.text
    assert scene.engine.adapters == [()]
    # Back with its model it is there again.
    await scene.say(scene.store.update_conversation(conversation.id, model="tiny"))
    assert [one.name for one in scene.engine.adapters[-1]] == ["cats"]


def test_named_for_this_answer_it_has_to_belong(scene: Scene) -> None:
    options = Options(model="large", adapters=(("cats", 1.0),))
    with pytest.raises(Refused, match="The adapter cats does not belong to large"):
        scene.chatting.planner.plan(None, options)


def test_the_same_twice_is_refused(scene: Scene) -> None:
    choices = (("cats", 1.0), (str(scene.folder / "cats.gguf"), 0.5))
    with pytest.raises(UsageError, match="cats is named twice"):
        scene.chatting.planner.plan(None, Options(model="tiny", adapters=choices))


async def test_one_that_is_gone_fails_the_answer_and_keeps_the_question(scene: Scene) -> None:
    conversation = scene.conversation(("cats", 1.0))
    (scene.folder / "cats.gguf").unlink()
    *_, finished = await scene.say(conversation)
    assert isinstance(finished, Finished) and isinstance(finished.error, NotFound)
    question, answer = scene.store.messages(conversation.id)
    assert question.text == "Hello" and answer.status == "failed"
    assert answer.error is not None and "adapter cats is gone" in answer.error
    assert "/adapter off" in finished.error.hint


def test_what_is_loaded_is_the_file_that_was_read(scene: Scene) -> None:
    """Whoever replaces it between the reading and the loading gets it refused by the engine."""
    path = lora(scene.folder / "new.gguf", {"blk.0.attn_q.weight": (64, 64)})
    for name in ("cats", str(path)):
        adapter = scene.library.hashed(scene.library.adapter(name))
        read = Path(adapter.path).stat()
        os.utime(adapter.path, ns=(5, 5))
        found = adapting.to_load(scene.library, adapter, 1.0)
        assert (found.mtime_ns, found.size) == (read.st_mtime_ns, read.st_size)
