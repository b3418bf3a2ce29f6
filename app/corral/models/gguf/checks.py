"""What a header must say so that llama.cpp can be trusted with the file.

llama.cpp answers a good part of what is refused here with an abort, and some of it with silently
wrong text. The checks stand in front of it as a second wall and share nothing with its reader.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from corral.models.gguf.reader import STRING_BYTES, Array, Contents, Unusable, Value, text
from corral.models.gguf.types import (
    ARRAY,
    BOOL,
    FLOAT32,
    INT32,
    STRING,
    UINT16,
    UINT32,
    VALUE_TYPES,
)
from corral.text import shorten

ARCHITECTURES = frozenset({"llama"})
"""Every further one of llama.cpp's hundred is more native code that a file can reach."""
TOKENIZERS = frozenset({"llama", "gpt2"})
"""``llama`` is SentencePiece, ``gpt2`` byte-pair encoding. ``none`` aborts at the first token."""

TOKENS = "tokenizer.ggml.tokens"
SCORES = "tokenizer.ggml.scores"
TOKEN_TYPES = "tokenizer.ggml.token_type"  # noqa: S105  # a key of the file format
MERGES = "tokenizer.ggml.merges"

TOKEN_BYTES = 4_096
MERGE_BYTES = 2 * TOKEN_BYTES + 1
VOCABULARY_BYTES = 32 * 1024 * 1024
"""Text of all tokens; real vocabularies have one to six million bytes."""

_REQUIRED = {
    "general.architecture": STRING,
    "llama.block_count": UINT32,
    "llama.context_length": UINT32,
    "llama.embedding_length": UINT32,
    "llama.feed_forward_length": UINT32,
    "llama.attention.head_count": UINT32,
    "llama.attention.layer_norm_rms_epsilon": FLOAT32,
    "tokenizer.ggml.model": STRING,
    TOKENS: ARRAY,
}
_TYPES = _REQUIRED | {
    "general.type": STRING,
    "general.name": STRING,
    "general.license": STRING,
    "general.file_type": UINT32,
    "general.alignment": UINT32,
    "llama.attention.head_count_kv": UINT32,
    "llama.attention.key_length": UINT32,
    "llama.attention.value_length": UINT32,
    "llama.rope.dimension_count": UINT32,
    "llama.rope.freq_base": FLOAT32,
    "llama.rope.scale_linear": FLOAT32,
    "llama.rope.scaling.factor": FLOAT32,
    "llama.vocab_size": UINT32,
    "llama.expert_count": UINT32,
    "llama.expert_used_count": UINT32,
    "tokenizer.ggml.add_bos_token": BOOL,
    "tokenizer.ggml.add_eos_token": BOOL,
    "tokenizer.ggml.add_space_prefix": BOOL,
    "tokenizer.chat_template": STRING,
    "split.count": UINT16,
    "split.no": UINT16,
    SCORES: ARRAY,
    TOKEN_TYPES: ARRAY,
    MERGES: ARRAY,
}
_RANGES: dict[str, tuple[float, float]] = {
    "llama.block_count": (1, 512),
    "llama.context_length": (1, 0xFFFF_FFFF),
    "llama.embedding_length": (1, 1 << 20),
    "llama.feed_forward_length": (1, 1 << 24),
    "llama.attention.head_count": (1, 1024),
    "llama.attention.head_count_kv": (1, 1024),
    "llama.attention.key_length": (1, 1 << 16),
    "llama.attention.value_length": (1, 1 << 16),
    "llama.attention.layer_norm_rms_epsilon": (1e-12, 0.1),
    "llama.rope.freq_base": (1, 1e12),
    "llama.rope.scale_linear": (0, 1e6),
    "llama.rope.scaling.factor": (0, 1e6),
    "llama.expert_count": (0, 512),
    "llama.expert_used_count": (0, 512),
}

_BYTE_TOKENS = frozenset(b"<0x%02X>" % byte for byte in range(256))
_SPECIAL_ID = re.compile(r"tokenizer\.ggml\.[a-z_]+_token_id")
_BLOCK_NAME = re.compile(r"blk\.([0-9]+)\.")
_HINT = "corral runs Llama models and others of the same architecture"
_NOT_CHAT = {"title": "Not a chat model", "hint": _HINT}
_NOT_SUPPORTED = {"title": "Model not supported", "hint": _HINT}


