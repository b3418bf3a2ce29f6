"""The batch a decode is given: arrays of our own, filled by slices."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as L


class Batch:
    """A ``llama_batch`` of one sequence; what does not change from token to token stays filled in.

    Args:
        capacity: the most tokens of one decode, ``llama_n_batch``.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._tokens = (L.llama_token * capacity)()
        self._positions = (L.llama_pos * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*([1] * capacity))
        self._sequence = (L.llama_seq_id * 1)()
        ids = ctypes.POINTER(L.llama_seq_id)
        # Every row points to the one id.
        self._sequences = (ids * capacity)(
            *([ctypes.cast(self._sequence, ids)] * capacity),
        )
        self._rows = (ctypes.c_int8 * capacity)()
        self._batch = L.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._sequences,
            logits=self._rows,
        )

    def fill_one(self, token: int, position: int, sequence: int) -> L.llama_batch:
        """One token, with its logits."""
        self._batch.n_tokens = 1
        self._sequence[0] = sequence
        self._tokens[0] = token
        self._positions[0] = position
        self._rows[0] = 1
        return self._batch

    def fill(
        self,
        tokens: Sequence[int],
        position: int,
        sequence: int,
        *,
        every_row: bool = False,
        idle: int = 0,
    ) -> L.llama_batch:
        """``tokens`` at ``position`` and behind; logits of the last row or of all.

        Args:
            idle: rows behind those that nobody looks at; the last token again, without logits.
        """
        count = len(tokens)
        self._batch.n_tokens = total = count + idle
        self._sequence[0] = sequence
        self._tokens[:total] = [*tokens, *[tokens[-1]] * idle] if idle else tokens
        self._positions[:total] = range(position, position + total)
        ctypes.memset(self._rows, int(every_row), count)
        ctypes.memset(ctypes.byref(self._rows, count), 0, idle)
        self._rows[count - 1] = 1
        return self._batch
