"""A process that writes to a history, for the tests that kill it or run several at once.

Run as ``python writer.py MODE PATH [NUMBER]``; it prints one JSON line when something was saved.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from corral.store.store import Store


def acknowledge(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


def chat(path: Path, mode: str) -> None:
    """Talk without end, as fast as it goes."""
    store = Store.open(path)
    latest = store.latest() or store.create_conversation()
    parent, number = latest.active, 0
    while True:
        number += 1
        text = f"question {number} of {mode} " * (1 + number % 40)
        question = store.add_user(latest.id, text, parent)
        acknowledge(id=question.id, text=text)
        answer = store.begin_answer(question.id, model={"name": "m"}, parameters=None)
        for words in (10, 200, 900):
            store.write_answer(answer.id, "word " * words)
            acknowledge(id=answer.id, text="word " * words)
        store.finish_answer(answer.id, text="done " * 300, status="complete", stop_reason="end")
        acknowledge(id=answer.id, text="done " * 300, status="complete")
        parent = answer.id


def add(path: Path, count: int) -> None:
    """Open the file, new or not, and add messages to one's own conversation."""
    store = Store.open(path)
    id = store.create_conversation().id
    for number in range(count):
        store.add_user(id, f"message {number}", None)
        store.update_conversation(id, draft=str(number))
    acknowledge(id=id, count=len(store.messages(id)), notices=store.notices)
    store.close()


def answer(path: Path) -> None:
    """Begin an answer and wait to be killed."""
    store = Store.open(path)
    question = store.add_user(store.create_conversation().id, "hello", None)
    begun = store.begin_answer(question.id, model=None, parameters=None)
    store.write_answer(begun.id, "The llama is")
    acknowledge(id=begun.id)
    time.sleep(60)


def file_limit(path: Path) -> None:
    """Write while the system refuses to let files grow, and after that."""
    import resource

    store = Store.open(path)
    id = store.create_conversation().id
    store.add_user(id, "before", None)
    size = Path(f"{path}-wal").stat().st_size
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, hard))
    try:
        store.add_user(id, "during " * 5000, None)
    except Exception as error:
        refused = f"{type(error).__name__}: {error}"
    else:
        refused = ""
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.add_user(id, "after", None)
    acknowledge(refused=refused, texts=[message.text for message in store.messages(id)])
    store.close()


def die_at(path: Path, statement: int) -> None:
    """Open the file and be killed before that many statements were run."""
    import os
    import signal

    import apsw

    left = statement

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    apsw.connection_hooks.append(
        lambda connection: connection.trace_v2(apsw.SQLITE_TRACE_STMT, count)
    )
    Store.open(path).close()
    acknowledge(survived=True)


if __name__ == "__main__":
    mode, path = sys.argv[1], Path(sys.argv[2])
    match mode:
        case "add":
            add(path, int(sys.argv[3]))
        case "die_at":
            die_at(path, int(sys.argv[3]))
        case "answer":
            answer(path)
        case "file_limit":
            file_limit(path)
        case _:
            chat(path, mode)
