from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from corral.errors import NotFound, StoreError
from corral.store.store import Store


def test_a_new_conversation_holds_what_it_was_given(store: Store) -> None:
    made = store.create_conversation(
        title="Llamas", system="Be brief", model="llama-2-7b-chat:Q4_K_M", parameters={"top_k": 3}
    )
    found = store.conversation(made.id)
    assert found == made
    assert (found.title, found.titled, found.system) == ("Llamas", True, "Be brief")
    assert (found.model, found.parameters) == ("llama-2-7b-chat:Q4_K_M", {"top_k": 3})
    assert (found.messages, found.active, found.draft) == (0, None, "")
    assert found.created == found.updated


def test_a_conversation_without_a_title_is_not_titled(store: Store) -> None:
    assert store.create_conversation().titled is False


def test_the_list_has_pinned_ones_first_and_then_the_latest(store: Store) -> None:
    old, middle, new, hidden, gone = (store.create_conversation().id for _ in range(5))
    store.update_conversation(old, pinned=True)
    store.update_conversation(hidden, archived=True)
    store.trash(gone)
    store.add_user(middle, "hello", None)
    store.add_user(middle, "again", None)
    assert [(c.id, c.messages) for c in store.conversations()] == [(old, 0), (middle, 2), (new, 0)]
    assert [c.id for c in store.conversations(limit=2)] == [old, middle]
    assert [c.id for c in store.conversations(archived=True)] == [hidden]


def test_the_latest_is_neither_archived_nor_in_the_trash(store: Store) -> None:
    assert store.latest() is None
    first, second, third = (store.create_conversation().id for _ in range(3))
    store.update_conversation(first, pinned=True)
    store.trash(third)
    latest = store.latest()
    assert latest is not None and latest.id == second
    store.update_conversation(second, archived=True)
    latest = store.latest()
    assert latest is not None and latest.id == first


def test_only_what_is_given_changes_and_the_place_in_the_list_stays(store: Store) -> None:
    before = store.create_conversation(system="Be brief")
    after = store.update_conversation(before.id, title="New", pinned=True, draft="unsent")
    assert (after.title, after.titled, after.pinned, after.draft) == ("New", True, True, "unsent")
    assert (after.system, after.updated, after.archived) == ("Be brief", before.updated, False)
    assert store.update_conversation(before.id, pinned=False).draft == "unsent"
    assert store.update_conversation(before.id) == store.conversation(before.id)


def test_a_model_and_parameters_can_be_set_and_cleared(store: Store) -> None:
    id = store.create_conversation().id
    assert store.update_conversation(id, model="m", parameters={"seed": 1}).parameters == {
        "seed": 1
    }
    cleared = store.update_conversation(id, model=None, parameters={})
    assert (cleared.model, cleared.parameters) == (None, {})


def test_an_emptied_title_is_given_by_the_next_message(store: Store) -> None:
    id = store.create_conversation(title="Mine").id
    assert store.update_conversation(id, title="").titled is False
    store.add_user(id, "What is an alpaca?", None)
    assert store.conversation(id).title == "What is an alpaca?"


def test_the_active_leaf_must_be_a_message_of_the_conversation(store: Store) -> None:
    first, second = store.create_conversation().id, store.create_conversation().id
    one = store.add_user(first, "one", None)
    other = store.add_user(first, "other", None)
    assert store.update_conversation(first, active=one.id).active == one.id
    with pytest.raises(NotFound):
        store.update_conversation(second, active=other.id)
    assert store.conversation(second).active is None
    assert store.update_conversation(first, active=None).active is None


def test_the_trash_hides_and_gives_back(store: Store) -> None:
    conversation = store.create_conversation(title="Cusco")
    message = store.add_user(conversation.id, "Where to sleep?", None)
    store.trash(conversation.id)
    with pytest.raises(NotFound, match="in the trash") as caught:
        store.conversation(conversation.id)
    assert caught.value.hint
    with pytest.raises(NotFound):
        store.add_user(conversation.id, "more", None)
    with pytest.raises(NotFound):
        store.trash(conversation.id)
    store.restore(conversation.id)
    assert store.conversation(conversation.id).title == "Cusco"
    assert store.messages(conversation.id) == [message]


def test_the_trash_is_emptied_of_what_is_old_enough(store: Store) -> None:
    keep, old, recent = (store.create_conversation().id for _ in range(3))
    store.add_user(old, "long ago", None)
    store.trash(old)
    for _ in range(100):
        store._clock()
    store.trash(recent)
    assert store.empty_trash(older_than=50) == 1
    with pytest.raises(NotFound, match="no conversation"):
        store.restore(old)
    assert store.messages(old) == []
    assert store.empty_trash() == 1
    assert store.empty_trash() == 0
    assert [c.id for c in store.conversations()] == [keep]


@pytest.mark.parametrize("id", [0, -1, 7, 2**63 - 1, 2**63, -(2**70)])
def test_what_does_not_exist_is_not_found(store: Store, id: int) -> None:
    for action in (
        store.conversation,
        store.update_conversation,
        store.trash,
        store.restore,
        store.delete,
        store.message,
        store.unsend,
    ):
        with pytest.raises(NotFound):
            action(id)


def test_ids_are_never_given_out_twice(store: Store) -> None:
    first = store.create_conversation().id
    message = store.add_user(first, "x", None).id
    store.delete(first)
    second = store.create_conversation().id
    assert second > first
    assert store.add_user(second, "x", None).id > message


def test_json_that_cannot_be_understood_counts_as_absent(store: Store, path: Path) -> None:
    conversation = store.create_conversation(parameters={"seed": 1})
    question = store.add_user(conversation.id, "hello", None)
    answer = store.begin_answer(question.id, model={"name": "m"}, parameters={})
    other = apsw.Connection(str(path))
    other.execute("UPDATE conversation SET parameters = '{\"seed\":'")
    other.execute("UPDATE message SET model = '[1]', usage = ?", ("[" * 100_000,))
    other.close()
    assert store.conversation(conversation.id).parameters == {}
    found = store.message(answer.id)
    assert (found.model, found.usage, found.parameters) == (None, None, {})


def test_text_with_damaged_bytes_is_still_readable(store: Store, path: Path) -> None:
    conversation = store.create_conversation(title="Llamas")
    message = store.add_user(conversation.id, "hello", None)
    other = apsw.Connection(str(path))
    other.execute("UPDATE conversation SET draft = CAST(x'61ff62' AS TEXT)")
    other.execute("UPDATE message SET error = CAST(x'ff' AS TEXT)")
    other.close()
    assert store.conversations()[0].draft == "a\ufffdb"
    assert store.message(message.id).error == "\ufffd"


def test_closing_twice_is_harmless_and_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.conversations()


def test_a_store_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open(None)
    id = store.create_conversation().id
    store.add_user(id, "hello llama", None)
    assert store.search("llama")[0].conversation.id == id
    store.delete(id)
    assert (store.conversations(), store.notices) == ([], [])
    store.close()
    assert list(tmp_path.iterdir()) == []
