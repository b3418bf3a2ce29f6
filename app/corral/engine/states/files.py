"""One file of evaluated positions: a header that says what it is worth, token ids, KV cells.

All numbers are little-endian.

=========  =====================================================================================
bytes      what
=========  =====================================================================================
8          ``corralkv``
4          format version
4          length of the JSON header
4          number of token ids
8          length of the payload, which is what ``llama_state_seq_get_data`` gave
4          CRC-32 of the payload
4          CRC-32 of everything before and behind this field, up to the payload
...        JSON header (:class:`Header`), token ids as 4 bytes each, payload
=========  =====================================================================================

A file appears whole under its name or not at all, and its checksums are verified before a byte of
the payload reaches native code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import struct
import sys
import time
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, FiniteFloat, ValidationError

from corral.engine.figures import Model
from corral.placing import put

MAGIC = b"corralkv"
VERSION = 1
NAME = re.compile(r"([0-9]{1,9})-([0-9]{1,9})-([0-9a-f]{16})\.kv", re.ASCII)
TEMPORARY = ".tmp"

_PREFIX = struct.Struct("<8sIIIQI")
_CRC = struct.Struct("<I")
_META_LIMIT = 4096
_TOKEN_LIMIT = 1 << 20


class Damaged(Exception):
    """Not a file of this format and version, or not what was written."""


class Header(Model):
    """What a file says about itself."""

    model: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Key of everything that made the cells: see :func:`corral.engine.states.keys.Maker`."""
    conversation: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    start: int = Field(ge=0, le=_TOKEN_LIMIT)
    """Position of the first token."""
    before: str = Field(pattern=r"^[0-9a-f]{16}$")
    """:func:`chain` of all tokens before ``start``: without the same ones it is worth nothing."""
    token_seconds: FiniteFloat = Field(ge=0)
    """What evaluating one token cost where it was written; 0 is unknown."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file whose header was read and is sound; its payload is not read yet."""

    path: Path
    header: Header
    tokens: list[int]
    payload: int
    """Bytes of the payload."""
    offset: int
    """Where the payload begins in the file."""
    crc: int
    written: float
    """Seconds since the epoch."""

    @property
    def start(self) -> int:
        return self.header.start

    @property
    def end(self) -> int:
        return self.header.start + len(self.tokens)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.offset + self.payload


def chain(tokens: Sequence[int]) -> str:
    """A hash of a beginning: equal only where all tokens are."""
    return hashlib.blake2b(_pack(tokens), digest_size=8).hexdigest()


def read_segment(path: Path, model: str, conversation: str) -> Segment:
    """Read everything but the payload.

    Args:
        model, conversation: what it has to be of.

    Raises:
        Damaged: it is none of these, not whole, or of another version.
        OSError: it cannot be read.
    """
    match = NAME.fullmatch(path.name)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        prefix = file.read(_PREFIX.size + _CRC.size)
        if len(prefix) < _PREFIX.size + _CRC.size:
            raise Damaged("cut off")
        magic, version, meta_size, count, payload, crc = _PREFIX.unpack_from(prefix)
        if magic != MAGIC or version != VERSION:
            raise Damaged("another format")
        offset = len(prefix) + meta_size + 4 * count
        if (
            meta_size > _META_LIMIT
            or not 0 < count <= _TOKEN_LIMIT
            or offset + payload != status.st_size
        ):
            raise Damaged("cut off")
        rest = file.read(offset - len(prefix))
    if (
        zlib.crc32(rest, zlib.crc32(prefix[: _PREFIX.size]))
        != _CRC.unpack_from(prefix, _PREFIX.size)[0]
    ):
        raise Damaged("the header does not match its checksum")
    try:
        header = Header.model_validate_json(rest[:meta_size])
    except ValidationError:
        raise Damaged("another header") from None
    segment = Segment(
        path, header, _unpack(rest[meta_size:]), payload, offset, crc, status.st_mtime
    )
    if (header.model, header.conversation) != (model, conversation) or match is None:
        raise Damaged("of something else")
    if (int(match[1]), int(match[2])) != (segment.start, segment.end):
        raise Damaged("under another name")
    return segment


def read_ahead(segment: Segment) -> None:
    """Let the system fetch a file that will be read soon."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError), segment.path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def read_payload(segment: Segment, into: memoryview) -> None:
    """Read the payload into ``into``, which has exactly its size, and verify it.

    It is copied and not mapped: a disk that fails, or a file that somebody cuts off, is then an
    error here and not the end of the process.

    Raises:
        Damaged: it is not what was written.
        OSError: it cannot be read.
    """
    done = 0
    with segment.path.open("rb", buffering=0) as file:
        file.seek(segment.offset)
        while done < len(into):
            count = file.readinto(into[done:])
            if not count:
                raise Damaged("cut off")
            done += count
    if zlib.crc32(into) != segment.crc:
        raise Damaged("the cells do not match their checksum")


def write_segment(
    folder: Path,
    header: Header,
    before: Sequence[int],
    tokens: Sequence[int],
    payload: memoryview,
    *,
    sync: bool = True,
) -> Segment:
    """Write a file whole, or leave nothing behind.

    Args:
        folder: of the conversation; made where it is missing.
        before: all tokens before ``header.start``.
        tokens: whose cells the payload holds.
        sync: wait until it is on the disk. Without that a power cut may leave half of it, which
            its checksums tell.

    Raises:
        OSError: the disk is full, read-only or failing.
    """
    meta = header.model_dump_json().encode()
    rest = meta + _pack(tokens)
    crc = zlib.crc32(payload)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(meta), len(tokens), len(payload), crc)
    head = prefix + _CRC.pack(zlib.crc32(rest, zlib.crc32(prefix))) + rest
    end = header.start + len(tokens)
    path = folder / f"{header.start}-{end}-{chain([*before, *tokens])}.kv"
    make_private(folder)
    write_private(path, head, payload, sync=sync)
    return Segment(path, header, list(tokens), len(payload), len(head), crc, time.time())


def write_private(path: Path, *parts: bytes | memoryview, sync: bool = False) -> None:
    """Write a file that only the person may read; it appears whole or not at all.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f"{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                view, done = memoryview(part), 0
                while done < len(view):
                    done += file.write(view[done:])
            if sync:
                os.fsync(file.fileno())
        put(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def make_private(folder: Path) -> None:
    """A folder, and those above it, for nobody but the person.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def _pack(tokens: Sequence[int]) -> bytes:
    packed = array("I", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpack(data: bytes) -> list[int]:
    packed = array("I")
    packed.frombytes(data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
