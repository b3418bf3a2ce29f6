"""Damage at random: the validator ends in a header or a refusal, and in nothing else."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.gguf_files import Gguf, TensorRecord, tiny_llama

from corral.errors import Refused
from corral.models.gguf.header import Header, read_header

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As small as a model gets, so that a random place is often a telling one."""
    folder = tmp_path_factory.mktemp("fuzz")
    return tiny_llama(folder / "small.gguf", n_layer=1, n_embd=8, n_head=2, n_ff=8, vocab=["▁"])


def outcome(path: Path) -> Header | Refused:
    try:
        return read_header(path)
    except Refused as error:
        assert error.message
        return error


def _damage(data: bytes, place: int, kind: int, random_byte: int) -> bytes:
    """A flipped bit, a random byte, 0x00 or 0xFF."""
    byte = (data[place] ^ (1 << random_byte % 8), random_byte, 0x00, 0xFF)[kind]
    return data[:place] + bytes([byte]) + data[place + 1 :]


def test_g02_one_byte_anywhere_in_the_header(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    header = len(Gguf.read(small).head())
    chance = random.Random(2)
    refused = 0
    for number in range(300):
        changed = _damage(data, chance.randrange(header), number % 4, chance.randrange(256))
        path = tmp_path / "changed.gguf"
        path.write_bytes(changed)
        refused += isinstance(outcome(path), Refused)
    # Most of a header is vocabulary text, where another letter makes another sound vocabulary.
    assert 100 < refused < 300


def test_g03_one_byte_of_the_structure(small: Path, tmp_path: Path) -> None:
    """Counts, keys, types, small values and tensor records; no bodies of long arrays."""
    data = small.read_bytes()
    file = Gguf.read(small)
    places = [*range(24)]
    at = 24
    for key, payload in file.kv:
        places += range(at, at + 8 + len(key) + min(len(payload), 40))
        at += 8 + len(key) + len(payload)
    places += range(at, len(file.head()))
    chance = random.Random(3)
    sound = read_header(small)
    for number in range(200):
        place = chance.choice(places)
        path = tmp_path / "changed.gguf"
        path.write_bytes(_damage(data, place, number % 4, chance.randrange(256)))
        result = outcome(path)
        if isinstance(result, Header):
            # Whatever ties the header to the weights cannot have changed.
            assert (result.n_layer, result.n_embd, result.vocab_size, result.parameters) == (
                sound.n_layer,
                sound.n_embd,
                sound.vocab_size,
                sound.parameters,
            ), place


@BOUNDED
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=12)), max_size=6))
def test_several_places_overwritten(changes: list[tuple[float, bytes]], small: Path) -> None:
    data = bytearray(small.read_bytes())
    header = len(Gguf.read(small).head())
    for where, piece in changes:
        place = int(where * header)
        data[place : place + len(piece)] = piece
    path = small.with_name("overwritten.gguf")
    path.write_bytes(data)
    outcome(path)


@BOUNDED
@given(rest=st.binary(max_size=400), version=st.integers(0, 4), counts=st.integers(0, 3))
def test_random_bytes_behind_the_magic(rest: bytes, version: int, counts: int, small: Path) -> None:
    path = small.with_name("random.gguf")
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, counts, counts) + rest)
    assert isinstance(outcome(path), Refused)


_payloads = st.one_of(
    st.integers(0, 0xFFFFFFFF).map(lambda value: struct.pack("<II", 4, value)),
    st.floats(width=32).map(lambda value: struct.pack("<If", 6, value)),
    st.binary(max_size=20).map(lambda value: struct.pack("<IQ", 8, len(value)) + value),
    st.tuples(st.integers(0, 13), st.integers(0, 1 << 64).map(lambda n: n % (1 << 64))).map(
        lambda pair: struct.pack("<IIQ", 9, *pair)
    ),
    st.binary(max_size=24),
)
_tensors = st.builds(
    TensorRecord,
    name=st.binary(max_size=70),
    shape=st.lists(st.integers(0, (1 << 64) - 1), max_size=5).map(tuple),
    type=st.integers(0, 50),
    offset=st.integers(0, (1 << 64) - 1),
)


@BOUNDED
@given(number=st.integers(0, 50), payload=_payloads, tensors=st.lists(_tensors, max_size=3))
def test_values_and_tensors_replaced(
    number: int, payload: bytes, tensors: list[TensorRecord], small: Path
) -> None:
    file = Gguf.read(small)
    place = number % len(file.kv)
    file.kv[place] = (file.kv[place][0], payload)
    file.tensors[1 : 1 + len(tensors)] = tensors
    outcome(file.write(small.with_name("replaced.gguf")))
