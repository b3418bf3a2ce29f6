"""A real engine, and models in this process, closed at the end of every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.keeping import Maker
from tests.support.native import log

from corral.engine.engine import Engine
from corral.engine.llama.cancel import CancelFlag
from corral.engine.llama.model import LlamaModel
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


@pytest.fixture
def open_model() -> Iterator[Maker]:
    """Loads models that are closed at the end of the test."""
    opened: list[LlamaModel] = []

    def make(path: Path, **values: object) -> LlamaModel:
        spec = LoadSpec.model_validate(
            {"path": str(path), "n_ctx": 512, "threads": 1, "n_gpu_layers": 0, **values}
        )
        opened.append(LlamaModel(spec, log(), lambda _: None, CancelFlag()))
        return opened[-1]

    yield make
    for model in opened:
        model.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "tiny.gguf", n_head=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where states are kept."""
    return tmp_path / "kv"
