"""LoRA adapters read without native code: sound ones, damaged ones, and those of another model."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.gguf_files import Gguf, f32, string, tiny_llama, u32
from tests.support.lora_files import lora, shapes

from corral.errors import NotFound, Refused
from corral.models.files import Cancellation
from corral.models.gguf.adapter import check_numbers, mismatch, read_adapter
from corral.models.gguf.header import read_header, read_tensors

ALL = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
Arrays = dict[str, Any]


def reason_for(adapter: Path, model: Path) -> str:
    return mismatch(read_adapter(adapter), read_header(model).architecture, read_tensors(model))


def vocabulary_of(model: Path) -> int:
    return read_header(model).vocab_size


@pytest.mark.parametrize("type", ["F32", "F16", "BF16", "Q8_0"])
def test_says_what_the_file_says(tmp_path: Path, type: str) -> None:
    path = lora(tmp_path / "cats.gguf", shapes(parts=ALL), rank=32, alpha=16, type=type)
    header = read_adapter(path)
    assert (header.architecture, header.name, header.base) == (
        "llama",
        "Tiny adapter",
        "Tiny Llama",
    )
    assert (header.ranks, header.alpha, header.type) == ((32, 32), 16.0, type)
    assert len(header.pairs) == 14 and header.norms == 0
    assert header.bytes == path.stat().st_size
    assert check_numbers(header)[0] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_belongs_to_its_model_in_any_quantization(tmp_path: Path) -> None:
    targets = shapes(parts=ALL)
    adapter = lora(tmp_path / "cats.gguf", targets)
    for type in ("F32", "F16", "Q8_0"):
        assert not reason_for(adapter, tiny_llama(tmp_path / f"{type}.gguf", type=type))


def test_ranks_may_differ_and_alpha_may_be_missing(tmp_path: Path) -> None:
    def other_rank(arrays: Arrays) -> None:
        arrays["blk.0.attn_q.weight.lora_a"] = np.ones((2, 64), np.float32)
        arrays["blk.0.attn_q.weight.lora_b"] = np.ones((64, 2), np.float32)

    header = read_adapter(lora(tmp_path / "a.gguf", rank=8, alpha=None, change=other_rank))
    assert header.ranks == (2, 8) and header.alpha == 0.0


def test_norm_vectors_are_counted(tmp_path: Path) -> None:
    def norm(arrays: Arrays) -> None:
        arrays["blk.0.attn_norm.weight"] = np.ones(64, np.float32)

    path = lora(tmp_path / "a.gguf", change=norm)
    assert read_adapter(path).norms == 1
    assert not reason_for(path, tiny_llama(tmp_path / "tiny.gguf"))


# --- another model's ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            {"n_embd": 128, "n_head": 8},
            "blk.0.attn_q.weight is 128 × 128 in this model, the adapter is made for 64 × 64",
        ),
        ({"n_layer": 1}, "it changes blk.1.attn_q.weight, which this model does not have"),
        (
            {"n_head_kv": 1},
            "blk.0.attn_k.weight is 64 × 16 in this model, the adapter is made for 64 × 32",
        ),
    ],
)
def test_another_shape_is_told(tmp_path: Path, model: dict[str, int], reason: str) -> None:
    adapter = lora(tmp_path / "cats.gguf")
    assert reason_for(adapter, tiny_llama(tmp_path / "tiny.gguf", **model)) == reason  # type: ignore[arg-type]


def test_another_architecture_is_told(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "cats.gguf", architecture="qwen2")
    reason = reason_for(adapter, tiny_llama(tmp_path / "tiny.gguf"))
    assert reason == (
        "it is for models of the architecture “qwen2”, which corral does not run, "
        "this one is “llama”"
    )


def test_embeddings_that_are_the_output_too_are_refused(tmp_path: Path) -> None:
    """llama.cpp would abort: it takes the pair for the other matrix."""
    model = tiny_llama(tmp_path / "tiny.gguf")
    targets = shapes(parts=("token_embd",), n_vocab=vocabulary_of(model))
    adapter = lora(tmp_path / "cats.gguf", targets)
    assert not reason_for(adapter, model)
    tied = read_tensors(model)
    del tied["output.weight"]
    assert "also uses as its output" in mismatch(read_adapter(adapter), "llama", tied)


def test_a_vector_is_no_matrix(tmp_path: Path) -> None:
    adapter = lora(tmp_path / "cats.gguf", {"blk.0.attn_norm.weight": (64, 1)})
    assert "which is no matrix" in reason_for(adapter, tiny_llama(tmp_path / "tiny.gguf"))


def test_a_model_of_several_files_is_looked_at_whole(tmp_path: Path) -> None:
    whole = Gguf.read(tiny_llama(tmp_path / "tiny.gguf"))
    names = [tmp_path / f"tiny-{n:05d}-of-00002.gguf" for n in (1, 2)]
    sizes = [tensor.offset for tensor in whole.tensors] + [len(whole.data)]
    middle = len(whole.tensors) // 2
    for number, (path, part) in enumerate(
        zip(names, (whole.tensors[:middle], whole.tensors[middle:]), strict=True)
    ):
        start = part[0].offset
        end = sizes[middle] if number == 0 else sizes[-1]
        piece = Gguf(kv=list(whole.kv) if number == 0 else [], tensors=part)
        piece.kv = [*piece.kv, (b"split.no", bytes([2, 0, 0, 0, number, 0]))]
        piece.kv.append((b"split.count", bytes([2, 0, 0, 0, 2, 0])))
        piece.kv.append((b"split.tensors.count", u32(len(whole.tensors))))
        piece.data = whole.data[start:end]
        for tensor in part:
            tensor.offset -= start
        path.write_bytes(piece.to_bytes())
    assert not reason_for(lora(tmp_path / "cats.gguf"), names[0])


# --- refused ------------------------------------------------------------------------------------


def drop_half(arrays: Arrays) -> None:
    del arrays["blk.0.attn_q.weight.lora_b"]


def bias(arrays: Arrays) -> None:
    arrays["blk.0.attn_q.bias"] = np.ones(64, np.float32)


def ranks_apart(arrays: Arrays) -> None:
    arrays["blk.0.attn_q.weight.lora_b"] = np.ones((64, 3), np.float32)


def one_dimension(arrays: Arrays) -> None:
    arrays["blk.0.attn_q.weight.lora_b"] = np.ones(64, np.float32)


def doubled(arrays: Arrays) -> None:
    arrays["blk.0.attn_q.weight.lora_a.lora_a"] = np.ones((4, 64), np.float32)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"general_type": "model"}, "it is a model, not an adapter"),
    ({"general_type": "imatrix"}, "it is of type “imatrix”, not an adapter"),
    ({"general_type": None}, "the key general.type is missing"),
    ({"adapter_type": None}, "the key adapter.type is missing"),
    ({"adapter_type": "dora"}, "it is an adapter of type “dora”, not LoRA"),
    ({"architecture": "controlvector"}, "it is a control vector, not a LoRA adapter"),
    ({"alpha": float("nan")}, "adapter.lora.alpha is nan"),
    ({"alpha": float("inf")}, "adapter.lora.alpha is inf"),
    ({"targets": {}}, "it changes nothing"),
    ({"rank": 5000}, "has the rank 5000"),
    ({"change": drop_half}, "“blk.0.attn_q.weight” has one half of its LoRA pair only"),
    ({"change": bias}, "“blk.0.attn_q.bias” is neither half of a LoRA pair"),
    ({"change": ranks_apart}, "the two halves of “blk.0.attn_q.weight” have the ranks 4 and 3"),
    ({"change": one_dimension}, "the LoRA pair of “blk.0.attn_q.weight” is not two matrices"),
    ({"change": doubled}, "is neither half of a LoRA pair"),
    (
        {"keys": lambda w: w.add_array("adapter.alora.invocation_tokens", [1, 2])},
        "it is an activated LoRA",
    ),
]


@pytest.mark.parametrize(("values", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_is_refused_with_its_reason(tmp_path: Path, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read_adapter(lora(tmp_path / "bad.gguf", **values))
    assert reason in refused.value.message
    assert refused.value.title == "Not a usable adapter" and refused.value.hint


def test_a_model_is_told_apart_by_its_first_keys(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it is a model, not an adapter") as refused:
        read_adapter(tiny_llama(tmp_path / "tiny.gguf"))
    assert "corral models import" in refused.value.hint


KEYS: list[tuple[str, bytes]] = [
    ("adapter.lora.alpha", u32(8)),
    ("adapter.lora.alpha", string("8")),
    ("general.architecture", u32(1)),
    ("general.type", u32(1)),
    ("adapter.type", f32(1.0)),
    ("general.base_model.0.name", u32(1)),
]


@pytest.mark.parametrize(("key", "payload"), KEYS)
def test_a_key_of_another_type_never_reaches_native_code(
    tmp_path: Path, key: str, payload: bytes
) -> None:
    """llama.cpp aborts where it asks for the text of a number."""
    file = Gguf.read(lora(tmp_path / "cats.gguf"))
    file.set(key, payload)
    path = tmp_path / "bad.gguf"
    path.write_bytes(file.to_bytes())
    with pytest.raises(Refused, match=f"{key} is of type"):
        read_adapter(path)


@pytest.mark.parametrize("type", [0, 26, 28, 2, 14])
def test_only_the_types_of_the_converter_are_taken(tmp_path: Path, type: int) -> None:
    file = Gguf.read(lora(tmp_path / "cats.gguf", {"blk.0.attn_q.weight": (256, 256)}, rank=256))
    size = {0: 4, 26: 4, 28: 8}.get(type, 0) * 256 * 256 or {2: 18 * 2048, 14: 210 * 256}[type]
    for number, tensor in enumerate(file.tensors):
        tensor.type, tensor.offset = type, number * size
    file.data = bytes(2 * size)
    path = tmp_path / "other.gguf"
    path.write_bytes(file.to_bytes())
    if type == 0:
        assert read_adapter(path).type == "F32"
    else:
        with pytest.raises(Refused, match="adapters are F32, F16, BF16 or Q8_0"):
            read_adapter(path)


@pytest.mark.parametrize("name", ["no.gguf", "empty.gguf", "folder.gguf", "text.gguf"])
def test_what_is_no_file_of_this_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "text.gguf").write_text("not a GGUF file, but long enough to be looked at")
    with pytest.raises((NotFound, Refused)):
        read_adapter(tmp_path / name)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_cut_off(tmp_path: Path, share: float) -> None:
    path = lora(tmp_path / "cats.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Refused):
        read_adapter(path)


def test_bytes_behind_its_end(tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(Refused, match="follow after its last tensor"):
        read_adapter(path)


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Whatever is changed: a sound header or one plain error, and never anything else."""
    data = lora(tmp_path / "cats.gguf").read_bytes()
    start = read_adapter(tmp_path / "cats.gguf").start
    generator = random.Random(5)
    path = tmp_path / "bad.gguf"
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            changed[generator.randrange(start)] = generator.randrange(256)
        path.write_bytes(changed)
        try:
            header = read_adapter(path)
        except Refused:
            continue
        assert header.pairs and all(pair.rank for pair in header.pairs.values())


