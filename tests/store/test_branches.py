"""Deleting, bringing back, forking and going on with branches; two programs at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.conftest import Clock

from corral.chat.conversation import Message, active_path, latest_leaf
from corral.errors import NotFound, UsageError
from corral.store.conversations import KEPT_IN_TRASH
from corral.store.store import Store


def answer(store: Store, parent: int, text: str, **values: object) -> Message:
    begun = store.begin_answer(parent, model={"name": "m", "quant": "Q4_K_M"}, parameters=None)
    return store.finish_answer(
        begun.id,
        text=text,
        status="complete",
        stop_reason="end",
        **values,  # type: ignore[arg-type]
    )


def talk(store: Store, chat: int, *pairs: tuple[str, str]) -> list[int]:
    """Questions and answers in one line; their ids."""
    ids: list[int] = []
    for question, said in pairs:
        ids.append(store.add_user(chat, question, ids[-1] if ids else None).id)
        ids.append(answer(store, ids[-1], said).id)
    return ids


def links(store: Store, chat: int) -> list[tuple[int, int | None]]:
    return [(message.id, message.parent) for message in store.messages(chat)]


@pytest.fixture
def chat(store: Store) -> int:
    return store.create_conversation().id


@pytest.fixture
def ids(store: Store, chat: int) -> list[int]:
    return talk(store, chat, ("one?", "first"), ("two?", "second"), ("three?", "third"))


def test_a_deleted_branch_is_nowhere_and_comes_back_the_same(
    store: Store, chat: int, ids: list[int], integrity: Callable[[], str]
) -> None:
    before, tree = store.conversation(chat), store.messages(chat)
    done = store.delete_message(ids[2])
    assert (done.messages, done.first.id) == (4, ids[2])
    assert (done.conversation.active, done.conversation.messages) == (ids[1], 2)
    assert [message.id for message in store.messages(chat)] == ids[:2]
    assert store.search("second") == [] and store.search("hird") == []
    assert [hit.message for hit in store.search("first")] == [ids[1]]
    with pytest.raises(NotFound, match="deleted"):
        store.message(ids[3])
    back = store.undo_deletion(chat)
    assert (back.messages, back.first.id, back.conversation.active) == (4, ids[2], ids[5])
    assert store.messages(chat) == tree
    assert store.conversation(chat) == before
    assert [hit.message for hit in store.search("second")] == [ids[3]]
    assert integrity() == "ok"


def test_undo_survives_a_restart_and_takes_the_last_first(
    store: Store, chat: int, ids: list[int], path: Path, clock: Clock
) -> None:
    store.delete_message(ids[4])
    store.delete_message(ids[2])
    store.close()
    again = Store.open(path, clock)
    found = again.deletion(chat)
    assert found is not None and (found.first.text, found.messages) == ("two?", 2)
    assert again.undo_deletion(chat).messages == 2
    assert [message.id for message in again.messages(chat)] == ids[:4]
    assert again.undo_deletion(chat).messages == 2
    assert [message.id for message in again.messages(chat)] == ids
    assert again.deletion(chat) is None
    with pytest.raises(NotFound, match="Nothing"):
        again.undo_deletion(chat)
    again.close()


def test_deleting_one_message_leaves_what_follows(store: Store, chat: int, ids: list[int]) -> None:
    tree = store.messages(chat)
    done = store.delete_message(ids[2], branch=False)
    assert (done.messages, done.conversation.active, done.conversation.messages) == (1, ids[5], 5)
    store.delete_message(ids[3], branch=False)
    assert links(store, chat) == [
        (ids[0], None),
        (ids[1], ids[0]),
        (ids[4], ids[1]),
        (ids[5], ids[4]),
    ]
    assert store.message(ids[4]).parent == ids[1]
    assert [m.id for m in active_path(store.messages(chat), ids[5])] == [
        ids[0],
        ids[1],
        ids[4],
        ids[5],
    ]
    store.undo_deletion(chat)
    store.undo_deletion(chat)
    assert store.messages(chat) == tree


def test_deleting_goes_to_the_branch_beside_it(store: Store, chat: int, ids: list[int]) -> None:
    other = answer(store, ids[4], "third, otherwise").id
    assert store.conversation(chat).active == other
    assert store.delete_message(other).conversation.active == ids[5]
    # And what is shown stays, where something else is deleted.
    store.undo_deletion(chat)
    assert store.delete_message(ids[5]).conversation.active == other


def test_the_first_message_can_be_deleted_and_comes_back(
    store: Store, chat: int, ids: list[int]
) -> None:
    done = store.delete_message(ids[0])
    assert (done.messages, done.conversation.active, done.conversation.messages) == (6, None, 0)
    fresh = store.add_user(chat, "anew", None)
    assert store.undo_deletion(chat).conversation.active == ids[5]
    assert len(store.messages(chat)) == 7
    assert latest_leaf(store.messages(chat), fresh.id) == fresh.id


def test_nothing_can_be_hung_below_what_is_deleted(store: Store, chat: int, ids: list[int]) -> None:
    store.delete_message(ids[4])
    for attempt in (
        lambda: store.add_user(chat, "more", ids[5]),
        lambda: store.begin_answer(ids[4], model=None, parameters=None),
        lambda: store.resume_answer(ids[5]),
        lambda: store.edit_answer(ids[5], "x"),
        lambda: store.delete_message(ids[5]),
        lambda: store.fork(chat, ids[5]),
        lambda: store.update_conversation(chat, active=ids[5]),
        lambda: store.mark_message(ids[5], pinned=True),
    ):
        with pytest.raises(NotFound):
            attempt()
    assert store.conversation(chat).active == ids[3]


def test_an_answer_is_finished_also_where_another_program_deleted_it(
    store: Store, chat: int, path: Path
) -> None:
    question = store.add_user(chat, "hello", None)
    begun = store.begin_answer(question.id, model=None, parameters=None)
    beside = Store.open(path)
    assert beside.delete_message(question.id).messages == 2
    store.write_answer(begun.id, "Hel")
    done = store.finish_answer(begun.id, text="Hello!", status="complete", stop_reason="end")
    assert done.text == "Hello!"
    assert store.messages(chat) == []
    assert [hit.message for hit in store.search("hello")] == [None]  # Only the title is left.
    beside.undo_deletion(chat)
    assert [message.text for message in store.messages(chat)] == ["hello", "Hello!"]
    beside.close()


def test_two_programs_in_one_conversation_both_keep_what_they_said(
    store: Store, chat: int, ids: list[int], path: Path
) -> None:
    beside = Store.open(path)
    mine = store.add_user(chat, "mine", ids[5])
    theirs = beside.add_user(chat, "theirs", ids[5])
    answer(store, mine.id, "to mine")
    answer(beside, theirs.id, "to theirs")
    texts = [message.text for message in store.messages(chat)]
    assert texts[6:] == ["mine", "theirs", "to mine", "to theirs"]
    # One goes on with an answer that the other has just replied to.
    store.finish_answer(ids[5], text="third", status="stopped", stop_reason="stopped")
    resumed = store.resume_answer(ids[5])
    assert resumed.id != ids[5] and (resumed.text, resumed.parent) == ("third", ids[4])
    with pytest.raises(UsageError, match="being written"):
        beside.resume_answer(resumed.id)
    beside.close()


def test_what_is_old_goes_for_good_and_what_hung_below_it_stays(
    store: Store, chat: int, ids: list[int], path: Path, clock: Clock
) -> None:
    store.delete_message(ids[4])
    store.delete_message(ids[2], branch=False)
    assert store.empty_trash(KEPT_IN_TRASH) == 0
    assert store.deletion(chat) is not None
    clock.now += KEPT_IN_TRASH
    other = store.create_conversation(title="newer").id
    store.trash(other)
    store.delete_message(ids[1], branch=False)
    assert store.empty_trash(KEPT_IN_TRASH) == 0
    assert links(store, chat) == [(ids[0], None), (ids[3], ids[0])]
    assert store.undo_deletion(chat).first.id == ids[1]
    assert store.deletion(chat) is None
    assert links(store, chat) == [(ids[0], None), (ids[1], ids[0]), (ids[3], ids[1])]
    assert b"third" not in path.read_bytes()
    store.restore(other)


def test_emptying_the_trash_leaves_no_byte_of_a_branch(
    store: Store, chat: int, ids: list[int], path: Path, integrity: Callable[[], str]
) -> None:
    marked = store.add_user(chat, "zqmarkerxw " * 3000, ids[5])
    store.delete_message(marked.id)
    assert store.empty_trash() == 0
    for file in path.parent.iterdir():
        assert b"zqmarkerxw" not in file.read_bytes()
    assert len(store.messages(chat)) == 6
    assert integrity() == "ok"
    assert store.notices == []


def test_a_fork_is_a_copy_with_its_provenance(store: Store, chat: int, ids: list[int]) -> None:
    store.update_conversation(chat, system="Be brief", parameters={"seed": 1}, folder="a/b")
    cut = answer(
        store,
        ids[4],
        "cut",
        parameters={"window_from": ids[2], "seed": 7},
        usage={"completion_tokens": 3},
        timings={"tokens_per_second": 41.2},
    )
    store.mark_message(ids[0], pinned=True, summary="what was before")
    fork = store.fork(chat, cut.id)
    assert fork.title == "one? · fork"
    assert (fork.system, fork.parameters, fork.folder) == ("Be brief", {"seed": 1}, "a/b")
    copies = store.messages(fork.id)
    assert [m.text for m in copies] == ["one?", "first", "two?", "second", "three?", "cut"]
    assert fork.active == copies[-1].id and fork.messages == 6
    assert [m.parent for m in copies] == [None, *(m.id for m in copies[:-1])]
    assert (copies[0].pinned, copies[0].summary) == (True, "what was before")
    last = copies[-1]
    assert last.parameters == {"window_from": copies[2].id, "seed": 7}
    assert (last.usage, last.timings, last.model) == (cut.usage, cut.timings, cut.model)
    assert last.created == cut.created
    # The other one is untouched, and each goes its own way.
    assert len(store.messages(chat)) == 7
    store.delete(fork.id)
    assert len(store.messages(chat)) == 7


def test_a_fork_names_only_messages_of_its_own(store: Store, chat: int, ids: list[int]) -> None:
    edited = store.edit_answer(ids[1], "a person's words")
    store.edit_answer(edited.id, "and again")
    gaps = [[1], 2, [[], {}], [ids[0], edited.id], [ids[0], 99]]
    made = {"window_from": [1], "edited_from": edited.id, "window_gaps": gaps, "seed": 1}
    with store._database.write() as connection:
        values = (json.dumps(made), edited.id)
        connection.execute("UPDATE message SET parameters = ? WHERE id = ?", values)
    fork = store.fork(chat, edited.id)
    first, last = store.messages(fork.id)
    pairs = [[first.id, last.id]]
    assert last.parameters == {"edited_from": last.id, "window_gaps": pairs, "seed": 1}
    again = store.messages(store.fork(chat).id)[-1]
    assert (again.text, again.parameters) == ("and again", {"edited_from": None})


def test_a_damaged_tree_that_runs_in_a_ring_ends(store: Store, chat: int, ids: list[int]) -> None:
    with store._database.write() as connection:
        connection.execute("UPDATE message SET parent = ? WHERE id = ?", (ids[-1], ids[0]))
    assert store.fork(chat, ids[1]).messages <= len(ids)
    assert latest_leaf(store.messages(chat), ids[0]) in ids
    assert store.delete_message(ids[1]).messages == len(ids)
    assert store.undo_deletion(chat).messages == len(ids)


def test_a_fork_ends_where_it_was_asked_to(store: Store, chat: int, ids: list[int]) -> None:
    fork = store.fork(chat, ids[2])
    assert [m.text for m in store.messages(fork.id)] == ["one?", "first", "two?"]
    begun = store.begin_answer(ids[4], model=None, parameters=None)
    store.write_answer(begun.id, "so far")
    running = store.messages(store.fork(chat).id)[-1]
    assert (running.text, running.status) == ("so far", "stopped")
    with pytest.raises(NotFound):
        store.fork(chat, 999)
    with pytest.raises(UsageError, match="no message"):
        store.fork(store.create_conversation().id)


def test_an_edited_answer_stands_beside_it_and_says_so(
    store: Store, chat: int, ids: list[int]
) -> None:
    edited = store.edit_answer(ids[3], "second, but better")
    assert edited.parent == ids[2] and edited.role == "assistant"
    assert edited.parameters == {"edited_from": ids[3]}
    assert (edited.status, edited.usage, edited.timings) == ("complete", None, None)
    assert edited.model == {"name": "m", "quant": "Q4_K_M"}
    assert store.message(ids[3]).text == "second"
    assert store.conversation(chat).active == edited.id
    assert [hit.message for hit in store.search("better")] == [edited.id]
    with pytest.raises(UsageError, match="no answer"):
        store.edit_answer(ids[2], "x")


def test_an_answer_goes_on_in_its_row_and_can_be_recovered(
    store: Store, chat: int, path: Path
) -> None:
    question = store.add_user(chat, "count", None)
    begun = store.begin_answer(question.id, model={"name": "m"}, parameters={"seed": 3})
    store.finish_answer(begun.id, text="One, two", status="stopped", stop_reason="stopped")
    resumed = store.resume_answer(begun.id)
    assert (resumed.id, resumed.text, resumed.status) == (begun.id, "One, two", "streaming")
    assert (resumed.model, resumed.parameters) == ({"name": "m"}, {"seed": 3})
    # While it is written it cannot be found, as any answer; then it can, all of it.
    assert store.search("two") == []
    store.write_answer(begun.id, "One, two, three")
    other = apsw.Connection(str(path))
    other.execute("UPDATE message SET writer = '4194304999:1.0' WHERE id = ?", (begun.id,))
    other.close()
    assert store.recover() == 1
    assert store.message(begun.id).text == "One, two, three"
    assert [hit.message for hit in store.search("two three")] == [begun.id]


@settings(max_examples=60, deadline=None, database=None)
@given(
    parents=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    deletions=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8),
)
def test_undoing_everything_gives_the_same_tree(
    parents: list[int], deletions: list[tuple[int, bool]]
) -> None:
    store = Store.open(None)
    chat = store.create_conversation().id
    made: list[int] = []
    for at in parents:
        parent = None if at == 0 or not made else made[at % len(made)]
        made.append(store.add_user(chat, f"text {len(made)}", parent).id)
    tree = store.messages(chat)
    done = 0
    for at, branch in deletions:
        alive = store.messages(chat)
        if not alive:
            break
        store.delete_message(alive[at % len(alive)].id, branch=branch)
        done += 1
        found = {message.id for message in store.messages(chat)}
        assert all(m.parent is None or m.parent in found for m in store.messages(chat))
        active = store.conversation(chat).active
        assert active in found if found else active is None
        assert store.conversation(chat).messages == len(found)
    for _ in range(done):
        store.undo_deletion(chat)
    assert store.messages(chat) == tree
    for at, branch in deletions[:3]:
        alive = store.messages(chat)
        if alive:
            store.delete_message(alive[at % len(alive)].id, branch=branch)
    kept = links(store, chat)
    store.empty_trash()
    assert links(store, chat) == kept
    store.close()


def test_ten_thousand_messages_are_forked_deleted_and_brought_back(store: Store) -> None:
    chat = store.create_conversation().id
    with store._database.write() as connection:
        for number in range(10_000):
            connection.execute(
                "INSERT INTO message (conversation, parent, role, text, status, created)"
                " VALUES (?, ?, ?, ?, 'complete', 1.0)",
                (chat, number or None, "assistant" if number % 2 else "user", f"words {number}"),
            )
        connection.execute("UPDATE conversation SET active = 10000 WHERE id = ?", (chat,))
    assert store.delete_message(2).messages == 9_999
    assert store.conversation(chat).messages == 1
    assert store.undo_deletion(chat).conversation.active == 10_000
    assert store.fork(chat).messages == 10_000


def test_the_end_of_the_path_comes_with_its_siblings(
    store: Store, chat: int, ids: list[int]
) -> None:
    other = answer(store, ids[4], "third, otherwise").id
    assert [m.id for m in store.last_messages(chat, 1)] == [ids[5], other]
    assert [m.id for m in store.last_messages(chat, 3)] == [ids[3], ids[4], ids[5], other]
    assert store.last_messages(chat, 50) == store.messages(chat)
    store.delete_message(ids[5])
    store.delete_message(ids[3], branch=False)
    assert [(m.id, m.parent) for m in store.last_messages(chat, 3)] == [
        (ids[4], ids[2]),
        (other, ids[4]),
    ]
    assert store.last_messages(store.create_conversation().id, 3) == []
