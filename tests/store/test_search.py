from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.chat.finding import Filters
from corral.store.search import MATCH_END, MATCH_START, to_expression
from corral.store.store import Store


def chat(store: Store, *texts: str, title: str = "") -> int:
    id = store.create_conversation(title=title or "untouched").id
    for text in texts:
        store.add_user(id, text, None)
    return id


def found(store: Store, query: str) -> list[int]:
    return [hit.conversation.id for hit in store.search(query)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(tmp_path_factory.mktemp("shared") / "corral.db")
    chat(store, 'He said "NEAR" AND (llama* OR alpaca) NOT title:^x {a b}: 100 %_\\', "🦙 \0 x")
    yield store
    store.close()


def test_all_words_must_occur_and_the_last_may_be_unfinished(store: Store) -> None:
    both = chat(store, "The llama eats green grass")
    chat(store, "The llama sleeps")
    assert found(store, "grass llama") == [both]
    assert found(store, "llama gr") == [both]
    assert found(store, "gr llama") == []


def test_a_hit_names_the_message_and_marks_the_words(store: Store) -> None:
    id = chat(store, "nothing here", "A llama is about twice the size of an alpaca")
    (hit,) = store.search("llam")
    assert hit.message == store.messages(id)[1].id
    assert hit.conversation == store.conversation(id)
    assert f"A {MATCH_START}llama{MATCH_END} is about" in hit.snippet


def test_a_long_message_is_cut_around_the_match(store: Store) -> None:
    chat(store, "before " * 500 + "needle" + " after" * 500)
    snippet = store.search("needle")[0].snippet
    assert f"{MATCH_START}needle{MATCH_END}" in snippet
    assert len(snippet) < 200 and snippet.startswith("…") and snippet.endswith("…")


def test_one_hit_a_conversation_and_the_best_comes_first(store: Store) -> None:
    weak = chat(store, "llama " + "and many other words " * 30, "llama " + "filler " * 200)
    strong = chat(store, "llama llama", "nothing")
    assert found(store, "llama") == [strong, weak]
    assert store.search("llama")[1].message == store.messages(weak)[0].id
    assert len(store.search("llama", limit=1)) == 1
    assert store.search("llama", limit=0) == []


def test_titles_come_first(store: Store) -> None:
    text = chat(store, "Cusco Cusco Cusco")
    title = chat(store, "Where to sleep?", title="Trip to Cusco")
    both = chat(store, "How high is Cusco?", title="Cusco facts")
    hits = store.search("cusco")
    assert {hit.conversation.id for hit in hits[:2]} == {title, both}
    assert hits[2].conversation.id == text
    by_id = {hit.conversation.id: hit for hit in hits}
    assert by_id[title].message is None
    assert by_id[title].snippet == f"Trip to {MATCH_START}Cusco{MATCH_END}"
    assert by_id[both].message == store.messages(both)[0].id


def test_a_renamed_title_is_found_by_its_new_words_only(store: Store) -> None:
    id = chat(store, title="Alpacas")
    store.update_conversation(id, title="Guanacos")
    assert found(store, "guanacos") == [id]
    assert found(store, "alpacas") == []


def test_case_and_accents_do_not_matter(store: Store) -> None:
    id = chat(store, "Una vicuña está en el CAFÉ")
    assert found(store, "vicuna cafe") == found(store, "VICUÑA esta") == [id]


def test_the_trash_is_not_searched_but_the_archive_is(store: Store) -> None:
    gone, archived = chat(store, "llama 🦙", title="llama"), chat(store, "llama")
    store.trash(gone)
    store.update_conversation(archived, archived=True)
    assert found(store, "llama") == [archived]
    assert found(store, "🦙") == []
    store.restore(gone)
    assert found(store, "🦙") == [gone]


def test_signs_and_parts_of_words_are_found_as_letters(store: Store) -> None:
    emoji, chinese = chat(store, "look 🦙 there"), chat(store, "我喜欢羊驼和美洲驼")
    title, part = chat(store, title="100 % done_now"), chat(store, "thunderstorm")
    assert found(store, "🦙") == [emoji]
    assert found(store, "羊驼") == [chinese]
    assert found(store, "%") == found(store, "_now") == [title]
    assert found(store, "DERSTO") == [part]
    (hit,) = store.search("🦙")
    assert hit.snippet == f"look {MATCH_START}🦙{MATCH_END} there"


def test_an_answer_is_found_once_it_is_finished_and_not_before(store: Store, path: Path) -> None:
    id = chat(store, "question")
    answer = store.begin_answer(store.messages(id)[0].id, model=None, parameters=None)

    def index() -> object:
        reader = apsw.Connection(str(path))
        try:
            return reader.execute("SELECT id, block FROM message_search_data").get
        finally:
            reader.close()

    before = index()
    store.write_answer(answer.id, "The llama is")
    store.write_answer(answer.id, "The llama is a camelid")
    assert index() == before
    assert found(store, "camelid") == []
    store.finish_answer(answer.id, text="The llama is a camelid", status="complete")
    assert found(store, "camelid") == [id]
    store.finish_answer(answer.id, text="Something else", status="complete")
    assert (found(store, "camelid"), found(store, "something")) == ([], [id])


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\0"])
def test_an_empty_query_finds_nothing(store: Store, query: str) -> None:
    chat(store, "llama")
    assert store.search(query) == []


@pytest.mark.parametrize(
    "query",
    [
        '"NEAR"',
        "llama* OR",
        "(llama",
        "NOT title",
        "title:^x",
        "{a b}:",
        "AND",
        "llama\0alpaca",
        '"',
        "100 %_\\",
    ],
)
def test_operators_are_only_words(shared: Store, query: str) -> None:
    assert len(shared.search(query)) == 1


@pytest.mark.parametrize("query", ["\ud800", "a" * 100_000, "y " * 10_000, "'; --"])
def test_hostile_queries_find_nothing_and_break_nothing(shared: Store, query: str) -> None:
    assert shared.search(query) == []


@settings(max_examples=400, deadline=None, database=None)
@given(
    query=st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text(st.sampled_from('"*^:(){}+-\\%_\0 ANDORNEARllama🦙\ud800'), max_size=40)
)
def test_no_query_breaks_the_search(shared: Store, query: str) -> None:
    for hit in shared.search(query):
        assert hit.conversation.title == "untouched"


@settings(max_examples=200, deadline=None, database=None)
@given(text=st.text(min_size=1, max_size=80).filter(to_expression))
def test_what_was_written_can_be_found(text: str) -> None:
    store = Store.open(None)
    id = chat(store, text)
    assert found(store, text) == [id]
    store.close()


def test_a_search_that_nobody_waits_for_any_more_gives_up(store: Store) -> None:
    id = store.create_conversation().id
    text = " ".join(f"w{number}" for number in range(400))
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO message (conversation, role, text, status, created)"
            " VALUES (?, 'user', ?, 'complete', 1)",
            [(id, text)] * 500,
        )
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 1

    assert store.search("w", cancelled=cancelled) == []
    assert len(asked) == 2
    assert store.search("", filters=Filters(after=0.0), cancelled=lambda: True) == []
    assert [hit.conversation.id for hit in store.search("w")] == [id]
