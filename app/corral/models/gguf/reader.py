"""Takes a GGUF header apart without trusting a single number in it.

Every count and length is compared with the bytes that are left, and with a limit of its own, before
anything is allocated or read. What the values mean is checked in :mod:`corral.models.gguf.checks`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from corral.models.gguf.types import (
    ARRAY,
    BOOL,
    STRING,
    TENSOR_TYPES,
    UINT32,
    VALUE_TYPES,
    TensorType,
)
from corral.text import shorten

MIB = 1024 * 1024
BLOCK = MIB // 4
"""Bytes read at once. Blocks instead of a mapping: a mapped file that shrinks ends the process."""
BATCH = 8192
"""Strings of an array handed on at once, so that an array is never held as a whole."""

HEADER_LIMIT = 256 * MIB
TENSOR_LIMIT = 65_536
KEY_LIMIT = 4_096
ARRAY_LIMIT = 1 << 20
"""Elements of one array, and strings of all arrays together: four times the largest vocabulary."""
KEY_BYTES = 1_024
NAME_BYTES = 63
"""ggml keeps tensor names in 64 bytes, with the NUL."""
TEMPLATE_BYTES = MIB // 4
STRING_BYTES = MIB

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

DAMAGED = "The file is damaged or incomplete: get it again from where it came from"


class Unusable(Exception):
    """Why a file is refused; :func:`corral.models.gguf.header.read_header` adds the file's name."""

    def __init__(
        self, message: str, *, hint: str = DAMAGED, title: str = "Not a usable model file"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.title = title


@dataclass(frozen=True, slots=True)
class Array:
    """An array in the metadata; its elements are kept only where they are numbers."""

    type: int
    count: int
    numbers: bytes = b""


Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Value:
    type: int
    value: Scalar | Array


class Inspector(Protocol):
    """Looks at the metadata while it is read, so that a foreign file is told apart at once."""

    def value(self, key: str, value: Value) -> None:
        """Called for every key, in the order of the file."""

    def text_limit(self, key: str) -> int:
        """Most bytes of a text in the array ``key``."""

    def texts(self, key: str, batches: Iterator[list[bytes]]) -> None:
        """Called for every array of strings; takes all batches."""


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    type: TensorType
    bytes: int

    @property
    def elements(self) -> int:
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product


@dataclass(slots=True)
class Contents:
    """A header taken apart."""

    version: int
    values: dict[str, Value] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Reader:
    """Reads forward in blocks, never past the end of the file or of what a header may take."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._end = min(size, HEADER_LIMIT)
        self._buffer = b""
        self._at = 0
        self._before = 0
        self._strings_left = ARRAY_LIMIT

    @property
    def position(self) -> int:
        return self._before + self._at

    @property
    def left(self) -> int:
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes; callers bound ``count`` by what they expect."""
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        taken = self._buffer[self._at : end]
        self._at = end
        return taken

    def _fill(self, count: int) -> None:
        if count > self.left:
            if self._end == HEADER_LIMIT < self.size:
                raise Unusable(f"its header is longer than {HEADER_LIMIT // MIB} MiB")
            raise Unusable("it ends in the middle of its header")
        blocks = [self._buffer[self._at :]]
        wanted = max(count, BLOCK) - len(blocks[0])
        while wanted > 0 and (block := self._file.read(wanted)):
            blocks.append(block)
            wanted -= len(block)
        self._before += self._at
        self._at = 0
        self._buffer = b"".join(blocks)
        if len(self._buffer) < count:
            raise Unusable("it became shorter while it was read")

    def u32(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def string(self, limit: int, what: str) -> bytes:
        length = self.u64()
        if length > limit:
            raise Unusable(f"{what} is {length} bytes long, more than {limit}")
        return self.take(length)

    def strings(self, count: int, limit: int, what: str) -> Iterator[list[bytes]]:
        """Batches of an array's strings; every one of them takes at least its 8 bytes of length."""
        if count > self._strings_left or count * 8 > self.left:
            raise Unusable(f"{what} claims {count} texts, more than the file can hold")
        self._strings_left -= count
        unpack = _U64.unpack_from
        while count:
            batch: list[bytes] = []
            append = batch.append
            buffer, at, size = self._buffer, self._at, len(self._buffer)
            for _ in range(min(count, BATCH)):
                if at + 8 <= size:
                    (length,) = unpack(buffer, at)
                    end = at + 8 + length
                    if length <= limit and end <= size:
                        append(buffer[at + 8 : end])
                        at = end
                        continue
                # At the edge of the block, or too long: the slow way reads on or says so.
                self._at = at
                append(self.string(limit, f"a text in {what}"))
                buffer, at, size = self._buffer, self._at, len(self._buffer)
            self._at = at
            count -= len(batch)
            yield batch


def text(data: bytes, what: str) -> str:
    """UTF-8 without control characters; tabs and line breaks are allowed."""
    try:
        result = data.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{what} is not valid UTF-8") from None
    if _CONTROL.search(result):
        raise Unusable(f"{what} holds control characters")
    return result


def read_contents(reader: Reader, inspector: Inspector) -> Contents:
    """Keys, values and tensor records of a header, each sound in itself.

    Args:
        inspector: raises :class:`Unusable` too, for what a sound header should not say.

    Raises:
        Unusable: anything that a well-formed header does not hold.
    """
    contents = Contents(_version(reader))
    tensors, keys = reader.u64(), reader.u64()
    if not 1 <= keys <= KEY_LIMIT:
        raise Unusable(f"it claims {keys} metadata keys, allowed are 1 to {KEY_LIMIT}")
    if tensors > TENSOR_LIMIT:
        raise Unusable(f"it claims {tensors} tensors, allowed are 0 to {TENSOR_LIMIT}")
    for _ in range(keys):
        key = text(reader.string(KEY_BYTES, "a metadata key"), "a metadata key")
        if not key.strip() or key in contents.values:
            raise Unusable(f"the key “{shorten(key, 60)}” is empty or there twice")
        contents.values[key] = value = _value(reader, key, inspector)
        inspector.value(key, value)
    _read_tensors(reader, tensors, _alignment(contents.values), contents.tensors)
    return contents


def _version(reader: Reader) -> int:
    magic = reader.take(4)
    if magic != b"GGUF":
        old = magic in (b"ggml", b"ggjt", b"ggmf", b"ggla", b"lmgg", b"tjgg", b"fmgg", b"algg")
        raise Unusable(
            "it is a GGML file from before August 2023" if old else "it is not a GGUF file",
            hint="Look for a GGUF version of the model" if old else DAMAGED,
        )
    version = reader.u32()
    if version in (2, 3):
        return version
    if version.to_bytes(4, "big") in (b"\x02\0\0\0", b"\x03\0\0\0"):
        raise Unusable(
            "it is a big-endian GGUF file", hint="Look for a little-endian version of the model"
        )
    raise Unusable(
        f"its GGUF version is {version}, known are 2 and 3",
        hint="Look for another version of the model",
    )


def _value(reader: Reader, key: str, inspector: Inspector) -> Value:
    name = shorten(key, 60)
    number = reader.u32()
    if number == ARRAY:
        return Value(number, _array(reader, key, inspector))
    if number == STRING:
        template = key.startswith("tokenizer.chat_template")
        limit = TEMPLATE_BYTES if template else STRING_BYTES
        return Value(number, text(reader.string(limit, name), name))
    return Value(number, _scalar(reader, number, name))


def _scalar(reader: Reader, number: int, name: str) -> Scalar:
    value_type = VALUE_TYPES.get(number)
    if value_type is None or value_type.code is None:
        raise Unusable(f"{name} has the unknown value type {number}")
    value: int | float = value_type.code.unpack(reader.take(value_type.code.size))[0]
    if number == BOOL:
        if value not in (0, 1):
            raise Unusable(f"{name} is {value}, a truth value is 0 or 1")
        return bool(value)
    return value


def _array(reader: Reader, key: str, inspector: Inspector) -> Array:
    name = shorten(key, 60)
    number, count = reader.u32(), reader.u64()
    if number == ARRAY:
        raise Unusable(f"{name} is an array of arrays")
    value_type = VALUE_TYPES.get(number)
    if value_type is None:
        raise Unusable(f"{name} holds the unknown value type {number}")
    if count > ARRAY_LIMIT:
        raise Unusable(f"{name} claims {count} elements, allowed are {ARRAY_LIMIT}")
    if value_type.code is None:
        inspector.texts(key, reader.strings(count, inspector.text_limit(key), name))
        return Array(number, count)
    length = count * value_type.code.size
    if length > reader.left:
        raise Unusable(f"{name} claims {count} elements, more than the file can hold")
    numbers = reader.take(length)
    if number == BOOL and not set(numbers) <= {0, 1}:
        raise Unusable(f"{name} holds truth values other than 0 and 1")
    return Array(number, count, numbers)


def _alignment(values: dict[str, Value]) -> int:
    entry = values.get("general.alignment", Value(UINT32, 32))
    alignment = entry.value
    if entry.type != UINT32 or not isinstance(alignment, int):
        raise Unusable("general.alignment has the wrong type")
    if not 8 <= alignment <= 4096 or alignment & (alignment - 1):
        raise Unusable(f"general.alignment is {alignment}, it must be a power of two, 8 to 4096")
    return alignment


def _read_tensors(reader: Reader, count: int, alignment: int, found: dict[str, Tensor]) -> None:
    """The tensor records, and the arithmetic that ties them to the size of the file."""
    at = 0
    end = 0
    for _ in range(count):
        name = text(reader.string(NAME_BYTES, "the name of a tensor"), "the name of a tensor")
        label = f"the tensor “{shorten(name, 63)}”"
        if not name.strip() or name in found:
            raise Unusable(f"{label} has no name or is there twice")
        found[name] = _tensor(reader, name, label)
        offset = reader.u64()
        if offset != at:
            raise Unusable(f"{label} lies at {offset} instead of {at}")
        end = at + found[name].bytes
        at = end + -end % alignment
    if not found:
        return
    start = reader.position + -reader.position % alignment
    size = reader.size
    if start + end > size:
        raise Unusable(
            f"its tensors need {start + end} bytes, it has only {size}",
            hint="The file is incomplete: get the rest of it, or get it again",
        )
    if size > start + at:
        raise Unusable(f"{size - start - at} bytes follow after its last tensor")


def _tensor(reader: Reader, name: str, label: str) -> Tensor:
    dimensions = reader.u32()
    if not 1 <= dimensions <= 4:
        raise Unusable(f"{label} has {dimensions} dimensions, allowed are 1 to 4")
    shape = tuple(reader.u64() for _ in range(dimensions))
    if not all(1 <= dimension <= 1 << 40 for dimension in shape):
        raise Unusable(f"{label} has an impossible dimension")
    number = reader.u32()
    tensor_type = TENSOR_TYPES.get(number)
    if tensor_type is None:
        raise Unusable(f"{label} has the unknown type {number}")
    if shape[0] % tensor_type.block:
        raise Unusable(
            f"{label} has rows of {shape[0]}, {tensor_type.name} needs a multiple "
            f"of {tensor_type.block}"
        )
    tensor = Tensor(name, shape, tensor_type, 0)
    elements = tensor.elements
    if elements > 1 << 48:
        raise Unusable(f"{label} has an impossible size")
    return Tensor(name, shape, tensor_type, elements // tensor_type.block * tensor_type.bytes)
