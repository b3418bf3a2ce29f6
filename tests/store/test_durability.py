from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from corral.errors import StoreError
from corral.store.store import Store

WRITER = Path(__file__).with_name("writer.py")
KILLS = 15


def start(mode: str, path: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), mode, str(path), *more], stdout=subprocess.PIPE, text=True
    )


def facts(lines: list[str]) -> list[dict[str, Any]]:
    """What was acknowledged; a line that was cut by the kill was not."""
    return [json.loads(line) for line in lines if line.endswith("\n")]


def finished(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return facts(output.splitlines(keepends=True))


def test_kill_9_loses_nothing_that_was_acknowledged(
    path: Path, integrity: Callable[[], str]
) -> None:
    chance = random.Random(1)
    saved: dict[int, dict[str, Any]] = {}
    for number in range(KILLS):
        process = start(f"run{number}", path)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(chance.uniform(0, 0.12))
        process.kill()
        lines += process.stdout.readlines()
        process.wait()
        process.stdout.close()
        for fact in facts(lines):
            saved[fact["id"]] = fact
        store = Store.open(path)
        assert store.notices == []
        (conversation,) = store.conversations()
        found = {message.id: message for message in store.messages(conversation.id)}
        for id, fact in saved.items():
            # What was written after the last acknowledgement may be there too.
            assert len(found[id].text) >= len(fact["text"]) or found[id].status == "complete"
            assert found[id].text.split(" ")[0] in ("word", "done", "question")
            if fact.get("status") or found[id].role == "user":
                assert found[id].text == fact["text"]
        assert {message.status for message in found.values()} <= {"complete", "stopped"}
        store.close()
        assert integrity() == "ok"
    assert len(saved) > 2 * KILLS


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_kill_9_while_a_new_file_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    deaths = 0
    for statement in range(1, 70, 6):
        path = tmp_path / f"{statement}.db"
        process = start("die_at", path, str(statement))
        output, _ = process.communicate(timeout=30)
        deaths += process.returncode == -9 and output == ""
        store = Store.open(path)
        store.add_user(store.create_conversation().id, "hello", None)
        assert (store.notices, len(store.search("hello"))) == ([], 1)
        store.close()
    assert deaths >= 6


def test_several_processes_open_a_new_file_and_write_at_once(
    path: Path, integrity: Callable[[], str]
) -> None:
    processes = [start("add", path, "40") for _ in range(4)]
    told = [fact for process in processes for fact in finished(process)]
    assert [fact["notices"] for fact in told] == [[]] * 4
    assert [fact["count"] for fact in told] == [40] * 4
    assert len({fact["id"] for fact in told}) == 4
    store = Store.open(path)
    assert [c.messages for c in store.conversations()] == [40] * 4
    store.close()
    assert integrity() == "ok"


def test_another_process_writes_while_this_one_is_open(store: Store, path: Path) -> None:
    mine = store.create_conversation().id
    process = start("add", path, "30")
    for number in range(30):
        store.add_user(mine, f"mine {number}", None)
    (fact,) = finished(process)
    assert fact["notices"] == []
    assert [len(store.messages(mine)), len(store.messages(fact["id"]))] == [30, 30]


def test_an_answer_is_recovered_once_its_process_is_gone(path: Path) -> None:
    process = start("answer", path)
    assert process.stdout is not None
    id = json.loads(process.stdout.readline())["id"]
    store = Store.open(path)
    try:
        assert store.recover() == 0
        assert store.message(id).status == "streaming"
        process.kill()
        wait_until(lambda: store.recover() == 1)  # not waited for: a zombie is gone as well
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    found = store.message(id)
    assert (found.status, found.stop_reason, found.text) == ("stopped", "stopped", "The llama is")
    store.close()


def test_opening_recovers(path: Path) -> None:
    process = start("answer", path)
    assert process.stdout is not None
    id = json.loads(process.stdout.readline())["id"]
    process.kill()
    process.wait()
    process.stdout.close()
    store = Store.open(path)
    assert store.message(id).status == "stopped"
    store.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lock_that_stays_is_told_and_loses_nothing(path: Path) -> None:
    store = Store.open(path, patience=0.1)
    id = store.create_conversation().id
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another program") as caught:
        store.add_user(id, "hello", None)
    assert caught.value.hint
    assert store.conversation(id).messages == 0  # reading goes on
    beside = Store.open(path, patience=0.1)
    assert len(beside.conversations()) == 1
    beside.close()
    other.execute("ROLLBACK")
    assert store.add_user(id, "hello", None).text == "hello"
    store.close()
    other.close()


def test_a_lock_that_goes_is_waited_for(path: Path) -> None:
    store = Store.open(path, patience=5)
    id = store.create_conversation().id
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    timer.start()
    assert store.add_user(id, "hello", None).text == "hello"
    timer.join()
    other.close()
    store.close()


def test_a_locked_new_file_is_not_taken_for_an_old_schema(path: Path) -> None:
    Store.open(path).close()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA user_version = 0; BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        Store.open(path, patience=0.1)
    other.close()


def test_a_full_disk_is_told_and_the_rest_stays_usable(
    store: Store, integrity: Callable[[], str]
) -> None:
    id = store.create_conversation().id
    first = store.add_user(id, "before", None)
    answer = store.begin_answer(first.id, model=None, parameters=None)
    with store._database.read() as connection:
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchall()
    long = "a long text " * 5000
    for attempt in (
        lambda: store.add_user(id, long, None),
        lambda: store.write_answer(answer.id, long),
        lambda: store.finish_answer(answer.id, text=long, status="complete"),
        lambda: store.update_conversation(id, draft=long),
        lambda: store.remember("key", long),
    ):
        with pytest.raises(StoreError, match="no room left") as caught:
            attempt()
        assert caught.value.title == "The disk is full"
    assert [message.text for message in store.messages(id)] == ["before", ""]
    assert (store.conversation(id).draft, store.recall("key")) == ("", None)
    with store._database.read() as connection:
        connection.execute("PRAGMA max_page_count = 100000").fetchall()
    assert store.finish_answer(answer.id, text=long, status="complete").text == long
    store.close()
    assert integrity() == "ok"


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
def test_an_error_of_the_disk_is_told_and_nothing_is_half_saved(
    path: Path, integrity: Callable[[], str]
) -> None:
    (fact,) = finished(start("file_limit", path))
    assert fact["refused"].startswith("StoreError: The disk ")
    assert fact["texts"] == ["before", "after"]
    assert integrity() == "ok"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_clear_error(path: Path) -> None:
    Store.open(path).close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(StoreError) as caught:
            Store.open(path)
        assert caught.value.hint
    finally:
        path.parent.chmod(0o700)
