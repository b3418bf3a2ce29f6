from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.chat.conversation import Message, active_path, title_from
from corral.errors import NotFound
from corral.store.store import Store


@pytest.fixture
def chat(store: Store) -> int:
    return store.create_conversation().id


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(tmp_path_factory.mktemp("shared") / "corral.db")
    yield store
    store.close()


def begin(store: Store, parent: int) -> Message:
    return store.begin_answer(parent, model={"name": "m"}, parameters={"seed": 1})


def test_a_sent_message_is_active_and_clears_the_draft(store: Store, chat: int) -> None:
    store.update_conversation(chat, draft="What is an al")
    before = store.conversation(chat)
    message = store.add_user(chat, "What is an alpaca?", None)
    after = store.conversation(chat)
    assert (message.role, message.status, message.parent) == ("user", "complete", None)
    assert (after.active, after.draft, after.messages) == (message.id, "", 1)
    assert (after.title, after.titled) == ("What is an alpaca?", False)
    assert after.updated > before.updated
    store.add_user(chat, "And a llama?", message.id)
    assert store.conversation(chat).title == "What is an alpaca?"


def test_a_given_title_stays(store: Store) -> None:
    chat = store.create_conversation(title="Mine").id
    store.add_user(chat, "hello", None)
    assert store.conversation(chat).title == "Mine"


def test_a_long_first_message_gives_a_short_title(store: Store, chat: int) -> None:
    text = "Tell me everything about llamas, alpacas, vicuñas and guanacos, please"
    store.add_user(chat, text, None)
    assert store.conversation(chat).title == title_from(text) != text


def test_an_answer_is_written_and_finished(store: Store, chat: int) -> None:
    question = store.add_user(chat, "hello", None)
    answer = begin(store, question.id)
    assert (answer.role, answer.status, answer.text) == ("assistant", "streaming", "")
    assert (answer.model, answer.parameters) == ({"name": "m"}, {"seed": 1})
    assert store.conversation(chat).active == answer.id
    store.write_answer(answer.id, "Hel")
    assert (store.message(answer.id).text, store.message(answer.id).status) == ("Hel", "streaming")
    before = store.conversation(chat).updated
    done = store.finish_answer(
        answer.id,
        text="Hello!",
        status="complete",
        stop_reason="end",
        usage={"completion_tokens": 2},
        timings={"tokens_per_second": 41.2},
    )
    assert done == store.message(answer.id)
    assert (done.text, done.status, done.stop_reason) == ("Hello!", "complete", "end")
    assert (done.model, done.parameters) == ({"name": "m"}, {"seed": 1})
    assert (done.usage, done.timings) == ({"completion_tokens": 2}, {"tokens_per_second": 41.2})
    assert store.conversation(chat).updated > before


def test_finishing_can_replace_model_and_parameters_and_tell_the_error(
    store: Store, chat: int
) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    done = store.finish_answer(
        answer.id,
        text="Hel",
        status="failed",
        stop_reason="error",
        error="The engine stopped",
        model={"name": "other"},
        parameters={"seed": 2},
    )
    assert (done.status, done.error) == ("failed", "The engine stopped")
    assert (done.model, done.parameters) == ({"name": "other"}, {"seed": 2})


def test_a_late_checkpoint_does_not_undo_the_end(store: Store, chat: int) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    store.finish_answer(answer.id, text="Hello!", status="complete", stop_reason="end")
    store.write_answer(answer.id, "Hel")
    assert store.message(answer.id).text == "Hello!"


def test_an_answer_that_is_gone_cannot_be_written(store: Store, chat: int) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    store.delete(chat)
    with pytest.raises(NotFound):
        store.write_answer(answer.id, "Hel")
    with pytest.raises(NotFound):
        store.finish_answer(answer.id, text="Hello!", status="complete")
    with pytest.raises(NotFound):
        begin(store, answer.id)


def test_branches_are_kept_and_the_tree_comes_back_by_id(store: Store, chat: int) -> None:
    root = store.add_user(chat, "one", None)
    first = begin(store, root.id)
    second = begin(store, root.id)
    edited = store.add_user(chat, "uno", None)
    tree = store.messages(chat)
    assert [m.id for m in tree] == [root.id, first.id, second.id, edited.id]
    assert [m.id for m in active_path(tree, second.id)] == [root.id, second.id]


def test_a_parent_must_be_in_the_same_conversation(store: Store, chat: int) -> None:
    elsewhere = store.add_user(store.create_conversation().id, "x", None)
    with pytest.raises(NotFound):
        store.add_user(chat, "hello", elsewhere.id)
    with pytest.raises(NotFound):
        store.add_user(chat, "hello", 999)
    found = store.conversation(chat)
    assert (store.messages(chat), found.active, found.title) == ([], None, "")


