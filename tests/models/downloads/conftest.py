"""A hub, a catalogue that knows it, and corrals that fetch from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.desk import CATALOGUE, FILE, REPOSITORY, TEXTS, Desk
from tests.support.gguf_files import tiny_llama
from tests.support.hub import (
    COMMIT,
    HubServer,
    hub_server,
)

from corral.models.catalog import Catalog


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model of three pieces."""
    path = tmp_path_factory.mktemp("model") / FILE
    return tiny_llama(path, n_layer=1, n_embd=512, n_head=4, n_head_kv=4, n_ff=2048)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def catalog(model: Path, tmp_path: Path, hub: HubServer) -> Catalog:
    """Knows what is on the hub, and one file whose pin is wrong."""
    data = model.read_bytes()
    half = len(data) // 2
    files: dict[str, bytes | Path] = {
        **TEXTS,
        FILE: model,
        "tiny.Q4_0.gguf": model,
        "tiny.Q6_K.gguf-split-a": data[:half],
        "tiny.Q6_K.gguf-split-b": data[half:],
    }
    hub.add(REPOSITORY, files, licence="llama2")
    path = tmp_path / "models.toml"
    sha256 = hashlib.sha256(data).hexdigest()
    parts = '"tiny.Q6_K.gguf-split-a", "tiny.Q6_K.gguf-split-b"'
    path.write_text(
        CATALOGUE.format(commit=COMMIT, bytes=len(data), sha256=sha256, other="0" * 64, parts=parts)
    )
    return Catalog.load(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def desks(
    tmp_path: Path, catalog: Catalog, hub: HubServer, folder: Path
) -> Iterator[Callable[[], Desk]]:
    """Opens corrals on the same history and the same folder."""
    opened: list[Desk] = []

    def make() -> Desk:
        opened.append(Desk(tmp_path / "corral.db", catalog, hub, folder))
        return opened[-1]

    yield make
    hub.rate = 0
    for desk in opened:
        desk.close()


@pytest.fixture
def desk(desks: Callable[[], Desk]) -> Desk:
    """The only corral, with the licence accepted; its thread is not started yet."""
    desk = desks()
    desk.accept()
    return desk