# --- numbers ------------------------------------------------------------------------------------

NUMBERS = [("F32", float("nan")), ("F32", float("-inf")), ("F16", float("inf"))]
NUMBERS += [("F16", float("nan")), ("BF16", float("nan")), ("BF16", float("inf"))]


@pytest.mark.parametrize(("type", "value"), NUMBERS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_what_is_no_number_is_found_anywhere(
    tmp_path: Path, type: str, value: float, last: bool
) -> None:
    def damage(arrays: Arrays) -> None:
        array = arrays[[*arrays][-1 if last else 0]]
        array.flat[-1 if last else 0] = value

    header = read_adapter(lora(tmp_path / "bad.gguf", type=type, change=damage))
    with pytest.raises(Refused, match="holds values that are no numbers"):
        check_numbers(header)


def test_the_scale_of_a_q8_block_is_a_number_too(tmp_path: Path) -> None:
    path = lora(tmp_path / "bad.gguf", rank=32, type="Q8_0")
    header = read_adapter(path)
    data = bytearray(path.read_bytes())
    data[header.start + 34 : header.start + 36] = b"\x00\x7c"
    path.write_bytes(data)
    with pytest.raises(Refused, match="no numbers"):
        check_numbers(header)


def test_large_and_small_numbers_are_numbers(tmp_path: Path) -> None:
    def extremes(arrays: Arrays) -> None:
        first = arrays["blk.0.attn_q.weight.lora_a"]
        first.flat[:4] = [6e4, -6e4, 6e-8, 0.0]

    for type in ("F32", "F16", "BF16"):
        check_numbers(read_adapter(lora(tmp_path / "a.gguf", type=type, change=extremes)))


def test_reading_can_be_followed_and_ended(tmp_path: Path) -> None:
    header = read_adapter(lora(tmp_path / "cats.gguf"))
    seen: list[tuple[int, int]] = []
    check_numbers(header, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (header.bytes, header.bytes) and seen == sorted(seen)
    with pytest.raises(Cancellation):
        check_numbers(header, cancelled=lambda: True)


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    header = read_adapter(lora(tmp_path / "cats.gguf"))

    def grow(done: int, total: int) -> None:
        with header.path.open("ab") as file:
            file.write(b"x")

    with pytest.raises(Refused, match="changed while it was read"):
        check_numbers(header, grow)
