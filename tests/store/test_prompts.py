"""What was asked before, in every conversation."""

from __future__ import annotations

from corral.store.prompts import HEAD
from corral.store.store import Store


def asked(store: Store, *texts: str, title: str = "") -> int:
    """A conversation with these questions one after the other."""
    made = store.create_conversation(title=title)
    parent = None
    for text in texts:
        parent = store.add_user(made.id, text, parent).id
    return made.id


def heads(store: Store, query: str = "", limit: int = 200) -> list[str]:
    return [one.head for one in store.prompts(query, limit)]


def test_the_latest_comes_first_and_each_text_once(store: Store) -> None:
    asked(store, "one", "two", title="First")
    asked(store, "three", "one", title="Second")
    assert heads(store) == ["one", "three", "two"]
    assert [one.title for one in store.prompts()] == ["Second", "Second", "First"]
    assert heads(store, limit=2) == ["one", "three"]


def test_all_words_must_occur_in_any_order_and_case(store: Store) -> None:
    asked(store, "Tell me about llamas", "A llama in 100% wool_", "alpacas")
    assert heads(store, "LLAMA") == ["A llama in 100% wool_", "Tell me about llamas"]
    assert heads(store, "about tell") == ["Tell me about llamas"]
    assert heads(store, "100% wool_") == ["A llama in 100% wool_"]
    assert heads(store, "l%s") == heads(store, "nothing") == []


def test_answers_and_what_was_deleted_are_left_out(store: Store) -> None:
    kept = asked(store, "kept")
    answer = store.begin_answer(store.messages(kept)[0].id, model=None, parameters=None)
    store.finish_answer(
        answer.id,
        text="an answer",
        status="complete",
        stop_reason="end",
        model=None,
        parameters=None,
        usage=None,
        timings=None,
    )
    store.trash(asked(store, "thrown away"))
    assert heads(store) == ["kept"]


def test_of_a_long_one_only_the_beginning_is_read(store: Store) -> None:
    text = "word " * 10_000
    asked(store, text + "end", text + "END")
    found = store.prompts()
    assert [one.is_whole for one in found] == [False, False]
    assert found[0].length == len(text) + 3
    assert len(found[0].head) == HEAD
    assert store.message(found[0].message).text == text + "END"
    assert heads(store, "word end") == [text[:HEAD]] * 2


def test_many_pages_of_the_same_text_end(store: Store) -> None:
    asked(store, *["again"] * 450, "other")
    assert heads(store) == ["other", "again"]
