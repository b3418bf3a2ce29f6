"""Model files for the tests: tiny ones that really run, full sizes without weights, broken ones.

``tiny_llama`` writes with the ``gguf`` package, so that what reads it is tested against somebody
else's writer. The other two write with ``struct`` alone: they need files that no sane writer makes.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

# --- tiny models --------------------------------------------------------------------------------

# fmt: off
WORDS = [
    "the", "a", "llama", "alpaca", "is", "are", "and", "of", "to", "in", "it",
    "you", "I", "hello", "what", "how", "large", "small", "yes", "no",
]
# fmt: on
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def spm_vocabulary(pieces: Sequence[str] | None = None) -> list[tuple[str, float, int]]:
    """Text, score and type of every token of a small SentencePiece vocabulary.

    Args:
        pieces: what follows the three special and the 256 byte tokens; else the space, the
            printable characters, and some words with all that merging needs on the way to them.
    """
    if pieces is None:
        words = ["▁" + word for word in WORDS]
        steps = [word[:end] for word in words for end in range(2, len(word) + 1)]
        # A longer piece has the better score, so that a word is merged to its end.
        pieces = [*sorted(dict.fromkeys(steps), key=len, reverse=True), "▁"]
        pieces += [chr(code) for code in range(0x21, 0x7F)]
    special = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    special += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    return special + [(piece, -float(rank), NORMAL) for rank, piece in enumerate(pieces)]


def tiny_llama(
    path: Path,
    *,
    seed: int = 0,
    n_layer: int = 2,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 96,
    context: int = 512,
    vocab: Sequence[str] | None = None,
    chat_template: str | None = None,
    name: str = "Tiny Llama",
    type: str = "F32",
) -> Path:
    """A Llama model of some hundred kilobytes with random weights, which llama.cpp can run.

    Args:
        vocab: as ``pieces`` of :func:`spm_vocabulary`.
        type: of the matrices: F32, F16 or Q8_0.
    """
    tokens = spm_vocabulary(vocab)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type({"F32": 0, "F16": 1, "Q8_0": 7}[type])
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token[0] for token in tokens])
    writer.add_token_scores([token[1] for token in tokens])
    writer.add_token_types([token[2] for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    quantization = gguf.GGMLQuantizationType[type]
    random = np.random.default_rng(seed)
    for tensor, shape in llama_tensors(n_layer, n_embd, n_head, n_head_kv, n_ff, len(tokens)):
        if len(shape) == 1:
            writer.add_tensor(tensor, np.ones(shape, dtype=np.float32))
            continue
        weights = random.normal(0.0, 0.3, size=shape[::-1]).astype(np.float32)
        data = gguf.quants.quantize(weights, quantization)
        writer.add_tensor(tensor, data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama_tensors(
    n_layer: int, n_embd: int, n_head: int, n_head_kv: int, n_ff: int, n_vocab: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes, the row length first, in the order llama.cpp writes them."""
    n_kv = n_embd // n_head * n_head_kv
    yield "token_embd.weight", (n_embd, n_vocab)
    for layer in range(n_layer):
        for part, shape in {
            "attn_norm": (n_embd,),
            "attn_q": (n_embd, n_embd),
            "attn_k": (n_embd, n_kv),
            "attn_v": (n_embd, n_kv),
            "attn_output": (n_embd, n_embd),
            "ffn_norm": (n_embd,),
            "ffn_gate": (n_embd, n_ff),
            "ffn_up": (n_embd, n_ff),
            "ffn_down": (n_ff, n_embd),
        }.items():
            yield f"blk.{layer}.{part}.weight", shape
    yield "output_norm.weight", (n_embd,)
    yield "output.weight", (n_embd, n_vocab)


# --- full sizes without weights -----------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_ff: int
    context: int = 4096


LLAMA_7B = Shape(32, 4096, 32, 32, 11008)
LLAMA_13B = Shape(40, 5120, 40, 40, 13824)
LLAMA_70B = Shape(80, 8192, 64, 8, 28672)
TINYLLAMA = Shape(22, 2048, 32, 4, 5632, 2048)

_BLOCKS = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q5_0": (6, 32, 22),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
}
"""Number, elements and bytes of a block, for the types of :func:`sparse_llama`."""
_MIXES = {
    "F16": (1, "F16"),
    "Q4_0": (2, "Q4_0"),
    "Q8_0": (7, "Q8_0"),
    "Q5_0": (8, "Q5_0"),
    "Q2_K": (10, "Q2_K"),
    "Q3_K_S": (11, "Q3_K"),
    "Q3_K_M": (12, "Q3_K"),
    "Q3_K_L": (13, "Q3_K"),
    "Q4_K_S": (14, "Q4_K"),
    "Q4_K_M": (15, "Q4_K"),
    "Q5_K_S": (16, "Q5_K"),
    "Q5_K_M": (17, "Q5_K"),
    "Q6_K": (18, "Q6_K"),
}
"""``general.file_type`` and base type of llama.cpp's mixes of September 2023."""
_KEYS_2023 = 723_753
"""Bytes of the header of TheBloke's Llama 2 files before the tensor records."""


