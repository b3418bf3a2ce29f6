from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.store.database import rows
from corral.store.store import Store

CHATS, MESSAGES = 1000, 50


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 short messages in 1,000 conversations."""
    path = tmp_path_factory.mktemp("large") / "corral.db"
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    store = Store.open(path, clock=lambda: 1.0)
    with store._database.write() as connection:
        for chat in range(1, CHATS + 1):
            rows(
                connection,
                "INSERT INTO conversation (title, created, updated) VALUES (?, 1, ?)",
                (f"chat {chat}", chat),
            )
            connection.executemany(
                "INSERT INTO message (conversation, role, text, status, created)"
                " VALUES (?, 'user', ?, 'complete', 1)",
                ((chat, " ".join(chance.choices(words, k=12))) for _ in range(MESSAGES)),
            )
    store.close()
    return path


def fastest(action: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def test_a_large_history_is_quick(large: Path) -> None:
    assert fastest(lambda: Store.open(large).close()) < 2
    store = Store.open(large)
    conversations = store.conversations()
    assert len(conversations) == CHATS
    assert {c.messages for c in conversations} == {MESSAGES}
    assert fastest(store.conversations) < 1
    assert fastest(store.latest) < 1
    assert fastest(lambda: store.messages(500)) < 1
    assert fastest(lambda: store.search("abc")) < 3
    store.close()
