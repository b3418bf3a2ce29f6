from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from corral.errors import StoreError
from corral.store.model_files import ModelFile
from corral.store.note import read_note
from corral.store.pages import records
from corral.store.store import Store

CHATS, TURNS = 12, 8
MESSAGES = CHATS * TURNS * 2
PAGE = 4096
WRITER = Path(__file__).with_name("writer.py")


def text(chat: int, turn: int, role: str) -> str:
    words = f"{role} {turn} of chat {chat} 🦙\r\n\0"
    return words * (1 if turn % 4 else 400)  # every fourth one needs overflow pages


def fill(path: Path) -> None:
    store = Store.open(path)
    for chat in range(CHATS):
        id = store.create_conversation(title=f"chat {chat}", parameters={"seed": chat}).id
        parent = None
        for turn in range(TURNS):
            question = store.add_user(id, text(chat, turn, "user"), parent)
            answer = store.begin_answer(question.id, model={"name": "m"}, parameters=None)
            store.finish_answer(
                answer.id, text=text(chat, turn, "answer"), status="complete", stop_reason="end"
            )
            parent = answer.id
        store.update_conversation(id, draft=f"draft {chat}")
    store.put_model_file(
        ModelFile("/m.gguf", "m", None, "Q4_0", 1, 2, None, "import", None, 3.0, {"layers": 2})
    )
    store.remember("licence", "accepted")
    store.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "corral.db"
    fill(path)
    return path.read_bytes()


@pytest.fixture
def used(path: Path, sound: bytes) -> Path:
    """A copy of the same closed history, with its note."""
    path.write_bytes(sound)
    path.chmod(0o600)
    Store.open(path).close()
    return path


def distrust(path: Path) -> None:
    """What remains after a read met damage, or after a crash: the next open looks at all pages."""
    note = read_note(path)
    assert note is not None
    path.with_name("corral.db.note").write_text(
        json.dumps(
            {
                "conversations": note.conversations,
                "messages": note.messages,
                "last_message": note.last_message,
                "open": [],
                "suspect": True,
            }
        )
    )


def kept(path: Path, word: str = "damaged") -> list[Path]:
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.startswith(f"corral.db.{word}-") and not file.name.endswith(("-wal", "-shm"))
    )


