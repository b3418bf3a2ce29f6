"""What is exported as JSON and imported elsewhere is the same, and is there once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.moving.trees import Clock, answer, grown, shape

from corral.errors import NotFound
from corral.moving.exporting import export_file
from corral.moving.importing import import_file
from corral.store.store import Store

NOW = 1_800_000_000.0


def moved(store: Store, ids: list[int], path: Path) -> Path:
    export_file(store, ids, "json", path, now=NOW)
    return path


def test_the_same_tree_texts_provenance_pins_summaries_and_end(
    store: Store, other: Store, tmp_path: Path
) -> None:
    other.create_conversation(title="So that the numbers differ")
    other.add_user(1, "Hello", None)
    id = grown(store)
    done = import_file(other, moved(store, [id], tmp_path / "a.json"), now=NOW)
    assert (len(done.added), done.messages, done.failed, done.kinds) == (1, 7, 0, {"corral"})
    assert shape(other, done.added[0]) == shape(store, id)
    # What came in is found, and can be gone on with.
    assert [hit.conversation.id for hit in other.search("vicuña")] == done.added
    other.add_user(done.added[0], "Go on", other.conversation(done.added[0]).active)


def test_imported_twice_is_there_once_wherever_it_came_from(
    store: Store, other: Store, tmp_path: Path
) -> None:
    id = grown(store)
    path = moved(store, [id], tmp_path / "a.json")
    first = import_file(other, path, now=NOW)
    second = import_file(other, path, now=NOW)
    assert (second.added, second.known, second.messages) == ([], 1, 0)
    # Back in its own history, also by way of the other one, it is itself.
    there = moved(other, first.added, tmp_path / "b.json")
    back = import_file(store, there, now=NOW)
    assert (back.added, back.extended, back.known) == ([], [], 1)
    assert len(store.conversations()) == len(other.conversations()) == 1


def test_what_went_on_elsewhere_is_added_and_what_differs_here_stays(
    store: Store, other: Store, tmp_path: Path
) -> None:
    id = grown(store)
    copy = import_file(other, moved(store, [id], tmp_path / "a.json"), now=NOW).added[0]
    end = store.conversation(id).active
    question = store.add_user(id, "And a guanaco?", end)
    answer(store, question.id, "Wild.")
    other.update_conversation(copy, title="Mine")
    done = import_file(other, moved(store, [id], tmp_path / "b.json"), now=NOW)
    assert (done.extended, done.messages) == ([copy], 2)
    here = other.whole(copy)
    assert here.conversation.title == "Mine"
    assert [m.text for m in here.messages][-2:] == ["And a guanaco?", "Wild."]
    assert here.conversation.active == here.messages[-1].id
    # Somebody who went on here is not moved away from where they are.
    mine = other.add_user(copy, "Something else", here.messages[0].id)
    more = store.add_user(id, "And a camel?", store.conversation(id).active)
    assert more
    done = import_file(other, moved(store, [id], tmp_path / "c.json"), now=NOW)
    assert (done.extended, done.messages) == ([copy], 1)
    assert other.conversation(copy).active == mine.id


def test_what_was_deleted_here_does_not_come_back(
    store: Store, other: Store, tmp_path: Path
) -> None:
    id = grown(store)
    path = moved(store, [id], tmp_path / "a.json")
    copy = import_file(other, path, now=NOW).added[0]
    first, one, *_ = other.messages(copy)
    other.delete_message(one.id)
    left = len(other.messages(copy))
    assert left < 7
    assert import_file(other, path, now=NOW).known == 1
    assert len(other.messages(copy)) == left
    other.trash(copy)
    again = import_file(other, path, now=NOW)
    assert (again.in_trash, again.conversations) == (1, 1)
    with pytest.raises(NotFound):
        other.conversation(copy)
    # Deleted for good it is new.
    other.delete(copy)
    assert len(import_file(other, path, now=NOW).added) == 1
    assert first.role == "user"


def test_two_histories_that_came_from_one_backup_are_told_apart(
    store: Store, tmp_path: Path
) -> None:
    store.history_id()
    store.copy_to(tmp_path / "copy.db")
    clock = Clock()
    clock.now += 5_000
    twin = Store.open(tmp_path / "copy.db", clock)
    try:
        mine = store.create_conversation(title="Mine")
        store.add_user(mine.id, "I", None)
        theirs = twin.create_conversation(title="Theirs")
        twin.add_user(theirs.id, "You", None)
        assert mine.id == theirs.id
        done = import_file(store, moved(twin, [theirs.id], tmp_path / "a.json"), now=NOW)
        assert len(done.added) == 1
        assert {c.title for c in store.conversations()} == {"Mine", "Theirs"}
    finally:
        twin.close()


def test_hundreds_of_conversations_come_through(store: Store, other: Store, tmp_path: Path) -> None:
    ids = []
    for number in range(130):
        made = store.create_conversation(title=f"Number {number}")
        question = store.add_user(made.id, f"Question {number}", None)
        answer(store, question.id, "Answer " * 50)
        ids.append(made.id)
    path = moved(store, ids, tmp_path / "a.json")
    assert len(path.read_text().splitlines()) == 132, "one conversation a line"
    seen: list[tuple[int, int]] = []
    done = import_file(other, path, now=NOW, progress=lambda a, b: seen.append((a, b)))
    assert len(done.added) == 130 and seen[-1] == (path.stat().st_size,) * 2
    assert [shape(other, id) for id in done.added] == [shape(store, id) for id in ids]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), title=TEXTS)
def test_every_text_comes_through_byte_for_byte(
    texts: list[str], title: str, tmp_path: Path
) -> None:
    here, there = Store.open(None, Clock()), Store.open(None, Clock())
    try:
        made = here.create_conversation(title=title or "x")
        parent = None
        for text in texts:
            question = here.add_user(made.id, text, parent)
            parent = answer(here, question.id, text[::-1]).id
        done = import_file(there, moved(here, [made.id], tmp_path / "a.json"), now=NOW)
        assert shape(there, done.added[0]) == shape(here, made.id)
    finally:
        here.close()
        there.close()


def test_an_answer_that_is_being_written_arrives_as_a_stopped_one(
    store: Store, other: Store, tmp_path: Path
) -> None:
    made = store.create_conversation()
    question = store.add_user(made.id, "Say something long", None)
    begun = store.begin_answer(question.id, model=None, parameters=None)
    store.write_answer(begun.id, "So far")
    done = import_file(other, moved(store, [made.id], tmp_path / "a.json"), now=NOW)
    (_, arrived) = other.messages(done.added[0])
    assert (arrived.text, arrived.status, arrived.stop_reason) == ("So far", "stopped", "stopped")
    assert json.loads((tmp_path / "a.json").read_text())[0]["messages"][1]["status"] == "streaming"
