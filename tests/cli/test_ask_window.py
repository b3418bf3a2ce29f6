"""``corral ask --window`` and ``--rope``, with the real program and a small model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.support.gguf_files import tiny_llama

QUESTION = "the llama and the alpaca " * 64


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[str, ...]:
    path = tiny_llama(tmp_path / "tiny.gguf", context=512)
    return ("-m", str(path), "--format", "llama-2", "--max-tokens", "8", "--temperature", "0")


def test_a_policy_is_obeyed_and_kept(corral: Corral, tiny: tuple[str, ...]) -> None:
    first = corral("ask", QUESTION, *tiny, "--window", "stop", "--json")
    assert first.code == 0
    id = str(first.lines[-1]["conversation"])
    full = corral("ask", QUESTION, *tiny, "-c", id)
    assert full.code == 4 and "The window is full" in full.err and "--window drop" in full.err
    dropped = corral("ask", QUESTION, *tiny, "-c", id, "--window", "drop")
    assert dropped.code == 0
    assert "no longer sees the oldest 1 exchange of this conversation" in dropped.err
    kept = corral("ask", QUESTION, *tiny, "-c", id)
    assert kept.code == 0 and "oldest 2 exchanges" in kept.err


def test_the_model_condenses_what_goes(corral: Corral, tiny: tuple[str, ...]) -> None:
    first = corral("ask", QUESTION, *tiny, "--window", "summarise", "--json")
    id = str(first.lines[-1]["conversation"])
    second = corral("ask", QUESTION, *tiny, "-c", id)
    assert second.code == 0
    assert "a summary stands for them" in second.err or "No summary" in second.err


def test_a_larger_window_is_stretched_only_where_it_is_asked_for(
    corral: Corral, tiny: tuple[str, ...]
) -> None:
    refused = corral("ask", "Hello", *tiny, "--ctx", "1024")
    assert refused.code == 2 and "--ctx 1024 --rope yarn" in refused.err
    run = corral("ask", "Hello", *tiny, "--ctx", "1024", "--rope", "yarn")
    assert run.code == 0
    assert "The window is stretched" in run.err and "KV cache" in run.err
    wrong = corral("ask", "Hello", *tiny, "--window", "sometimes")
    assert wrong.code == 2 and "summarise" in wrong.err
