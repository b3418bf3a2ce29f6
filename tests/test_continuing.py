"""An answer that goes on: in its row, with its own tokens, and with its parts known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripted_engine import Script, ScriptedEngine

from corral import continuing
from corral.chat.conversation import Message, active_path
from corral.chatting import Chatting, Event, Finished, Options, Turn, Words
from corral.engine.engine import Engine
from corral.engine.llama.vocab import TextStream
from corral.errors import CorralError, EngineDied, NotFound, UsageError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.settings import Settings
from corral.store.store import Store

GREEDY = {"temperature": 0, "repeat_penalty": 1.0}
QUESTION = "Count from one to twenty in words, one after the other."


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "corral.db")
    yield store
    store.close()


@pytest.fixture
def chat(store: Store) -> int:
    return store.create_conversation().id


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "logs" / "engine.log")
    yield engine
    await engine.close()


def chatting(store: Store, engine: Any) -> Chatting:
    return Chatting(store, Library(store, Catalog.load(find_catalogue())), engine, Settings())


async def end(turn: Turn) -> tuple[Message, CorralError | None, str]:
    """The answer as it is stored, why it failed, and the words that came."""
    events: list[Event] = [event async for event in turn]
    assert isinstance(events[-1], Finished)
    words = "".join(event.text for event in events if isinstance(event, Words))
    return events[-1].message, events[-1].error, words


async def test_it_goes_on_in_its_row_and_both_parts_are_known(store: Store, chat: int) -> None:
    engine = ScriptedEngine([Script(["One, ", "two, "], stop_reason="length")])
    talk = chatting(store, engine)
    first, _, _ = await end(talk.send(chat, "Count", Options(parameters={"seed": 1})))
    assert (first.text, first.stop_reason) == ("One, two, ", "length")
    engine.scripts = [Script(["three."])]
    done, error, words = await end(talk.go_on(first))
    assert error is None and words == "three."
    assert done.id == first.id
    assert (done.text, done.status, done.stop_reason) == ("One, two, three.", "complete", "end")
    assert len(store.messages(chat)) == 2
    assert done.parameters is not None and first.parameters is not None
    (piece,) = done.parameters["pieces"]
    assert piece == {
        "characters": 10,
        "stop_reason": "length",
        "model": first.model,
        "parameters": first.parameters,
        "usage": first.usage,
        "timings": first.timings,
    }
    # The prompt was the same one, with the answer behind it.
    before, after = engine.prompts
    assert after == before + len(await engine.tokenize([("text", "One, two, ")]))


async def test_what_follows_an_answer_keeps_it(store: Store, chat: int) -> None:
    engine = ScriptedEngine([Script(["One"], stop_reason="length"), Script(["ok"])])
    talk = chatting(store, engine)
    first, _, _ = await end(talk.send(chat, "Count"))
    await end(talk.send(chat, "Thanks"))
    engine.scripts = [Script([", two"])]
    done, _, _ = await end(talk.go_on(first))
    assert done.id != first.id and done.parent == first.parent
    assert (store.message(first.id).text, done.text) == ("One", "One, two")
    assert store.conversation(chat).active == done.id


async def test_where_no_word_comes_it_is_what_it_was(store: Store, chat: int) -> None:
    engine = ScriptedEngine([Script(["One"], stop_reason="length")])
    talk = chatting(store, engine)
    first, _, _ = await end(talk.send(chat, "Count"))
    engine.scripts = [Script(fail_after=0, error=EngineDied("It ended"))]
    done, error, _ = await end(talk.go_on(first))
    assert isinstance(error, EngineDied)
    assert done == first == store.message(first.id)
    engine.scripts = [Script(hold_after=0)]
    turn = talk.go_on(first)
    turn.stop()
    done, _, _ = await end(turn)
    assert done == first
    # With a word more it is an answer that failed, whose text is kept.
    engine.scripts = [Script([", two", "x"], fail_after=1, error=EngineDied("It ended"))]
    done, error, _ = await end(talk.go_on(first))
    assert (done.text, done.status) == ("One, two", "failed")


async def test_where_something_follows_and_no_word_comes_nothing_has_changed(
    store: Store, chat: int
) -> None:
    engine = ScriptedEngine([Script(["One"], stop_reason="length"), Script(["ok"]), Script(["no"])])
    talk = chatting(store, engine)
    first, _, _ = await end(talk.send(chat, "Count"))
    second, _, _ = await end(talk.send(chat, "Thanks"))
    await end(talk.send(chat, "Another branch", parent=first.id))
    store.update_conversation(chat, active=second.id)  # not the newest of the branches below it
    before = (store.messages(chat), store.conversation(chat).active)
    engine.scripts = [Script(fail_after=0, error=EngineDied("It ended"))]
    done, error, _ = await end(talk.go_on(first))
    assert isinstance(error, EngineDied) and done == first
    assert (store.messages(chat), store.conversation(chat).active) == before
    # What another program has hung below the copy meanwhile stays, and so does the copy.
    copy = store.resume_answer(first.id)
    hung = store.add_user(chat, "below it", copy.id)
    assert not store.discard_copy(copy.id, second.id)
    assert store.message(hung.id).parent == copy.id


async def test_what_follows_also_keeps_it_while_it_is_deleted(store: Store, chat: int) -> None:
    engine = ScriptedEngine([Script(["One"], stop_reason="length"), Script(["ok"])])
    talk = chatting(store, engine)
    first, _, _ = await end(talk.send(chat, "Count"))
    await end(talk.send(chat, "Thanks"))
    store.delete_message(store.messages(chat)[2].id)
    engine.scripts = [Script([", two"])]
    done, _, _ = await end(talk.go_on(first))
    assert (done.id != first.id, done.text) == (True, "One, two")
    store.undo_deletion(chat)
    assert [m.text for m in active_path(store.messages(chat), store.conversation(chat).active)] == [
        "Count",
        "One",
        "Thanks",
        "ok",
    ]


async def test_only_an_answer_that_was_cut_goes_on(store: Store, chat: int) -> None:
    talk = chatting(store, ScriptedEngine())
    whole, _, _ = await end(talk.send(chat, "Hello"))
    question = store.messages(chat)[0]
    for message, said in ((whole, "its own end"), (question, "Only an answer")):
        with pytest.raises(UsageError, match=said):
            await end(talk.go_on(message))
    store.delete_message(question.id, branch=False)
    with pytest.raises(NotFound, match="question"):
        await end(talk.regenerate(whole))
    assert [m.status for m in store.messages(chat)] == ["complete"]


async def test_tokens_are_only_taken_for_the_text_and_the_model_they_belong_to() -> None:
    class Plan:
        class model:
            sha256, quant = "ab", "Q4_K_M"

    engine, plan = ScriptedEngine(), Plan()
    answer = Message(1, 1, None, "assistant", "One, two", "stopped", 0.0)
    own = {"sha256": "ab", "quant": "Q4_K_M"}
    kept = {"ids": {"characters": 8, "tokens": [7, 8, 9]}}
    tokenized = tuple(await engine.tokenize([("text", answer.text)]))
    for model, parameters, wanted in (
        (own, kept, (7, 8, 9)),
        ({**own, "sha256": "cd"}, kept, tokenized),
        (own, {"ids": {"characters": 5, "tokens": [7]}}, tokenized),
        (own, {"ids": "nonsense"}, tokenized),
        (own, None, tokenized),
    ):
        cut = replace(answer, model=model, parameters=parameters)
        assert await continuing.answer_ids(engine, plan, cut) == wanted  # type: ignore[arg-type]


def test_half_a_character_is_counted() -> None:
    stream = TextStream()
    assert stream.feed("né".encode()[:2]) == "n"
    assert stream.unfinished == 1
    assert stream.feed("é".encode()[1:]) == "é"
    assert stream.unfinished == 0


async def test_cut_into_pieces_it_says_the_same_and_evaluates_nothing_twice(
    store: Store, engine: Engine, starter: Path
) -> None:
    talk = chatting(store, engine)
    whole_chat, chat = store.create_conversation().id, store.create_conversation().id
    options = Options(parameters={**GREEDY, "max_tokens": 36})
    whole, error, _ = await end(talk.send(whole_chat, QUESTION, options))
    assert error is None
    options = Options(parameters={**GREEDY, "max_tokens": 12})
    part, _, _ = await end(talk.send(chat, QUESTION, options))
    for _ in range(2):
        assert part.stop_reason == "length" and part.usage is not None
        before = part.usage["prompt_tokens"] + part.usage["completion_tokens"]
        part, error, _ = await end(talk.go_on(part, options))
        assert error is None and part.usage is not None
        assert part.usage["prompt_tokens"] == before
        # What was sampled last was never decoded: it is the one token that is evaluated.
        assert part.usage["evaluated_tokens"] <= 2
    assert part.text == whole.text
    assert part.parameters is not None and len(part.parameters["pieces"]) == 2
    assert len(part.parameters["ids"]["tokens"]) == 36


async def test_it_goes_on_after_a_restart_and_with_another_quantization(
    store: Store, engine: Engine, starter: Path, q8: Path, tmp_path: Path
) -> None:
    talk = chatting(store, engine)
    chat = store.create_conversation().id
    options = Options(parameters={**GREEDY, "max_tokens": 8})
    part, _, _ = await end(talk.send(chat, QUESTION, options))
    await engine.close()
    again = Engine(tmp_path / "logs" / "again.log")
    try:
        talk = chatting(store, again)
        talk.library.import_file(q8, format="chatml", name="starter-q8")
        more, error, _ = await end(talk.go_on(part, options))
        assert error is None and more.text.startswith(part.text) and more.text != part.text
        other, error, words = await end(talk.go_on(more, replace(options, model="starter-q8")))
        assert error is None and words
        assert other.model is not None and other.model["quant"] == "Q8_0"
        assert other.parameters is not None
        quants = [piece["model"]["quant"] for piece in other.parameters["pieces"]]
        assert len(quants) == 2 and "Q8_0" not in quants
    finally:
        await again.close()