def _more(layer: int, layers: int) -> bool:
    """llama.cpp's choice of the layers that deserve more bits."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2


_VALUES = ("attn_v", "ffn_down")
_EXCEPTIONS: dict[str, list[tuple[tuple[str, ...], str, Callable[[int, int], bool]]]] = {
    "Q2_K": [((*_VALUES, "attn_output", "ffn_gate", "ffn_up"), "Q3_K", lambda i, n: True)],
    "Q3_K_M": [
        (_VALUES, "Q5_K", lambda i, n: i < 2),
        ((*_VALUES, "attn_output"), "Q4_K", lambda i, n: True),
    ],
    "Q3_K_L": [((*_VALUES, "attn_output"), "Q5_K", lambda i, n: True)],
    "Q4_K_S": [(_VALUES, "Q5_K", lambda i, n: i < 4)],
    "Q4_K_M": [(_VALUES, "Q6_K", _more)],
    "Q5_K_M": [(_VALUES, "Q6_K", _more)],
}
"""What is not of a mix's base type: parts, their type, and in which layers."""


def mix_type(quant: str, part: str, layer: int, shape: Shape) -> str:
    """The type of one tensor in a mix of September 2023; ``part`` as in ``attn_v``."""
    chosen = _MIXES[quant][1]
    if part.endswith("norm"):
        return "F32"
    if part == "output":
        return chosen if quant in ("Q8_0", "F16") else "Q6_K"
    for parts, type, applies in _EXCEPTIONS.get(quant, ()):
        if part in parts and applies(layer, shape.n_layer):
            chosen = type
            break
    if shape == LLAMA_70B and part == "attn_v" and chosen in ("Q3_K", "Q4_K"):
        return "Q5_K"
    return chosen


