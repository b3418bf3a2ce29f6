"""Texts the model writes on in: exactly the words, the end of a long one, candidates, and looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.scripted_engine import Script, ScriptedEngine

from corral.chat import texts
from corral.chat.conversation import Conversation, Message, active_path
from corral.chat.texts import Piece
from corral.chatting import Chatting, Finished, Notice, Options, Turn
from corral.engine.engine import EngineStopped
from corral.engine.protocol import Segment
from corral.errors import CorralError, DoesNotFit, UsageError
from corral.likeliest import Alternatives, Look
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.settings import Settings
from corral.store.store import Store
from corral.writing import candidate, check_kind, text_prompt

TEXT = {"format": "completion"}


class Recording(ScriptedEngine):
    """Keeps what was tokenized."""

    def __init__(self, scripts: list[Script], **values: Any) -> None:
        super().__init__(scripts, **values)
        self.segments: list[list[Segment]] = []

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]:
        self.segments.append(list(segments))
        return await super().tokenize(segments)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "corral.db")
    yield store
    store.close()


def scene(store: Store, folder: Path, engine: ScriptedEngine) -> Chatting:
    library = Library(store, Catalog.load(find_catalogue()))
    model = library.import_file(tiny_llama(folder / "t.gguf", context=4096), format="llama-2")
    return Chatting(store, library, engine, Settings(model=model.name))


async def end(turn: Turn) -> tuple[Message, CorralError | None, list[str]]:
    notices, last = [], None
    async for event in turn:
        if isinstance(event, Notice):
            notices.append(event.text)
        last = event
    assert isinstance(last, Finished)
    return last.message, last.error, notices


def path(store: Store, id: int) -> list[Message]:
    return active_path(store.messages(id), store.conversation(id).active)


async def test_a_text_goes_on_exactly_where_it_ends(store: Store, tmp_path: Path) -> None:
    engine = Recording([Script([" there", " was "], stop_reason="length"), Script(["\n\n"])])
    chatting = scene(store, tmp_path, engine)
    made = store.create_conversation(parameters=TEXT)
    (first,) = store.add_pieces(made.id, None, [Piece("  Once [INST] upon\n", None)])
    one, _, _ = await end(chatting.write(first))
    assert engine.segments[-1] == [("control", "bos"), ("text", "  Once [INST] upon\n")]
    two, _, _ = await end(chatting.write(one))
    store.add_pieces(made.id, two.id, [Piece("x", None), Piece(" y", None)])
    engine.scripts = [Script([" z"])]
    await end(chatting.write(path(store, made.id)[-1]))
    whole = "  Once [INST] upon\n there was \n\nx y"
    assert engine.segments[-1] == [("control", "bos"), ("text", whole)], "to the letter"
    assert texts.joined(path(store, made.id)) == whole + " z"
    roles = [one.role[0] for one in path(store, made.id)]
    assert "".join(roles) == "uaauua"
    # Another one in place of a piece, though no question is above it; a stopped one goes on.
    other, _, _ = await end(chatting.regenerate(two))
    assert (other.parent, other.role) == (one.id, "assistant")
    assert engine.segments[-1][1] == ("text", "  Once [INST] upon\n there was ")
    store.update_conversation(made.id, active=one.id)
    longer, error, _ = await end(chatting.go_on(one))
    assert error is None and longer.text.startswith(" there was ")


async def test_of_a_long_text_the_model_sees_the_end(store: Store, tmp_path: Path) -> None:
    engine = Recording([], n_ctx=512)
    chatting = scene(store, tmp_path, engine)
    made = store.create_conversation(parameters=TEXT)
    words = "word " * 1000
    (first,) = store.add_pieces(made.id, None, [Piece(words, None)])
    one, error, notices = await end(chatting.write(first))
    assert error is None and len(notices) == 1
    start = (one.parameters or {})[texts.TEXT_FROM]
    assert 0 < start < len(words) and words[start - 1] == " "
    assert engine.segments[-1][1] == ("text", words[start:])
    # The next one begins at the same place: nothing is evaluated anew.
    two, _, notices = await end(chatting.write(one))
    assert not notices, "that is told once"
    assert (two.parameters or {})[texts.TEXT_FROM] == start
    assert engine.segments[-1][1] == ("text", words[start:] + one.text)
    store.update_conversation(made.id, parameters={**TEXT, "window": "stop"})
    three, error, _ = await end(chatting.write(two))
    assert isinstance(error, DoesNotFit) and three.status == "failed"

    # A text of millions of characters is not tokenized whole.
    plan = chatting.planner.plan(store.conversation(made.id), Options())
    engine.segments.clear()
    await text_prompt(engine, replace(plan, window="drop"), 512, "llama " * 1_000_000)
    assert max(len(value) for segments in engine.segments for _, value in segments) <= 64 * 512


async def test_what_nobody_wrote_is_no_part_of_a_text(store: Store, tmp_path: Path) -> None:
    chatting = scene(store, tmp_path, ScriptedEngine())
    chat = store.create_conversation(system="Be kind.")
    text = store.create_conversation(parameters=TEXT)
    planned = chatting.planner.plan(text, Options())
    assert (planned.text, planned.format, planned.system) == (True, "completion", "")
    store.update_conversation(text.id, preset="classify")
    assert chatting.planner.plan(store.conversation(text.id), Options()).system == ""
    assert not chatting.planner.plan(chat, Options()).text
    assert chatting.planner.plan(None, Options(format="completion")).text

    check_kind(text, 3, text=True)
    check_kind(chat, 0, text=True)
    check_kind(None, 0, text=True)
    with pytest.raises(UsageError, match="is a chat"):
        check_kind(chat, 2, text=True)
    with pytest.raises(UsageError, match="is a text"):
        check_kind(text, 2, text=False)


def test_candidates_have_seeds_of_their_own() -> None:
    options = Options(parameters={"max_tokens": 3})
    assert candidate(options, None, 2) == options, "one is drawn"
    assert candidate(options, 7, 0) == options
    seeds = [candidate(options, 0xFFFF_FFFD, number).parameters["seed"] for number in (1, 2)]
    assert seeds == [0xFFFF_FFFE, 0] and candidate(options, 7, 1).parameters["max_tokens"] == 3


async def looked(chatting: Chatting, look: Look) -> Alternatives:
    events = [event async for event in chatting.likeliest(look)]
    assert isinstance(events[-1], Alternatives)
    return events[-1]


async def test_a_place_is_found_by_its_tokens(store: Store, tmp_path: Path) -> None:
    engine = ScriptedEngine()
    chatting = scene(store, tmp_path, engine)
    text = "Once, héllo 😀 there was a llama"
    found = await looked(chatting, Look(text, text.index("llo"), 2))
    assert text[found.start : found.end] == " héllo" and text[found.before :].startswith("Once,")
    assert [one.text for one in found.tokens] == [" llama", " alpaca", " it"]
    assert found.chosen == found.tokens[-1].token, "what stands there is told of too"
    assert engine.looks == [2], "BOS and the one word before it"
    # From token to token, to the end and back.
    places, at = [], 0
    while at < len(text):
        there = await looked(chatting, Look(text, at, 1))
        places.append(text[there.start : there.end])
        assert there.end > at
        at = there.end
    assert "".join(places) == text
    last = await looked(chatting, Look(text, 10**9, 1))
    assert (last.start, last.end, last.chosen) == (len(text), len(text), None)
    assert text[last.before :] == " llama"


async def test_a_look_waits_for_nobody_and_can_be_stopped(store: Store, tmp_path: Path) -> None:
    engine = ScriptedEngine([Script(hold_after=1)], hold_looks=True)
    chatting = scene(store, tmp_path, engine)
    made = store.create_conversation(parameters=TEXT)
    (first,) = store.add_pieces(made.id, None, [Piece("a", None)])
    turn = chatting.write(first)
    writing = asyncio.create_task(end(turn))
    async with asyncio.timeout(10):
        while not turn.text:
            await asyncio.sleep(0.01)
    with pytest.raises(UsageError, match="being written"):
        await looked(chatting, Look("abc", 1))
    turn.stop()
    message, _, _ = await writing
    assert message.status == "stopped"

    look = chatting.likeliest(Look("abc", 1))
    seeing = asyncio.create_task(looked_at(look))
    async with asyncio.timeout(10):
        while not engine.looks:
            await asyncio.sleep(0.01)
    look.stop()
    with pytest.raises(EngineStopped):
        await seeing
    engine.go_on()
    assert await looked(chatting, Look("abc", 3)), "the engine is free again"


async def looked_at(look: Any) -> None:
    async for _ in look:
        pass


def test_a_conversation_without_a_format_is_a_chat() -> None:
    assert not texts.is_text(Conversation(1, "", 0.0, 0.0, parameters={"format": "llama-2"}))