def test_unsend_gives_the_text_back(store: Store, chat: int) -> None:
    first = store.add_user(chat, "one", None)
    answer = begin(store, first.id)
    store.finish_answer(answer.id, text="1", status="complete", stop_reason="end")
    unsent = store.add_user(chat, "two", answer.id)
    begin(store, begin(store, unsent.id).id)
    found = store.unsend(unsent.id)
    assert (found.draft, found.active, found.messages) == ("two", answer.id, 2)
    assert [m.id for m in store.messages(chat)] == [first.id, answer.id]
    assert found.title == "one"


def test_sending_elsewhere_leaves_a_draft_alone(store: Store, chat: int) -> None:
    store.update_conversation(chat, draft="half a thought")
    sent = store.add_user(chat, "said by another program", None)
    assert store.conversation(chat).draft == "half a thought"
    store.add_user(chat, "half a thought, and its end", sent.id)
    assert store.conversation(chat).draft == ""


def test_unsend_stands_in_front_of_a_draft(store: Store, chat: int) -> None:
    unsent = store.add_user(chat, "first words", None)
    store.update_conversation(chat, draft="later words")
    found = store.unsend(unsent.id)
    assert found.draft == "first words\n\nlater words"
    assert (found.title, found.active, found.messages) == ("", None, 0)
    assert store.search("first") == []


def test_unsend_keeps_a_given_title(store: Store) -> None:
    chat = store.create_conversation(title="Mine").id
    assert store.unsend(store.add_user(chat, "x", None).id).title == "Mine"


def test_an_answer_cannot_be_unsent(store: Store, chat: int) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    with pytest.raises(NotFound, match="answer"):
        store.unsend(answer.id)
    assert len(store.messages(chat)) == 2


def test_a_very_long_chat_can_be_unsent_and_deleted() -> None:
    store = Store.open(None)
    chat = store.create_conversation().id

    def talk() -> int:
        first = parent = store.add_user(chat, "root", None).id
        for number in range(1200):  # more than SQLite lets triggers cascade
            parent = store.add_user(chat, f"message {number}", parent).id
        return first

    assert store.unsend(talk()).messages == 0
    first = talk()
    store.delete(chat)
    with pytest.raises(NotFound):
        store.message(first)
    store.close()


def test_an_answer_of_this_process_is_not_recovered(store: Store, chat: int, path: Path) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    beside = Store.open(path)
    assert (beside.recover(), store.recover()) == (0, 0)
    assert beside.message(answer.id).status == "streaming"
    beside.close()


@pytest.mark.parametrize(
    "writer",
    [
        pytest.param(f"{os.getpid()}:{psutil.Process().create_time() - 60}", id="pid used again"),
        "4194304999:1.0",
        "nonsense",
        "-1:0",
        "1:nan",
        None,
    ],
)
def test_an_answer_of_a_process_that_is_gone_is_stopped(
    store: Store, chat: int, path: Path, writer: str | None
) -> None:
    answer = begin(store, store.add_user(chat, "hello", None).id)
    store.write_answer(answer.id, "The llama is")
    other = apsw.Connection(str(path))
    other.execute("UPDATE message SET writer = ? WHERE id = ?", (writer, answer.id))
    other.close()
    before = store.conversation(chat).updated
    assert store.recover() == 1
    found = store.message(answer.id)
    assert (found.status, found.stop_reason, found.text) == ("stopped", "stopped", "The llama is")
    assert store.conversation(chat).updated == before
    assert store.recover() == 0
    assert [hit.message for hit in store.search("the llama")] == [answer.id]


@settings(max_examples=120, deadline=None, database=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_comes_back_the_same(shared: Store, text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", text)
    chat = shared.create_conversation(title=text, system=text, parameters={"stop": [text]})
    assert (chat.title, chat.system, chat.parameters) == (expected, expected, {"stop": [text]})
    question = shared.add_user(chat.id, text, None)
    answer = begin(shared, question.id)
    shared.write_answer(answer.id, text)
    assert shared.message(answer.id).text == expected
    shared.finish_answer(answer.id, text=text, status="failed", error=text)
    first, second = shared.messages(chat.id)
    assert (first.text, second.text, second.error) == (expected, expected, expected)
    assert shared.update_conversation(chat.id, draft=text).draft == expected


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "\0",
        "a\r\nb\rc\n",
        "🦙👩‍👩‍👧 e\u0301",
        "\ufeffx",
        "\u202eabc",
        " ",
        "x" * 10_000_000,
    ],
)
def test_notable_texts_survive_reopening(store: Store, chat: int, path: Path, text: str) -> None:
    message = store.add_user(chat, text, None)
    store.close()
    again = Store.open(path)
    assert again.message(message.id).text == text
    again.close()


def test_many_threads_share_one_store(store: Store, chat: int) -> None:
    def send(number: int) -> int:
        id = store.add_user(chat, f"message {number}", None).id
        store.search("message")
        return id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(send, range(80)))
    assert len(set(ids)) == 80
    assert {m.text for m in store.messages(chat)} == {f"message {n}" for n in range(80)}
