"""Pieces of a file: where they lie, and which of them are damaged."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from corral.errors import NotFound
from corral.models.files import Cancellation
from corral.models.transfer.pieces import PIECE, count, damaged, digest, span

SIZE = 2 * PIECE + 12_345


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


@pytest.fixture
def file(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return path


def digests(content: bytes) -> dict[int, bytes]:
    return {n: digest(content[slice(*span(n, SIZE))]) for n in range(count(SIZE))}


def test_every_byte_is_in_one_piece() -> None:
    for size in (0, 1, PIECE - 1, PIECE, PIECE + 1, SIZE):
        spans = [span(number, size) for number in range(count(size))]
        assert sum(stop - start for start, stop in spans) == size
        assert [start for start, _ in spans] == [n * PIECE for n in range(len(spans))]


def test_a_sound_file_has_no_damage(file: Path, content: bytes) -> None:
    told: list[tuple[int, int]] = []
    sha256, found = damaged(file, digests(content), SIZE, lambda *at: told.append(at))
    assert (sha256, found) == (hashlib.sha256(content).hexdigest(), [])
    assert told[-1] == (SIZE, SIZE)


@pytest.mark.parametrize("offset", [0, PIECE - 1, PIECE, 2 * PIECE + 5, SIZE - 1])
def test_one_bit_is_found_in_its_piece(file: Path, content: bytes, offset: int) -> None:
    with file.open("r+b") as writer:
        writer.seek(offset)
        writer.write(bytes([content[offset] ^ 1]))
    sha256, found = damaged(file, digests(content), SIZE)
    assert found == [offset // PIECE]
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("length", "gone"), [(PIECE + 9, [1, 2]), (PIECE, [1, 2]), (SIZE - 1, [2]), (2 * PIECE, [2])]
)
def test_what_was_cut_off_is_damaged(
    file: Path, content: bytes, length: int, gone: list[int]
) -> None:
    with file.open("r+b") as writer:
        writer.truncate(length)
    assert damaged(file, digests(content), SIZE)[1] == gone


def test_pieces_without_a_digest_are_not_judged(file: Path, content: bytes) -> None:
    file.write_bytes(bytes(SIZE))
    known = digests(content)
    del known[1]
    assert damaged(file, known, SIZE)[1] == [0, 2]
    assert damaged(file, {}, SIZE)[1] == []


def test_bytes_beyond_the_end_are_in_the_hash_alone(file: Path, content: bytes) -> None:
    file.write_bytes(content + b"more")
    sha256, found = damaged(file, digests(content), SIZE)
    assert (sha256, found) == (hashlib.sha256(content + b"more").hexdigest(), [])
    file.write_bytes(content[:-1] + b"!" + bytes(PIECE))
    assert damaged(file, digests(content), SIZE)[1] == [2]


def test_it_can_be_stopped(file: Path) -> None:
    with pytest.raises(Cancellation):
        damaged(file, {}, SIZE, cancelled=lambda: True)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        damaged(tmp_path / "gone.gguf", {}, 5)
