from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from corral.store.store import Store

MARKER = "zqmarkerxw"


def hits(path: Path, marker: str = MARKER) -> dict[str, int]:
    """How often the marker occurs in each file of the history, in any case."""
    return {
        file.name: count
        for file in path.parent.iterdir()
        if (count := file.read_bytes().lower().count(marker.encode()))
    }


def fill(store: Store, marker: str, count: int = 30) -> int:
    """A conversation that holds the marker in every place a text can be."""
    chat = store.create_conversation(title=f"title {marker}", system=f"system {marker}").id
    parent = None
    for number in range(count):
        parent = store.add_user(chat, f"{marker} question {number} " * 20, parent).id
        answer = store.begin_answer(parent, model={"file": marker}, parameters={"stop": [marker]})
        store.write_answer(answer.id, f"{marker} half")
        store.finish_answer(
            answer.id, text=f"{marker.upper()} {number}" * 200, status="failed", error=marker
        )
        parent = answer.id
    store.update_conversation(chat, draft=f"{marker} draft", model=marker)
    return chat


def test_deleting_leaves_no_byte_behind(store: Store, path: Path) -> None:
    keep = fill(store, "otherwordxq", count=5)
    gone = fill(store, MARKER)
    with store._database.read() as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    before = hits(path)
    assert before["corral.db"] > 100 and before["corral.db-wal"] > 100
    store.delete(gone)
    assert hits(path) == {}
    assert store.notices == []
    assert len(store.messages(keep)) == 10
    assert [hit.conversation.id for hit in store.search("otherwordxq")] == [keep]


def test_emptying_the_trash_leaves_no_byte_behind(store: Store, path: Path) -> None:
    store.trash(fill(store, MARKER, count=5))
    assert hits(path)
    assert store.empty_trash() == 1
    assert hits(path) == {}


def test_copies_that_split_pages_leave_behind_are_removed_too(store: Store, path: Path) -> None:
    """This order of writes leaves copies that ``secure_delete`` alone does not reach."""
    chance = random.Random(6)
    with store._database.read() as connection:
        connection.execute("PRAGMA synchronous = OFF").fetchall()  # for speed; no power is cut here
    chats = [store.create_conversation().id for _ in range(12)]

    def words(chat: int, *counts: int) -> str:
        return f"secret{chat:03}z " * chance.choice(counts)

    for _ in range(400):
        chat = chance.choice(chats)
        message = store.add_user(chat, words(chat, 1, 3, 20, 100), None)
        if chance.random() < 0.4:
            answer = store.begin_answer(message.id, model=None, parameters=None)
            for times in range(4):
                store.write_answer(answer.id, words(chat, 5, 20, 100, 300) * times)
            store.finish_answer(answer.id, text=words(chat, 5, 20, 100, 300), status="complete")
    gone = chance.sample(chats, 6)
    for chat in gone:
        store.delete(chat)
    assert [chat for chat in gone if hits(path, f"secret{chat:03}z")] == []
    assert all(hits(path, f"secret{chat:03}z") for chat in chats if chat not in gone)


def test_a_reader_in_the_way_is_told_and_the_rest_follows(store: Store, path: Path) -> None:
    gone = fill(store, MARKER, count=5)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN; SELECT count(*) FROM message").fetchall()
    store.delete(gone)
    assert ["traces" in notice for notice in store.notices] == [True]
    assert store.search(MARKER) == []
    reader.close()
    store.close()
    assert hits(path) == {}


def test_a_deletion_that_fails_deletes_nothing(path: Path) -> None:
    store = Store.open(path, patience=0.05)
    chat = fill(store, MARKER, count=2)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Exception, match="locked"):
        store.delete(chat)
    other.close()
    assert len(store.messages(chat)) == 4
    store.close()
