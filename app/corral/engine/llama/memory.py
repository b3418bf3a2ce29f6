"""llama.cpp's memory, as :class:`corral.engine.llama.sequences.Memory` has it."""

from __future__ import annotations

from typing import Any

import llama_cpp.llama_cpp as L


class KvCache:
    """The cells of one context.

    Args:
        memory: its ``llama_memory_t``.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def copy(self, source: int, target: int, length: int) -> None:
        L.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def trim(self, id: int, length: int) -> bool:
        if L.llama_memory_seq_rm(self._memory, id, length, -1):
            return True
        L.llama_memory_seq_rm(self._memory, id, -1, -1)  # A whole sequence never fails.
        return False
