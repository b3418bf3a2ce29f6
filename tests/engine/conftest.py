"""A real engine on real models, closed at the end of every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.engine.engine import Engine
from corral.engine.protocol import Loaded, LoadSpec


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "logs" / "engine.log")
    yield engine
    await engine.close()


async def load(engine: Engine, path: Path, **parameters: object) -> Loaded:
    """Load a model and give the last event."""
    spec = LoadSpec.model_validate({"path": str(path), "n_ctx": 1024, **parameters})
    loaded = None
    async for event in engine.load(spec):
        if isinstance(event, Loaded):
            loaded = event
    assert loaded is not None
    return loaded
