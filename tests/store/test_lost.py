from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest

from corral.store.note import Note, read_note, write_note
from corral.store.store import Store

CHATS = 3


@pytest.fixture
def used(path: Path) -> Path:
    """A closed history of some conversations with one message each."""
    store = Store.open(path)
    for number in range(CHATS):
        store.add_user(store.create_conversation().id, f"secret {number}", None)
    store.close()
    return path


def texts(store: Store) -> list[str]:
    return sorted(m.text for c in store.conversations() for m in store.messages(c.id))


def kept(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir() if ".empty-" in file.name]


@pytest.mark.parametrize("gone", [True, False])
def test_had_data_and_is_empty_now_is_not_a_new_install(used: Path, gone: bool) -> None:
    if gone:
        used.unlink()
    else:
        used.write_bytes(b"")
    store = Store.open(used)
    (notice,) = store.notices
    assert f"it held {CHATS} conversations when it was last used" in notice
    assert [name in notice for name in kept(used)] == ([] if gone else [True])
    store.create_conversation()
    store.close()
    again = Store.open(used)
    assert again.notices == []
    assert len(again.conversations()) == 1
    again.close()


def test_an_empty_file_beside_a_full_wal_is_salvaged(used: Path) -> None:
    writer = apsw.Connection(str(used))
    writer.execute("UPDATE message SET created = created + 1")
    log = Path(f"{used}-wal").read_bytes()
    writer.close()
    used.write_bytes(b"")
    used.with_name("corral.db.note").unlink()
    Path(f"{used}-wal").write_bytes(log)
    store = Store.open(used)
    assert [f"with {CHATS} messages were salvaged" in notice for notice in store.notices] == [True]
    assert texts(store) == [f"secret {number}" for number in range(CHATS)]
    assert sorted(kept(used))[1].endswith("-wal")
    store.close()


def test_a_new_install_has_no_notice(path: Path) -> None:
    path.touch(0o600)
    store = Store.open(path)
    assert store.notices == []
    store.close()


def test_an_older_copy_in_the_place_of_the_file_is_told(used: Path) -> None:
    copy = used.read_bytes()
    store = Store.open(used)
    store.add_user(1, "one more", None)
    store.close()
    used.write_bytes(copy)
    older = Store.open(used)
    assert ["older" in notice for notice in older.notices] == [True]
    assert len(texts(older)) == CHATS
    older.close()
    again = Store.open(used)
    assert again.notices == []
    again.close()


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'{"conversations": null}', b"\xff"])
def test_a_note_that_cannot_be_read_is_replaced(used: Path, content: bytes) -> None:
    note = used.with_name("corral.db.note")
    note.write_bytes(content)
    store = Store.open(used)
    assert (store.notices, len(texts(store))) == ([], CHATS)
    store.close()
    assert json.loads(note.read_bytes())["messages"] == CHATS


def test_the_note_names_who_has_the_file_open_and_holds_no_text(used: Path) -> None:
    first, second = Store.open(used), Store.open(used)
    note = read_note(used)
    assert note is not None and len(note.open) == 1
    first.close()
    second.close()
    assert read_note(used) == Note(CHATS, CHATS, CHATS, (), False)
    assert "secret" not in used.with_name("corral.db.note").read_text()


def test_a_note_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_note(tmp_path / "missing" / "corral.db", Note())
    assert "could not be written" in caplog.text