def check_texts(store: Store) -> int:
    """How many messages there are, all of them as they were written."""
    count = 0
    for conversation in [*store.conversations(), *store.conversations(archived=True)]:
        messages = store.messages(conversation.id)
        ids = {message.id for message in messages}
        assert conversation.active in ids | {None}
        for message in messages:
            assert message.parent is None or message.parent in ids
            chat, number = divmod(message.id - 1, TURNS * 2)
            role = "answer" if number % 2 else "user"
            assert message.text == text(chat, number // 2, role)
            assert message.conversation == chat + 1
        count += len(messages)
    return count


def pages_of(path: Path, table: str, kind: str) -> dict[int, int]:
    """The pages of one kind of a table, each with the number of its cells."""
    connection = apsw.Connection(str(path))
    try:
        return dict(
            connection.execute(
                "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = ?", (table, kind)
            )
        )
    finally:
        connection.close()


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("length", [100, PAGE])
def test_everything_behind_a_zeroed_header_is_salvaged(
    used: Path, sound: bytes, length: int, integrity: Callable[[], str]
) -> None:
    overwrite(used, 0, bytes(length))
    store = Store.open(used)
    (notice,) = store.notices
    (old,) = kept(used)
    assert old.name in notice
    assert f"{CHATS} conversations with {MESSAGES} messages were salvaged" in notice
    assert old.read_bytes() == bytes(length) + sound[length:]
    assert check_texts(store) == MESSAGES
    assert {c.draft for c in store.conversations()} == {f"draft {n}" for n in range(CHATS)}
    assert {c.parameters["seed"] for c in store.conversations()} == set(range(CHATS))
    (file,) = store.model_files()
    assert (file.path, file.header, file.added) == ("/m.gguf", {"layers": 2}, 3.0)
    assert store.recall("licence") == "accepted"
    assert len(store.search("chat 3")) > 0
    last = max(message.id for c in store.conversations() for message in store.messages(c.id))
    assert store.add_user(1, "goes on", None).id == last + 1
    store.close()
    assert integrity() == "ok"
    again = Store.open(used)
    assert again.notices == []
    again.close()


def test_a_file_that_is_no_database_is_kept_and_replaced(path: Path) -> None:
    path.write_bytes(b"<html>Sign in to the hotel network</html>")
    store = Store.open(path)
    assert store.conversations() == []
    assert ["set aside" in notice for notice in store.notices[-1:]] == [True]
    assert [file.read_bytes()[:6] for file in kept(path)] == [b"<html>"]
    store.close()


def test_nothing_that_was_set_aside_is_ever_overwritten(path: Path) -> None:
    for content in (b"one" * 50, b"two" * 50, b"three" * 50):
        path.write_bytes(content)
        path.chmod(0o600)
        Store.open(path, clock=lambda: 1_700_000_000.0).close()
        path.unlink()
    assert sorted(file.read_bytes()[:3] for file in kept(path)) == [b"one", b"thr", b"two"]


@pytest.mark.parametrize("seed", range(8))
def test_rows_on_sound_pages_survive_200_random_bytes(
    used: Path, seed: int, integrity: Callable[[], str]
) -> None:
    """Bytes in leaves of the message table: each costs at most the rows of its page."""
    chance = random.Random(seed)
    leaves = pages_of(used, "message", "leaf")
    hit = chance.sample(sorted(leaves), 2)
    for page in hit:
        overwrite(used, (page - 1) * PAGE, chance.randbytes(200))
    distrust(used)
    store = Store.open(used)
    count = sum(len(store.messages(c.id)) for c in store.conversations())
    assert count >= MESSAGES - sum(leaves[page] for page in hit)
    assert count < MESSAGES
    assert ["damaged" in notice for notice in store.notices] == [True]
    for conversation in store.conversations():
        ids = {message.id for message in store.messages(conversation.id)}
        assert conversation.active in ids | {None}
    store.close()
    assert integrity() == "ok"


def test_interior_pages_of_the_tree_are_not_needed(used: Path) -> None:
    inner = [*pages_of(used, "message", "internal"), *pages_of(used, "message_search_data", "leaf")]
    assert len(inner) > 1
    for page in inner:
        overwrite(used, (page - 1) * PAGE, b"\xff" * PAGE)
    distrust(used)
    store = Store.open(used)
    assert check_texts(store) == MESSAGES
    assert len(store.search("chat 3")) > 0
    store.close()


def test_a_lost_overflow_page_costs_one_message(used: Path) -> None:
    page = max(pages_of(used, "message", "overflow"))
    overwrite(used, (page - 1) * PAGE, b"\xff" * PAGE)
    overwrite(used, 0, bytes(100))
    store = Store.open(used)
    changed = [m for c in store.conversations() for m in store.messages(c.id) if "\ufffd" in m.text]
    count = sum(len(store.messages(c.id)) for c in store.conversations())
    assert count - len(changed) == MESSAGES - 1
    store.close()


def test_conversations_whose_row_is_lost_get_a_new_one(used: Path) -> None:
    for page in pages_of(used, "conversation", "leaf"):
        overwrite(used, (page - 1) * PAGE, bytes(PAGE))
    distrust(used)
    store = Store.open(used)
    assert check_texts(store) == MESSAGES
    found = {c.id: c for c in store.conversations()}
    assert len(found) == CHATS
    assert found[2].title.startswith("user 0 of chat 1")
    assert found[2].active == store.messages(2)[-1].id
    store.close()


def test_a_truncated_file_gives_what_is_left(used: Path, sound: bytes) -> None:
    half = len(sound) // 2 // PAGE * PAGE + 1000
    used.write_bytes(sound[:half])
    store = Store.open(used)
    assert 0 < check_texts(store) < MESSAGES
    assert len(kept(used)) == 1
    store.close()


def test_damage_that_is_met_while_reading_is_told_and_repaired_at_the_next_start(
    used: Path,
) -> None:
    for page in pages_of(used, "message", "leaf"):
        overwrite(used, (page - 1) * PAGE, b"\xff" * 100)
    store = Store.open(used)
    assert store.notices == []
    with pytest.raises(StoreError, match="damaged") as caught:
        store.messages(1)
    assert "Start corral again" in caught.value.hint
    store.close()
    again = Store.open(used)
    assert ["damaged" in notice for notice in again.notices] == [True]
    assert len(again.conversations()) == CHATS
    again.close()


def test_an_unclean_exit_has_all_pages_looked_at(path: Path) -> None:
    fill(path)
    process = subprocess.Popen(
        [sys.executable, str(WRITER), "answer", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    first = min(pages_of(path, "message", "leaf"))
    process.kill()
    process.wait()
    process.stdout.close()
    overwrite(path, (first - 1) * PAGE, b"\xff" * PAGE)
    store = Store.open(path)
    assert ["damaged" in notice for notice in store.notices] == [True]
    assert len(store.conversations()) == CHATS + 1  # the newest one was in the -wal file
    assert [m.status for m in store.messages(CHATS + 1)] == ["complete", "stopped"]
    (old,) = kept(path)
    assert Path(f"{old}-wal").stat().st_size > 0
    store.close()


def test_an_answer_that_was_being_written_is_stopped(path: Path) -> None:
    store = Store.open(path)
    question = store.add_user(store.create_conversation().id, "hello", None)
    answer = store.begin_answer(question.id, model=None, parameters=None)
    store.write_answer(answer.id, "The llama is")
    store.close()
    overwrite(path, 0, bytes(100))
    again = Store.open(path)
    found = again.message(answer.id)
    assert (found.status, found.text, found.parent) == ("stopped", "The llama is", question.id)
    again.close()


def test_a_repair_that_was_interrupted_is_finished(used: Path) -> None:
    used.rename(used.with_name("corral.db.new"))
    store = Store.open(used)
    assert (store.notices, check_texts(store)) == ([], MESSAGES)
    assert not used.with_name("corral.db.new").exists()
    store.close()


def test_a_repair_that_fails_moves_nothing(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite(used, 0, bytes(100))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("corral.store.salvage._insert", full)
        with pytest.raises(StoreError, match="No space left on device"):
            Store.open(used)
    assert kept(used) == []
    assert not used.with_name("corral.db.new").exists()
    store = Store.open(used)
    assert check_texts(store) == MESSAGES
    store.close()


def test_garbage_in_the_wal_file_is_not_taken_for_damage(used: Path) -> None:
    Path(f"{used}-wal").write_bytes(random.Random(1).randbytes(50_000))
    store = Store.open(used)
    assert (store.notices, check_texts(store)) == ([], MESSAGES)
    store.close()


def test_a_damaged_file_that_another_corral_has_open_is_left_alone(used: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), "answer", str(used)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    overwrite(used, 0, bytes(100))
    before = sorted(used.parent.iterdir())
    with pytest.raises(StoreError, match="another corral") as caught:
        Store.open(used)
    assert str(process.pid) in caught.value.hint
    assert [file for file in sorted(used.parent.iterdir()) if file not in before] == []
    process.kill()
    process.wait()
    process.stdout.close()


def test_two_processes_that_find_the_same_damage_repair_it_once(used: Path) -> None:
    overwrite(used, 0, bytes(100))
    processes = [
        subprocess.Popen(
            [sys.executable, str(WRITER), "add", str(used), "3"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = [json.loads(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(len(fact["notices"]) for fact in told) == 1
    assert len(kept(used)) == 1
    store = Store.open(used)
    assert len(store.conversations()) == CHATS + 3
    store.close()


def test_the_page_reader_survives_anything(tmp_path: Path, sound: bytes) -> None:
    file, wal = tmp_path / "file", tmp_path / "file-wal"
    whole = tmp_path / "whole"
    whole.write_bytes(sound)
    expected = sum(1 for _ in records(whole, wal))
    chance = random.Random(1)
    for _ in range(15):
        content = bytearray(sound)
        for _ in range(2000):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content)
        wal.write_bytes(bytes(content[: chance.randrange(20_000)]))
        assert 0 <= sum(1 for _ in records(file, wal)) <= 10 * expected
