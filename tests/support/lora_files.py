"""LoRA adapters for the tests, written with the ``gguf`` package as llama.cpp's converter does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

Shape = tuple[int, int]
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")


def shapes(
    *,
    n_layer: int = 2,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 96,
    n_vocab: int = 0,
    parts: Sequence[str] = ATTENTION,
) -> dict[str, Shape]:
    """The matrices of :func:`tests.support.gguf_files.tiny_llama` that an adapter may change, as
    llama.cpp has them: the row length first."""
    n_kv = n_embd // n_head * n_head_kv
    one = {
        "attn_q": (n_embd, n_embd),
        "attn_k": (n_embd, n_kv),
        "attn_v": (n_embd, n_kv),
        "attn_output": (n_embd, n_embd),
        "ffn_gate": (n_embd, n_ff),
        "ffn_up": (n_embd, n_ff),
        "ffn_down": (n_ff, n_embd),
    }
    found = {
        f"blk.{layer}.{part}.weight": one[part]
        for layer in range(n_layer)
        for part in one
        if part in parts
    }
    if "token_embd" in parts:
        found["token_embd.weight"] = (n_embd, n_vocab)
    if "output" in parts:
        found["output.weight"] = (n_embd, n_vocab)
    return found


def lora(
    path: Path,
    targets: Mapping[str, Shape] | None = None,
    *,
    seed: int = 0,
    rank: int = 4,
    alpha: float | None = 8.0,
    strength: float = 0.3,
    type: str = "F32",
    architecture: str = "llama",
    name: str = "Tiny adapter",
    base: str = "Tiny Llama",
    change: Callable[[dict[str, np.ndarray]], object] | None = None,
    keys: Callable[[gguf.GGUFWriter], object] | None = None,
    general_type: str | None = "adapter",
    adapter_type: str | None = "lora",
) -> Path:
    """An adapter with random weights that visibly changes what a tiny model says.

    Args:
        targets: names and shapes of the matrices it changes.
        change: is given the arrays by name before they are written; shapes are numpy's there.
        keys: adds further metadata.
    """
    writer = gguf.GGUFWriter(path, architecture)
    if general_type is not None:
        writer.add_type(general_type)
    if adapter_type is not None:
        writer.add_string(gguf.Keys.Adapter.TYPE, adapter_type)
    if name:
        writer.add_name(name)
    if base:
        writer.add_string("general.base_model.0.name", base)
    if alpha is not None:
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    if keys is not None:
        keys(writer)
    random = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for tensor, (rows, columns) in (shapes() if targets is None else targets).items():
        a, b = (rank, rows), (columns, rank)
        if tensor == "token_embd.weight":  # Turned round, as its rows are looked up.
            a, b = (columns, rank), (rows, rank)
        for half, shape in (("a", a), ("b", b)):
            arrays[f"{tensor}.lora_{half}"] = random.normal(0.0, strength, shape).astype(np.float32)
    if change is not None:
        change(arrays)
    quantization = gguf.GGMLQuantizationType[type]
    for tensor, array in arrays.items():
        kind = quantization if array.shape[-1] % 32 == 0 or type != "Q8_0" else None
        if kind is None:
            writer.add_tensor(tensor, array)
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
