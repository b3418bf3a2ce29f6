"""A model file in pieces of 8 MiB: where each lies, its digest, and which ones are damaged.

The sha256 of the whole file is the truth; the digest of a piece only tells where to look. It is
therefore a checksum, CRC-32: it costs a quarter of what the running sha256 does.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

from corral.models.files import BLOCK, Cancellation, Cancelled, Progress, changed_meanwhile, mark
from corral.models.gguf.header import open_model, unreadable
from corral.text import shorten

PIECE = 8 * 1024 * 1024


class Digest:
    """The digest of one piece, fed as its bytes arrive."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def digest(data: bytes | memoryview) -> bytes:
    """The digest of one whole piece: 4 bytes."""
    running = Digest()
    running.update(data)
    return running.digest()


def count(size: int) -> int:
    """How many pieces a file of ``size`` bytes has."""
    return -(-size // PIECE)


def span(number: int, size: int) -> tuple[int, int]:
    """First byte of a piece, and the one after its last."""
    start = number * PIECE
    return start, min(start + PIECE, size)


def damaged(
    path: Path,
    pieces: Mapping[int, bytes],
    size: int,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> tuple[str, list[int]]:
    """The sha256 of a file and the pieces that are not as recorded, in one read.

    Args:
        pieces: the digest of each piece, by number; pieces without one are not judged.
        size: bytes the file had when the digests were recorded. Of a file that is shorter now the
            missing pieces count as damaged.

    Raises:
        NotFound, Refused: as :func:`corral.models.gguf.header.open_model`, or it changed meanwhile.
        Cancellation: ``cancelled`` said so.
    """
    whole, running = hashlib.sha256(), Digest()
    block = memoryview(bytearray(BLOCK))
    done, found = 0, list[int]()
    with open_model(path) as (file, before):
        while done < before.st_size:
            # A block ends where a piece does, and where the file should.
            room = BLOCK - done % BLOCK
            try:
                got = file.readinto(block[: min(room, size - done) if done < size else room]) or 0
            except OSError as error:
                raise unreadable(path, error) from None
            if not got:
                break
            whole.update(block[:got])
            running.update(block[:got])
            done += got
            if done <= size and (done % PIECE == 0 or done == size):
                number = (done - 1) // PIECE
                if pieces.get(number, running.digest()) != running.digest():
                    found.append(number)
                running = Digest()
            if progress:
                progress(done, before.st_size)
            if cancelled and cancelled():
                raise Cancellation(f"“{shorten(path.name, 80)}” was not read to its end")
        after = os.fstat(file.fileno())
    if mark(before) != mark(after):
        raise changed_meanwhile(path)
    if done < size:
        found += [number for number in range(done // PIECE, count(size)) if number in pieces]
    return whole.hexdigest(), found
