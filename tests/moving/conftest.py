from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.moving.trees import Clock

from corral.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "here.db", Clock(), patience=0.2)
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """The history of another machine."""
    opened = Store.open(tmp_path / "there.db", Clock(), patience=0.2)
    yield opened
    opened.close()
