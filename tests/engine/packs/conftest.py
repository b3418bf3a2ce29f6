"""Packs that several tests take in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.engine_packs import real_pack

from corral.engine.packs.shelf import Shelf


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack that works: the engine that came with the binding, copied. Not to be changed."""
    return real_pack(tmp_path_factory.mktemp("packs"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "engines")