def mix_bytes(shape: Shape, quant: str, n_vocab: int = 32_000) -> int:
    """Size of a file as :func:`sparse_llama` would write it, by arithmetic alone."""
    header, data = _KEYS_2023, 0
    for tensor, dimensions in llama_tensors(
        shape.n_layer, shape.n_embd, shape.n_head, shape.n_head_kv, shape.n_ff, n_vocab
    ):
        *_, part, _ = tensor.split(".")
        layer = int(tensor.split(".")[1]) if tensor.startswith("blk.") else 0
        _, elements, size = _BLOCKS[mix_type(quant, part, layer, shape)]
        header += 24 + len(tensor) + 8 * len(dimensions)
        data += math.ceil(math.prod(dimensions) // elements * size / 32) * 32
    return math.ceil(header / 32) * 32 + data


def sparse_llama(
    path: Path, shape: Shape = LLAMA_7B, quant: str = "Q4_K_M", *, name: str = "LLaMA v2"
) -> Path:
    """A file with the header and the size of a real one, whose weights take no room on the disk.

    The metadata are the 19 keys of TheBloke's Llama 2 files, GGUF version 2, with 32,000 made-up
    pieces that are together as long as the real ones.
    """
    model = Gguf(version=2)
    prefix = "llama."
    head = shape.n_embd // shape.n_head
    fixed = {
        "general.architecture": string("llama"),
        "general.name": string(name),
        prefix + "context_length": u32(shape.context),
        prefix + "embedding_length": u32(shape.n_embd),
        prefix + "block_count": u32(shape.n_layer),
        prefix + "feed_forward_length": u32(shape.n_ff),
        prefix + "rope.dimension_count": u32(head),
        prefix + "attention.head_count": u32(shape.n_head),
        prefix + "attention.head_count_kv": u32(shape.n_head_kv),
        prefix + "attention.layer_norm_rms_epsilon": f32(1e-5),
        "general.file_type": u32(_MIXES[quant][0]),
        "tokenizer.ggml.model": string("llama"),
        "tokenizer.ggml.tokens": b"",
        "tokenizer.ggml.scores": array(6, [struct.pack("<f", -float(n)) for n in range(32_000)]),
        "tokenizer.ggml.token_type": array(
            5,
            [
                struct.pack("<i", (2, 3, 3)[n] if n < 3 else 6 if n < 259 else 1)
                for n in range(32_000)
            ],
        ),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.unknown_token_id": u32(0),
        "general.quantization_version": u32(2),
    }
    model.kv = [(key.encode(), payload) for key, payload in fixed.items()]
    room = _KEYS_2023 - len(model.head()) - 16 - 32_000 * 8
    pieces = _made_up_pieces(room - (len("LLaMA v2") - len(name.encode())))
    model.set("tokenizer.ggml.tokens", string_array(pieces))
    for tensor, dimensions in llama_tensors(
        shape.n_layer, shape.n_embd, shape.n_head, shape.n_head_kv, shape.n_ff, 32_000
    ):
        *_, part, _ = tensor.split(".")
        layer = int(tensor.split(".")[1]) if tensor.startswith("blk.") else 0
        type = _BLOCKS[mix_type(quant, part, layer, shape)][0]
        model.tensors.append(TensorRecord(tensor.encode(), dimensions, type, 0))
    return model.write_without_weights(path)


def _made_up_pieces(room: int) -> list[bytes]:
    """32,000 different pieces of together ``room`` bytes, the first 259 as in every Llama file."""
    pieces = [text.encode() for text, _, _ in spm_vocabulary([])]
    pieces += [f"x{number:04x}".encode() for number in range(len(pieces), 32_000)]
    each, rest = divmod(room - sum(map(len, pieces)), 32_000 - 259)
    for number in range(259, 32_000):
        pieces[number] += b"~" * (each + (number - 259 < rest))
    return pieces


# --- broken files -------------------------------------------------------------------------------


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def f32(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<IQ", 8, len(data)) + data


def array(type: int, items: Sequence[bytes], count: int | None = None) -> bytes:
    """Packed items of any type; ``count`` is what the header claims where that is to differ."""
    claimed = len(items) if count is None else count
    return struct.pack("<IIQ", 9, type, claimed) + b"".join(items)


def string_array(texts: Sequence[bytes]) -> bytes:
    return array(8, [struct.pack("<Q", len(text)) + text for text in texts])


@dataclass
class TensorRecord:
    name: bytes
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass
class Gguf:
    """A file taken apart, to be changed and written again. Nothing in it is checked.

    Values are payloads: the type and what follows it, as :func:`u32`, :func:`string` … make them.
    """

    magic: bytes = b"GGUF"
    version: int = 3
    kv: list[tuple[bytes, bytes]] = field(default_factory=list)
    tensors: list[TensorRecord] = field(default_factory=list)
    data: bytes = b""
    tensor_count: int | None = None
    kv_count: int | None = None

    @classmethod
    def read(cls, path: Path) -> Gguf:
        reader = gguf.GGUFReader(path)
        keys = [
            (bytes(entry.parts[1]), b"".join(bytes(part.tobytes()) for part in entry.parts[2:]))
            for key, entry in reader.fields.items()
            if not key.startswith("GGUF.")
        ]
        tensors = [
            TensorRecord(
                bytes(tensor.field.parts[1]),
                tuple(int(dimension) for dimension in tensor.shape),
                int(tensor.tensor_type),
                int(tensor.field.parts[5][0]),
            )
            for tensor in reader.tensors
        ]
        data = path.read_bytes()[reader.data_offset :]
        return cls(kv=keys, tensors=tensors, data=data)

    def set(self, key: str, payload: bytes) -> None:
        """Replaces a value in its place, or adds it at the end."""
        name = key.encode()
        keys = [old for old, _ in self.kv]
        if name in keys:
            self.kv[keys.index(name)] = (name, payload)
        else:
            self.kv.append((name, payload))

    def remove(self, key: str) -> None:
        self.kv = [(name, payload) for name, payload in self.kv if name != key.encode()]

    def head(self) -> bytes:
        """Everything before the tensor data, without the padding."""
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        keys = len(self.kv) if self.kv_count is None else self.kv_count
        parts = [self.magic, struct.pack("<IQQ", self.version, tensors, keys)]
        for key, payload in self.kv:
            parts += [struct.pack("<Q", len(key)), key, payload]
        for tensor in self.tensors:
            count = len(tensor.shape)
            parts += [struct.pack("<Q", len(tensor.name)), tensor.name]
            parts += [struct.pack(f"<I{count}Q", count, *tensor.shape)]
            parts += [struct.pack("<IQ", tensor.type, tensor.offset)]
        return b"".join(parts)

    def to_bytes(self, alignment: int = 32) -> bytes:
        head = self.head()
        return head + b"\0" * (-len(head) % alignment) + self.data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.to_bytes())
        return path

    def write_without_weights(self, path: Path) -> Path:
        """Lays the tensors out anew by their shapes and types, and leaves a hole for the data."""
        sizes = {number: (elements, size) for number, elements, size in _BLOCKS.values()}
        at = 0
        for tensor in self.tensors:
            tensor.offset = at
            elements, size = sizes[tensor.type]
            at += -(-math.prod(tensor.shape) // elements * size // 32) * 32
        self.data = b""
        path.write_bytes(self.to_bytes())
        os.truncate(path, path.stat().st_size + at)
        return path
