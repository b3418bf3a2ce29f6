"""Windows larger than a model was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama

from corral.engine.protocol import LoadSpec
from corral.errors import DoesNotFit, UsageError
from corral.models.fit import memory, stretching
from corral.models.gguf.header import Header, read_header


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return read_header(tiny_llama(tmp_path / "tiny.gguf", context=512))


def spec(**changes: object) -> LoadSpec:
    return LoadSpec.model_validate({"path": "/tiny.gguf", **changes})


def test_a_trained_window_is_never_stretched(header: Header) -> None:
    settled = stretching.settle(header, spec(n_ctx=500, rope_scaling="yarn"))
    assert (settled.n_ctx, settled.rope_scaling, settled.rope_freq_scale) == (512, "off", 0.0)
    assert stretching.cost(header, settled) == ""


@pytest.mark.parametrize("rope", ["linear", "yarn"])
def test_a_larger_one_is_stretched_where_a_person_asks(header: Header, rope: str) -> None:
    settled = stretching.settle(header, spec(n_ctx=1000, rope_scaling=rope))
    assert (settled.n_ctx, settled.rope_scaling, settled.rope_freq_scale) == (1024, rope, 0.5)
    said = stretching.cost(header, settled)
    assert "1\u202f024 tokens" in said and "512" in said and "KV cache" in said


def test_nobody_is_given_one_unasked(header: Header) -> None:
    with pytest.raises(UsageError) as refused:
        stretching.settle(header, spec(n_ctx=1024))
    assert "--ctx 1024 --rope yarn" in refused.value.hint


def test_it_reaches_only_so_far(header: Header) -> None:
    with pytest.raises(UsageError, match="8 times"):
        stretching.settle(header, spec(n_ctx=512 * 8 + 1, rope_scaling="linear"))
    assert stretching.settle(header, spec(n_ctx=512 * 8, rope_scaling="linear")).n_ctx == 4096


def test_a_file_that_was_stretched_already_is_left_as_it_is(header: Header) -> None:
    longer = replace(header, rope_scale=4.0)
    with pytest.raises(UsageError, match="of its own"):
        stretching.settle(longer, spec(n_ctx=1024, rope_scaling="linear"))


def test_its_memory_is_checked_before_it_is_loaded(header: Header) -> None:
    stretched = stretching.settle(header, spec(n_ctx=4096, rope_scaling="yarn"))
    memory.check(header, stretched, 10**12)
    with pytest.raises(DoesNotFit, match="4\u202f096 tokens"):
        memory.check(header, stretched, 1000)
