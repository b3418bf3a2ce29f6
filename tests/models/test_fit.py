"""Memory: the known figures of Llama 2, what is refused, and the limits of containers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from tests.support.gguf_files import LLAMA_7B, LLAMA_13B, LLAMA_70B, TINYLLAMA, Shape, sparse_llama

from corral.engine.protocol import LoadSpec
from corral.errors import DoesNotFit, UsageError
from corral.models.fit import memory
from corral.models.gguf.header import Header, read_header

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Header]:
    folder = tmp_path_factory.mktemp("fit")
    shapes: dict[str, Shape] = {
        "7B": LLAMA_7B, "13B": LLAMA_13B, "70B": LLAMA_70B, "TinyLlama": TINYLLAMA,
    }  # fmt: skip
    return {
        name: read_header(sparse_llama(folder / f"{name}.gguf", shape, "Q2_K"))
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("model", "f16", "q8_0", "q4_0"),
    [
        ("7B", 524_288, 278_528, 147_456),
        ("13B", 819_200, 435_200, 230_400),
        ("70B", 327_680, 174_080, 92_160),
        ("TinyLlama", 22_528, 11_968, 6_336),
    ],
)
def test_kv_bytes_per_token(
    headers: dict[str, Header], model: str, f16: int, q8_0: int, q4_0: int
) -> None:
    header = headers[model]
    for type, expected in {"f16": f16, "q8_0": q8_0, "q4_0": q4_0, "f32": 2 * f16}.items():
        assert memory.kv_bytes_per_token(header, type, type) == expected
    assert memory.kv_bytes_per_token(header, "f16", "q8_0") == (f16 + q8_0) // 2
    assert memory.memory_needed(header, 4096).kv == 4096 * f16


def test_kv_cache_of_a_full_window(headers: dict[str, Header]) -> None:
    assert memory.memory_needed(headers["7B"], 4096).kv == 2 * GIB
    assert memory.memory_needed(headers["13B"], 4096).kv == 3.125 * GIB
    assert memory.memory_needed(headers["70B"], 4096).kv == 1.25 * GIB


@pytest.mark.parametrize(
    ("model", "n_ctx", "step", "flash", "reported"),
    [
        ("TinyLlama", 512, 512, True, 70.50),
        ("TinyLlama", 2048, 128, True, 17.63),
        ("TinyLlama", 2048, 512, False, 153.01),
        ("7B", 512, 512, True, 97.01),
        ("7B", 2048, 512, True, 98.51),
        ("7B", 2048, 128, True, 24.63),
        ("7B", 2048, 512, False, 188.01),
        ("13B", 2048, 512, True, 123.01),
        ("13B", 2048, 512, False, 234.01),
        ("70B", 1024, 512, True, 233.01),
        ("70B", 2048, 128, True, 58.50),
        ("70B", 2048, 512, False, 344.01),
    ],
)
def test_compute_buffer_as_llama_cpp_reports_it(
    headers: dict[str, Header], model: str, n_ctx: int, step: int, flash: bool, reported: float
) -> None:
    """MiB that llama.cpp 0c1e57098 reported for files of these shapes, on a CPU."""
    needed = memory.memory_needed(headers[model], n_ctx, n_ubatch=step, flash_attn=flash)
    assert needed.compute / MIB == pytest.approx(reported, rel=0.01)


def test_the_parts_add_up(headers: dict[str, Header]) -> None:
    needed = memory.memory_needed(headers["7B"], 4096)
    assert needed.weights == headers["7B"].tensor_bytes
    assert needed.total == needed.weights + needed.kv + needed.compute + needed.process
    assert 5.1e9 < needed.total < 5.3e9


@pytest.mark.parametrize(
    ("model", "wanted", "tokens"),
    [("7B", 0, 4096), ("TinyLlama", 0, 2048), ("7B", 1, 256), ("7B", 257, 512), ("7B", 4096, 4096)],
)
def test_context_to_load_with(
    headers: dict[str, Header], model: str, wanted: int, tokens: int
) -> None:
    assert memory.context_for(headers[model], wanted) == tokens


def test_more_context_than_trained_is_refused(headers: dict[str, Header]) -> None:
    with pytest.raises(
        UsageError, match="4\u202f097 tokens is more than the 4\u202f096"
    ) as refused:
        memory.context_for(headers["7B"], 4097)
    assert "4\u202f096" in refused.value.hint


def _spec(**changes: object) -> LoadSpec:
    return LoadSpec.model_validate({"path": "/model.gguf", **changes})


def test_what_fits_passes(headers: dict[str, Header]) -> None:
    needed = memory.memory_needed(headers["13B"], 4096).total
    memory.check(headers["13B"], _spec(), needed)
    with pytest.raises(DoesNotFit):
        memory.check(headers["13B"], _spec(), needed - 1)


def test_the_refusal_names_both_numbers_and_a_way_out(headers: dict[str, Header]) -> None:
    header = headers["13B"]
    with pytest.raises(DoesNotFit) as refused:
        memory.check(header, _spec(), 8_000_000_000, name="Llama 2 13B Q2_K")
    assert refused.value.message == (
        "Llama 2 13B Q2_K with 4\u202f096 tokens of context needs 9.0 GB, 8.0 GB are free"
    )
    assert refused.value.hint == "2\u202f816 tokens of context or a q8_0 KV cache would fit"
    memory.check(header, _spec(n_ctx=2816), 8_000_000_000)
    memory.check(header, _spec(type_k="q8_0", type_v="q8_0"), 8_000_000_000)
    with pytest.raises(DoesNotFit):
        memory.check(header, _spec(n_ctx=2816 + 256), 8_000_000_000)


def test_a_way_out_is_offered_only_where_there_is_one(headers: dict[str, Header]) -> None:
    with pytest.raises(DoesNotFit) as refused:
        memory.check(headers["70B"], _spec(), 16_000_000_000)
    assert "smaller quantization" in refused.value.hint
    # Quantized caches need flash attention, so without it only a shorter context is left.
    with pytest.raises(DoesNotFit) as refused:
        memory.check(headers["13B"], _spec(flash_attn="off"), 8_000_000_000)
    assert "q8_0" not in refused.value.hint and "tokens of context" in refused.value.hint
    with pytest.raises(DoesNotFit) as refused:
        memory.check(headers["13B"], _spec(type_k="q8_0", type_v="q8_0"), 6_500_000_000)
    assert "q8_0" not in refused.value.hint


def test_available_memory_is_what_the_system_says(tmp_path: Path) -> None:
    available = memory.available_memory(tmp_path, tmp_path / "none")
    assert 0 < available <= psutil.virtual_memory().total


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


def test_limits_of_control_groups_version_2(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user.slice/app\n")
    root = tmp_path / "cgroup"
    _group(root / "user.slice", memory__max="50000000", memory__current="20000000")
    _group(
        root / "user.slice/app",
        memory__max="max",
        memory__current="10000000",
        memory__stat="anon 1\ninactive_file 5000000\nactive_file 1000000\n",
    )
    assert memory.available_memory(root, own) == 30_000_000
    _group(root / "user.slice/app", memory__max="12000000")
    assert memory.available_memory(root, own) == 8_000_000
    _group(root / "user.slice/app", memory__current="99000000", memory__stat="")
    assert memory.available_memory(root, own) == 0


def test_limits_of_control_groups_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/x\n4:memory:/docker/0123\n")
    root = tmp_path / "cgroup"
    # Inside a container the path is the host's, and only the root is there.
    _group(
        root / "memory",
        memory__limit_in_bytes="40000000",
        memory__usage_in_bytes="30000000",
        memory__stat="active_file 7\ntotal_inactive_file 500000\ntotal_active_file 1500000\n",
    )
    assert memory.available_memory(root, own) == 12_000_000
    _group(root / "memory", memory__limit_in_bytes=str((1 << 63) - 4096))
    assert memory.available_memory(root, own) > 40_000_000


def test_damaged_control_group_files_are_ignored(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/\nnonsense\n\n")
    _group(tmp_path / "cgroup", memory__max="much", memory__current="20")
    assert memory.available_memory(tmp_path / "cgroup", own) > 1_000_000
