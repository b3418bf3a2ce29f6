from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from corral.store.store import Store


class Clock:
    """A clock that moves one second each time it is read."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "corral.db"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store.open(path, clock, patience=0.2)
    yield opened
    opened.close()


@pytest.fixture
def integrity(path: Path) -> Callable[[], str]:
    """What SQLite says about the whole file and its search index."""

    def check() -> str:
        connection = apsw.Connection(str(path))
        try:
            for index in ("message_search", "title_search"):
                connection.execute(
                    f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)"
                )
            return str(connection.execute("PRAGMA integrity_check").get)
        finally:
            connection.close()

    return check
