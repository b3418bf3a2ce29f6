"""LoRA adapters in GGUF files: read, and compared with the model they are to change.

llama.cpp checks a part of this itself, and aborts where the rest is wrong: at a key of another
type, where the two matrices of a pair do not fit each other, where embeddings are changed that a
model also uses as its output. So nothing of a file reaches it before it passed here.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from corral.errors import Refused
from corral.models.files import Cancellation, Cancelled, Progress, changed_meanwhile, mark
from corral.models.gguf.checks import ARCHITECTURES
from corral.models.gguf.header import SMALLEST, open_model, unreadable
from corral.models.gguf.reader import (
    STRING_BYTES,
    Contents,
    Reader,
    Tensor,
    Unusable,
    Value,
    read_contents,
    text,
)
from corral.models.gguf.types import FLOAT32, STRING, UINT32, VALUE_TYPES
from corral.text import shorten

MOST_RANK = 4096
"""Ranks above it are no adapters: the pair takes more room than the matrix it changes."""
MOST_ALPHA = 1e6
BLOCK = 1 << 20

_TYPES = {
    "general.type": STRING,
    "general.architecture": STRING,
    "general.name": STRING,
    "general.alignment": UINT32,
    "general.file_type": UINT32,
    "general.base_model.0.name": STRING,
    "adapter.type": STRING,
    "adapter.lora.alpha": FLOAT32,
}
_TITLE = "Not a usable adapter"
_CONVERT = "corral takes LoRA adapters in GGUF files, as convert_lora_to_gguf.py of llama.cpp makes"
_OTHER = {"title": _TITLE, "hint": _CONVERT}
_A, _B = ".lora_a", ".lora_b"
_NORM = "_norm.weight"
_EMBEDDINGS = "token_embd.weight"
_OUTPUT = "output.weight"

# Elements of these types are no numbers, or absurdly large, where one byte has all bits of the
# exponent: bytes of a block, which of them, and the bits.
_EXPONENTS = {"F32": (4, 3, 0x7F), "BF16": (2, 1, 0x7F), "F16": (2, 1, 0x7C), "Q8_0": (34, 1, 0x7C)}
"""The types of llama.cpp's converter, and no others."""
_SOUND = {bits: bytes(byte for byte in range(256) if byte & bits != bits) for bits in (0x7F, 0x7C)}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is added to one matrix: the product of two small ones."""

    a: Tensor
    b: Tensor
    rank: int


@dataclass(frozen=True, slots=True)
class AdapterHeader:
    """What a sound adapter says about itself."""

    path: Path
    bytes: int
    architecture: str
    name: str
    """``general.name`` as the file has it; empty where it has none."""
    base: str
    """The model it was trained for, as the file names it; empty where it does not."""
    alpha: float
    """0.0 where the file leaves it out: then the scale alone counts."""
    pairs: Mapping[str, Pair]
    """By the name of the matrix they change."""
    norms: int
    """Vectors that it brings besides, and that llama.cpp does not apply."""
    type: str
    """Of most of its bytes: F32, F16, BF16 or Q8_0."""
    tensors: tuple[Tensor, ...]
    """In the order of the file."""
    start: int
    """Where the first of them begins."""
    alignment: int

    @property
    def ranks(self) -> tuple[int, int]:
        """The smallest and the largest."""
        found = [pair.rank for pair in self.pairs.values()]
        return min(found), max(found)


def read_adapter(path: Path) -> AdapterHeader:
    """The validated header of a LoRA adapter.

    Never blocks, whatever ``path`` names; a model is told apart by its first keys.

    Raises:
        NotFound: there is no such file.
        Refused: it is no adapter, or not a sound one.
    """
    try:
        with open_model(path) as (file, status):
            if status.st_size < SMALLEST:
                raise Unusable(f"it is only {status.st_size} bytes long")
            reader = Reader(file, status.st_size)
            try:
                contents = read_contents(reader, _Inspection())
            except OSError as error:
                raise unreadable(path, error) from None
            return _header(path, status.st_size, contents, reader.position)
    except Unusable as error:
        message = f"“{shorten(path.name, 80)}” cannot be used: {error.message}"
        raise Refused(message, hint=error.hint, title=_TITLE) from None


class _Inspection:
    """Looks at each value as it is read."""

    def value(self, key: str, value: Value) -> None:
        wanted = _TYPES.get(key)
        if wanted is not None and value.type != wanted:
            raise Unusable(
                f"{key} is of type {VALUE_TYPES[value.type].name} instead "
                f"of {VALUE_TYPES[wanted].name}"
            )
        shown = shorten(str(value.value), 40)
        if key.startswith("tokenizer.") or (key == "general.type" and value.value == "model"):
            raise Unusable(
                "it is a model, not an adapter", hint="“corral models import” takes models in"
            )
        if key == "general.type" and value.value != "adapter":
            raise Unusable(f"it is of type “{shown}”, not an adapter", **_OTHER)
        if key == "general.architecture" and value.value == "controlvector":
            raise Unusable("it is a control vector, not a LoRA adapter", **_OTHER)
        if key == "adapter.type" and value.value != "lora":
            raise Unusable(f"it is an adapter of type “{shown}”, not LoRA", **_OTHER)
        if key.startswith("adapter.alora."):
            raise Unusable(
                "it is an activated LoRA, which is meant for what follows certain words only",
                **_OTHER,
            )

    def text_limit(self, key: str) -> int:
        return STRING_BYTES

    def texts(self, key: str, batches: Iterator[list[bytes]]) -> None:
        for batch in batches:
            text(b" ".join(batch), f"a text in {shorten(key, 60)}")


def _header(path: Path, size: int, contents: Contents, position: int) -> AdapterHeader:
    for key in ("general.type", "general.architecture", "adapter.type"):
        if key not in contents.values:
            raise Unusable(f"the key {key} is missing", **_OTHER)
    alpha = contents.values.get("adapter.lora.alpha")
    factor = float(alpha.value) if alpha and isinstance(alpha.value, float) else 0.0
    if not (math.isfinite(factor) and abs(factor) <= MOST_ALPHA):
        raise Unusable(f"adapter.lora.alpha is {factor}, allowed are up to {MOST_ALPHA:g}")
    pairs, norms = _pairs(contents.tensors)
    sizes: dict[str, int] = {}
    for tensor in contents.tensors.values():
        sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.bytes
    entry = contents.values.get("general.alignment")
    alignment = entry.value if entry is not None and isinstance(entry.value, int) else 32
    return AdapterHeader(
        path=path,
        bytes=size,
        architecture=_text(contents, "general.architecture"),
        name=_text(contents, "general.name"),
        base=_text(contents, "general.base_model.0.name"),
        alpha=factor,
        pairs=pairs,
        norms=norms,
        type=max(sizes, key=lambda name: sizes[name]),
        tensors=tuple(contents.tensors.values()),
        start=position + -position % alignment,
        alignment=alignment,
    )


def _text(contents: Contents, key: str) -> str:
    entry = contents.values.get(key)
    return entry.value if entry is not None and isinstance(entry.value, str) else ""


def _pairs(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Pair], int]:
    """The pairs by the matrix they change, and how many vectors are there besides."""
    names: dict[str, None] = {}
    norms = 0
    for name, tensor in tensors.items():
        if tensor.type.name not in _EXPONENTS:
            raise Unusable(
                f"“{name}” is stored as {tensor.type.name}, adapters are F32, F16, BF16 or Q8_0"
            )
        if name.endswith((_A, _B)) and name.count(".lora_") == 1:
            names[name[: -len(_A)]] = None
        elif name.endswith(_NORM):
            norms += 1
        else:
            raise Unusable(f"“{shorten(name, 63)}” is neither half of a LoRA pair")
    if not names:
        raise Unusable("it changes nothing: it holds no LoRA pair")
    return {name: _pair(name, tensors) for name in names}, norms


def _pair(name: str, tensors: Mapping[str, Tensor]) -> Pair:
    shown = shorten(name, 63)
    a, b = tensors.get(name + _A), tensors.get(name + _B)
    if a is None or b is None:
        raise Unusable(f"“{shown}” has one half of its LoRA pair only")
    if len(a.shape) != len(b.shape) or not 2 <= len(a.shape) <= 3:
        raise Unusable(f"the LoRA pair of “{shown}” is not two matrices")
    rank = b.shape[0]
    # The embeddings have theirs the other way round, as llama.cpp looks their rows up.
    inner = a.shape[0] if name == _EMBEDDINGS else a.shape[1]
    if inner != rank or a.shape[2:] != b.shape[2:]:
        raise Unusable(f"the two halves of “{shown}” have the ranks {inner} and {rank}")
    if rank > MOST_RANK:
        raise Unusable(f"“{shown}” has the rank {rank}, allowed are up to {MOST_RANK}")
    return Pair(a, b, rank)


# --- does it belong to a model? -----------------------------------------------------------------


def mismatch(adapter: AdapterHeader, architecture: str, tensors: Mapping[str, Tensor]) -> str:
    """Why an adapter does not belong to a model, in plain words; empty where it does.

    Args:
        architecture: of the model.
        tensors: of the model, as :func:`corral.models.gguf.header.read_tensors` gives them.
    """
    if adapter.architecture != architecture:
        known = "" if adapter.architecture in ARCHITECTURES else ", which corral does not run"
        return (
            f"it is for models of the architecture “{shorten(adapter.architecture, 40)}”{known}, "
            f"this one is “{shorten(architecture, 40)}”"
        )
    for name, pair in adapter.pairs.items():
        if reason := _differs(name, pair, tensors):
            return reason
    return ""


def _differs(name: str, pair: Pair, tensors: Mapping[str, Tensor]) -> str:
    shown = shorten(name, 63)
    target = tensors.get(name)
    if target is None:
        return f"it changes {shown}, which this model does not have"
    if name == _EMBEDDINGS:
        made_for = (pair.b.shape[1], pair.a.shape[1])
    else:
        made_for = (pair.a.shape[0], pair.b.shape[1])
    if len(target.shape) < 2:
        return f"it changes {shown}, which is no matrix in this model"
    if made_for + pair.a.shape[2:] != target.shape:
        return (
            f"{shown} is {_shape(target.shape)} in this model, "
            f"the adapter is made for {_shape(made_for + pair.a.shape[2:])}"
        )
    if name == _EMBEDDINGS and _OUTPUT not in tensors:
        return "it changes the embeddings, which this model also uses as its output"
    if target.type.name == "NVFP4":
        return f"{shown} is stored as NVFP4 in this model, which takes no adapter"
    return ""


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


# --- its numbers --------------------------------------------------------------------------------


def check_numbers(
    adapter: AdapterHeader, progress: Progress | None = None, cancelled: Cancelled | None = None
) -> tuple[str, os.stat_result]:
    """Read an adapter to its end; a damaged one makes a model talk nonsense without an error.

    Returns:
        The sha256 of the file in hexadecimal digits, and the status of what was read.

    Raises:
        NotFound, Refused: it is gone, changed meanwhile, or holds what is no number.
        Cancellation: ``cancelled`` said so.
    """
    name = shorten(adapter.path.name, 80)
    digest = hashlib.sha256()
    done = 0
    with open_model(adapter.path) as (file, before):
        if before.st_size != adapter.bytes:
            raise changed_meanwhile(adapter.path)
        for length, kind in _spans(adapter):
            bad = _check_span(file, adapter.path, length, kind, digest)
            if bad is None:
                raise changed_meanwhile(adapter.path)
            if bad:
                raise Refused(
                    f"“{name}” cannot be used: it holds values that are no numbers",
                    title=_TITLE,
                    hint="The file is damaged: get it again from where it came from",
                )
            done += length
            if progress:
                progress(done, adapter.bytes)
            if cancelled and cancelled():
                raise Cancellation(f"“{name}” was not read to its end")
        after = os.fstat(file.fileno())
    if mark(before) != mark(after):
        raise changed_meanwhile(adapter.path)
    return digest.hexdigest(), after


def _spans(adapter: AdapterHeader) -> Iterator[tuple[int, str]]:
    """Pieces of the file in their order: how many bytes, and of which tensor type, "" for none."""
    at = adapter.start
    yield from _cut(at, "")
    for tensor in adapter.tensors:
        yield from _cut(tensor.bytes, tensor.type.name)
        at += tensor.bytes
        padding = min(-tensor.bytes % adapter.alignment, adapter.bytes - at)
        yield from _cut(padding, "")
        at += padding


def _cut(length: int, kind: str) -> Iterator[tuple[int, str]]:
    """Whole blocks, some MiB at once."""
    size = _EXPONENTS[kind][0] if kind else 1
    step = BLOCK // size * size
    while length > 0:
        yield min(step, length), kind
        length -= step


def _check_span(
    file: FileIO, path: Path, length: int, kind: str, digest: hashlib._Hash
) -> bool | None:
    """Whether a piece holds what is no number; None where the file ends in it."""
    data = bytearray()
    try:
        while len(data) < length and (more := file.read(length - len(data))):
            data += more
    except OSError as error:
        raise unreadable(path, error) from None
    if len(data) < length:
        return None
    digest.update(data)
    if not kind:
        return False
    size, byte, bits = _EXPONENTS[kind]
    return bool(data[byte::size].translate(None, _SOUND[bits]))
