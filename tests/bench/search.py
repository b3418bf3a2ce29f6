"""Search over 100,000 messages, against a bare full-text query on the same database.

The bare one asks FTS5 for the best fifty messages and their snippets, and nothing about
conversations, titles or what was deleted.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from corral.store.search import MATCH_END, MATCH_START, to_expression
from corral.store.store import Store

CONVERSATIONS = 1000
MESSAGES = 100
WORDS = 60
VOCABULARY = 20_000
ROUNDS = 5
LIMIT = 50

_BARE = """
    SELECT rowid, snippet(message_search, 0, ?3, ?4, '…', 14)
    FROM message_search WHERE message_search MATCH ?1 ORDER BY rank LIMIT ?2
"""


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        store = Store.open(Path(folder) / "corral.db")
        _fill(store)
        times = {name: _times(queries, store) for name, queries in _queries().items()}
        store.close()
    ours = [one for pair in times.values() for one in pair[0]]
    bare = [one for pair in times.values() for one in pair[1]]
    times["all together"] = ours, bare
    rows = [_row(name, *pair) for name, pair in times.items()]
    return {"rows": rows, "messages": CONVERSATIONS * MESSAGES}


def _times(queries: list[str], store: Store) -> tuple[list[float], list[float]]:
    """Seconds of each search, and of the bare query right after it."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        for query in queries:
            began = time.perf_counter()
            store.search(query, LIMIT)
            middle = time.perf_counter()
            with store._database.snapshot() as connection:
                found = (to_expression(query), LIMIT, MATCH_START, MATCH_END)
                connection.execute(_BARE, found).fetchall()
            ours.append(middle - began)
            bare.append(time.perf_counter() - middle)
    return ours, bare


def _row(name: str, ours: list[float], bare: list[float]) -> dict[str, Any]:
    slow, slow_bare = (quantiles(times, n=20)[-1] for times in (ours, bare))
    return {
        "queries": name,
        "median ms": round(1000 * median(ours), 2),
        "bare median ms": round(1000 * median(bare), 2),
        "p95 ms": round(1000 * slow, 2),
        "bare p95 ms": round(1000 * slow_bare, 2),
        "p95 of bare": round(slow / slow_bare, 2),
    }


def _word(number: int) -> str:
    signs = ""
    while True:
        number, sign = divmod(number, 20)
        signs += "bcdfghjklmnprstvwxyz"[sign] + "aeiou"[(number + sign) % 5]
        if not number:
            return signs


def _queries() -> dict[str, list[str]]:
    """What is typed: common and rare words, several at once, and words that are not finished."""
    choice = random.Random(5)
    rare = [_word(choice.randrange(2000, VOCABULARY)) for _ in range(20)]
    common = [_word(number) for number in range(3, 23)]
    return {
        "rare words": rare,
        "common words": common,
        "two words": [f"{one} {other}" for one, other in zip(common, rare, strict=True)],
        "two common words": [
            f"{one} {other}" for one, other in zip(common, common[5:] + common[:5], strict=True)
        ],
        "beginnings of three letters": [word[:3] for word in rare],
    }


def _fill(store: Store) -> None:
    choice = random.Random(1)
    weights = [1 / (rank + 3) for rank in range(VOCABULARY)]
    words = [_word(number) for number in range(VOCABULARY)]
    said = choice.choices(words, weights, k=CONVERSATIONS * MESSAGES * WORDS)
    now = 1_790_000_000.0
    at = 0
    for number in range(CONVERSATIONS):
        made = store.create_conversation(title=f"{words[number]} {words[-number]}")
        parent: int | None = None
        with store._database.write() as connection:
            for message in range(MESSAGES):
                connection.execute(
                    "INSERT INTO message (conversation, parent, role, text, status, created)"
                    " VALUES (?, ?, ?, ?, 'complete', ?)",
                    (
                        made.id,
                        parent,
                        "assistant" if message % 2 else "user",
                        " ".join(said[at : at + WORDS]),
                        now + number,
                    ),
                )
                parent = connection.last_insert_rowid()
                at += WORDS
        store.update_conversation(made.id, active=parent)


if __name__ == "__main__":
    for row in run()["rows"]:
        print(row)