class Inspection:
    """Looks at each value as it is read: kind of model, types, ranges, vocabulary text."""

    def __init__(self) -> None:
        self._byte_tokens = False

    def value(self, key: str, value: Value) -> None:
        wanted = _TYPES.get(key)
        if wanted is None and _SPECIAL_ID.fullmatch(key):
            wanted = UINT32
        if wanted is not None and value.type != wanted:
            raise Unusable(
                f"{key} is of type {VALUE_TYPES[value.type].name} instead "
                f"of {VALUE_TYPES[wanted].name}"
            )
        if key in _RANGES:
            low, high = _RANGES[key]
            # Written so that NaN, which compares as false with everything, is refused as well.
            if not isinstance(value.value, int | float) or not low <= value.value <= high:
                raise Unusable(f"{key} is {value.value}, allowed are {low} to {high}")
        _check_kind(key, value.value)

    def text_limit(self, key: str) -> int:
        return {TOKENS: TOKEN_BYTES, MERGES: MERGE_BYTES}.get(key, STRING_BYTES)

    def texts(self, key: str, batches: Iterator[list[bytes]]) -> None:
        if key == TOKENS:
            self._check_tokens(batches)
        elif key == MERGES:
            _check_merges(batches)
        else:
            for batch in batches:
                text(b" ".join(batch), f"a text in {shorten(key, 60)}")

    def _check_tokens(self, batches: Iterator[list[bytes]]) -> None:
        seen: set[bytes] = set()
        size = 0
        for batch in batches:
            first = len(seen)
            seen.update(batch)
            joined = b"\n".join(batch)
            size += len(joined)
            if size > VOCABULARY_BYTES:
                raise Unusable("its vocabulary is longer than any real one")
            if len(seen) != first + len(batch) or b"" in seen or b"\0" in joined:
                raise Unusable(_bad_token(batch, first, seen))
            _check_utf8(joined, TOKENS)
        self._byte_tokens = seen >= _BYTE_TOKENS

    def finish(self, contents: Contents) -> None:
        """What can be said only about the header as a whole.

        Raises:
            Unusable: a required key is missing, or two parts contradict each other.
        """
        for key in _REQUIRED:
            if key not in contents.values:
                raise Unusable(f"the key {key} is missing")
        _check_attention(contents)
        _check_experts(contents)
        _check_vocabulary(contents, self._byte_tokens)
        if contents.tensors:
            _check_tensors(contents)


def _check_kind(key: str, value: object) -> None:
    """Refuses files that are sound but nothing to chat with."""
    name = shorten(str(value), 40)
    if (key == "general.type" and value == "adapter") or key.startswith("adapter."):
        raise Unusable("it is an adapter (LoRA), not a chat model", **_NOT_CHAT)
    if (key == "general.architecture" and value == "clip") or key.startswith("clip."):
        raise Unusable("it is the image part of a model (clip), not a chat model", **_NOT_CHAT)
    if key == "general.type" and value != "model":
        raise Unusable(f"it is of type “{name}”, not a chat model", **_NOT_CHAT)
    if key == "general.architecture" and value not in ARCHITECTURES:
        raise Unusable(f"the architecture “{name}” is not supported", **_NOT_SUPPORTED)
    if key == "tokenizer.ggml.model" and value not in TOKENIZERS:
        raise Unusable(f"the tokenizer “{name}” is not supported", **_NOT_SUPPORTED)


def _check_merges(batches: Iterator[list[bytes]]) -> None:
    for batch in batches:
        joined = b"\n".join(batch)
        if b"\0" in joined or not all(b" " in merge.strip(b" ") for merge in batch):
            raise Unusable(f"a text in {MERGES} is not a pair of tokens")
        _check_utf8(joined, MERGES)


def _check_utf8(joined: bytes, key: str) -> None:
    try:
        joined.decode()
    except UnicodeDecodeError:
        raise Unusable(f"a text in {key} is not valid UTF-8") from None


def _bad_token(batch: list[bytes], first: int, seen: set[bytes]) -> str:
    for number, token in enumerate(batch, first):
        if not token:
            return f"token {number} of its vocabulary is empty"
        if b"\0" in token:
            return f"token {number} of its vocabulary holds a NUL byte"
    return "its vocabulary holds the same token twice"


def number(contents: Contents, key: str, default: int = 0) -> int:
    """A whole number whose type :class:`Inspection` has checked."""
    entry = contents.values.get(key)
    return entry.value if entry is not None and isinstance(entry.value, int) else default


def head_sizes(contents: Contents) -> tuple[int, int]:
    """Elements of one key head and of one value head."""
    share = number(contents, "llama.embedding_length") // number(
        contents, "llama.attention.head_count"
    )
    return (
        number(contents, "llama.attention.key_length", share),
        number(contents, "llama.attention.value_length", share),
    )


def _check_attention(contents: Contents) -> None:
    heads = number(contents, "llama.attention.head_count")
    kv_heads = number(contents, "llama.attention.head_count_kv", heads)
    embedding = number(contents, "llama.embedding_length")
    if heads % kv_heads:
        raise Unusable(
            f"llama.attention.head_count_kv is {kv_heads}, which does not divide {heads}"
        )
    if "llama.attention.key_length" not in contents.values and embedding % heads:
        raise Unusable(f"llama.embedding_length is {embedding}, which {heads} heads cannot share")
    size, _ = head_sizes(contents)
    rope = number(contents, "llama.rope.dimension_count", size)
    if rope != size:
        raise Unusable(f"llama.rope.dimension_count is {rope}, the size of a head is {size}")


