"""The cells of a span of a sequence, out of llama.cpp and back into it.

A span is copied to the scratch sequence, which shares its cells, and llama.cpp gives the state of
that; the other way round a state goes into the scratch sequence and from there to the one it
belongs to. There are no logits after that: at least one token has to be evaluated.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import struct
from array import array
from collections.abc import Iterator

import llama_cpp.llama_cpp as L

from corral.engine.llama.model import LlamaModel

_HEAD = struct.Struct("<IiII")
"""Magic, sequence, number of streams, number of cells."""
_CELL = 3
"""Numbers of each cell: position, how many sequences, which one."""


class Foreign(Exception):
    """Cells in another layout than the plain KV cache of a Llama has them."""


def layers(model: LlamaModel) -> int:
    return int(L.llama_model_n_layer(L.llama_get_model(model.context)))


@contextlib.contextmanager
def get(model: LlamaModel, id: int, start: int, end: int) -> Iterator[memoryview]:
    """The state of the positions from ``start`` up to ``end`` of a sequence.

    Raises:
        Foreign: this memory is of another kind than is understood here.
        OSError: there is no memory for it.
    """
    scratch = model.sequences.scratch
    L.llama_memory_seq_cp(model.memory, id, scratch, start, end)
    try:
        size = int(L.llama_state_seq_get_size(model.context, scratch))
        with borrow(size) as (buffer, address):
            data = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
            if L.llama_state_seq_get_data(model.context, data, size, scratch) != size:
                raise Foreign("llama.cpp gave no state")
            check(buffer, start, end)
            yield buffer
    finally:
        L.llama_memory_seq_rm(model.memory, scratch, -1, -1)


def put(model: LlamaModel, address: int, size: int, id: int, start: int, end: int) -> bool:
    """Put a state that :func:`check` found sound behind what a sequence has.

    Args:
        address, size: where it is in memory.
        start, end: the positions that are wanted of it.

    Returns:
        False where llama.cpp refuses it, which it does cleanly; then nothing changed.
    """
    scratch = model.sequences.scratch
    data = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
    taken = int(L.llama_state_seq_set_data(model.context, data, size, scratch)) == size
    if taken:
        L.llama_memory_seq_cp(model.memory, scratch, id, start, end)
    L.llama_memory_seq_rm(model.memory, scratch, -1, -1)
    return taken


def check(state: memoryview, start: int, end: int) -> None:
    """Whether a state is one stream with exactly these positions, each once.

    Raises:
        Foreign: it is not.
    """
    count = end - start
    size = _HEAD.size + 4 * _CELL * count
    if len(state) < size:
        raise Foreign("a state is too short")
    _magic, _id, streams, cells = _HEAD.unpack_from(state)
    numbers = array("I", bytes(state[_HEAD.size : size]))
    positions, owners = numbers[0::_CELL], numbers[1::_CELL]
    if streams != 1 or cells != count or owners.count(1) != count:
        raise Foreign("a state is not of one sequence")
    if sorted(positions) != list(range(start, end)):
        raise Foreign("a state has other positions")


@contextlib.contextmanager
def borrow(size: int) -> Iterator[tuple[memoryview, int]]:
    """Memory and its address, given back at once.

    Raises:
        OSError: there is no memory.
    """
    memory = mmap.mmap(-1, max(1, size))
    pointer = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(pointer)
    view = memoryview(memory)[:size]
    try:
        yield view, address
    finally:
        del pointer
        # An error on its way may still hold a part of it; then it goes with the error.
        with contextlib.suppress(BufferError):
            view.release()
            memory.close()