def _check_experts(contents: Contents) -> None:
    experts = number(contents, "llama.expert_count")
    used = number(contents, "llama.expert_used_count")
    if used > experts or (experts and not used):
        raise Unusable(f"llama.expert_used_count is {used} of {experts} experts")


def _array(contents: Contents, key: str, type: int, count: int) -> Array | None:
    """A numeric array with one element a token, or None where the file has none."""
    entry = contents.values.get(key)
    if entry is None or not isinstance(entry.value, Array):
        return None
    if entry.value.type != type or entry.value.count != count:
        raise Unusable(
            f"{key} holds {entry.value.count} elements of type "
            f"{VALUE_TYPES[entry.value.type].name}, not {count} of {VALUE_TYPES[type].name}"
        )
    return entry.value


def token_count(contents: Contents) -> int:
    entry = contents.values.get(TOKENS)
    return entry.value.count if entry is not None and isinstance(entry.value, Array) else 0


def _check_vocabulary(contents: Contents, byte_tokens: bool) -> None:
    tokens = contents.values[TOKENS].value
    if not isinstance(tokens, Array) or tokens.type != STRING or not tokens.count:
        raise Unusable(f"{TOKENS} holds no texts")
    count = tokens.count
    size = number(contents, "llama.vocab_size", count)
    if size != count:
        raise Unusable(f"llama.vocab_size is {size}, its vocabulary has {count} tokens")
    scores = _array(contents, SCORES, FLOAT32, count)
    types = _array(contents, TOKEN_TYPES, INT32, count)
    if types and not set(struct.unpack(f"<{count}i", types.numbers)) <= {1, 2, 3, 4, 5, 6}:
        raise Unusable(f"{TOKEN_TYPES} holds numbers outside 1 to 6")
    if scores and not all(map(math.isfinite, struct.unpack(f"<{count}f", scores.numbers))):
        raise Unusable(f"{SCORES} holds values that are not numbers")
    if contents.values["tokenizer.ggml.model"].value == "llama":
        # Without any of these llama.cpp aborts at the first character the vocabulary lacks.
        if not scores or not types or not byte_tokens:
            missing = SCORES if not scores else TOKEN_TYPES if not types else "a byte token"
            raise Unusable(f"its tokenizer needs {missing}, which is missing")
    elif _texts_missing(contents, MERGES):
        raise Unusable(f"its tokenizer needs {MERGES}, which is missing")
    for key, entry in contents.values.items():
        if _SPECIAL_ID.fullmatch(key) and isinstance(entry.value, int) and entry.value >= count:
            raise Unusable(f"{key} is {entry.value}, its vocabulary has {count} tokens")


def _texts_missing(contents: Contents, key: str) -> bool:
    entry = contents.values.get(key)
    return entry is None or not isinstance(entry.value, Array) or entry.value.type != STRING


def _check_tensors(contents: Contents) -> None:
    """Every tensor llama.cpp asks for is there, in its shape: it would say only that it failed."""
    layers = number(contents, "llama.block_count")
    blocks = {int(match[1]) for name in contents.tensors if (match := _BLOCK_NAME.match(name))}
    if blocks != set(range(layers)):
        raise Unusable(f"llama.block_count is {layers}, its tensors are of {len(blocks)} layers")
    embedding = number(contents, "llama.embedding_length")
    shapes = {
        "token_embd.weight": (embedding, token_count(contents)),
        "output_norm.weight": (embedding,),
    }
    block = _block_shapes(contents)
    for layer in range(layers):
        shapes |= {f"blk.{layer}.{part}.weight": shape for part, shape in block.items()}
    for name, shape in shapes.items():
        tensor = contents.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            found = " × ".join(map(str, tensor.shape)) if tensor else "missing"
            raise Unusable(f"{name} is {found}, it must be {' × '.join(map(str, shape))}")


def _block_shapes(contents: Contents) -> dict[str, tuple[int, ...]]:
    """The tensors of one layer by llama.cpp's names, the length of a row first."""
    embedding = number(contents, "llama.embedding_length")
    heads = number(contents, "llama.attention.head_count")
    kv_heads = number(contents, "llama.attention.head_count_kv", heads)
    key, value = head_sizes(contents)
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (embedding,),
        "attn_q": (embedding, heads * key),
        "attn_k": (embedding, kv_heads * key),
        "attn_v": (embedding, kv_heads * value),
        "attn_output": (heads * key, embedding),
        "ffn_norm": (embedding,),
    }
    if not number(contents, "llama.expert_count"):
        forward = number(contents, "llama.feed_forward_length")
        shapes["ffn_gate"] = shapes["ffn_up"] = (embedding, forward)
        shapes["ffn_down"] = (forward, embedding)
    return shapes
