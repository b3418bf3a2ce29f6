"""The LoRA adapters of a loaded model: loaded when an answer wants them, switched between answers.

The weights of the model stay as they are; llama.cpp adds what an adapter says in every step. So
they come, are scaled and go without loading the model again, and without them it says exactly what
it said before. What was evaluated under one set of them is not used under another.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.llama.cancel import LoadError
from corral.engine.llama.library import NativeLog
from corral.engine.params import Adapter
from corral.engine.states.keys import adapter_set
from corral.text import shorten
from corral.units import room

SPARE_BYTES = 256 << 20
"""Of adapters that are not active and stay loaded, so that they are back at once."""


class AdapterError(LoadError):
    """An adapter could not be loaded; the ones before are still active."""


@dataclass(slots=True)
class _Loaded:
    pointer: Any
    size: int


class ActiveAdapters:
    """Belongs to the inference thread, as everything of the model.

    Args:
        model, context: llama.cpp's.
        log: of the library; says why an adapter is refused.
    """

    def __init__(self, model: Any, context: Any, log: NativeLog) -> None:
        self.key = ""
        """Names the active ones; see :func:`corral.engine.states.keys.adapter_set`."""
        self._model = model
        self._context = context
        self._log = log
        self._loaded: dict[str, _Loaded] = {}
        """By the sha256 of their files, the latest used last."""

    def use(self, adapters: Sequence[Adapter]) -> str:
        """Let exactly these be active from now on; gives their :attr:`key`.

        Raises:
            AdapterError: one of them could not be loaded; nothing changed.
        """
        key = adapter_set(adapters)
        if key == self.key:
            return key
        scales: dict[str, float] = {}
        # In the order of their hashes: floating point sums depend on it.
        for one in sorted(adapters, key=lambda one: one.sha256):
            if one.scale:
                scales[one.sha256] = scales.get(one.sha256, 0.0) + one.scale
                self._load(one)
        count = len(scales)
        if count:
            pointers = [self._loaded[sha256].pointer for sha256 in scales]
            L.llama_set_adapters_lora(
                self._context,
                (L.llama_adapter_lora_p_ctypes * count)(*pointers),
                count,
                (ctypes.c_float * count)(*scales.values()),
            )
        else:
            L.llama_set_adapters_lora(self._context, None, 0, None)
        self.key = key
        self._let_go(set(scales))
        return key

    def _load(self, adapter: Adapter) -> None:
        known = self._loaded.pop(adapter.sha256, None)
        if known is None:
            known = _Loaded(self._open(adapter), adapter.size)
        self._loaded[adapter.sha256] = known

    def _open(self, adapter: Adapter) -> Any:
        import psutil

        name = shorten(adapter.name or Path(adapter.path).stem, 60)
        self._check_file(adapter, name)
        available = int(psutil.virtual_memory().available)
        if adapter.size > available:
            raise AdapterError(
                f"The adapter {name} needs {room(adapter.size)} of memory, "
                f"{room(available)} are free"
            )
        self._log.errors.clear()
        pointer = L.llama_adapter_lora_init(self._model, adapter.path.encode())
        if not pointer:  # A NULL comes back as a falsy pointer object, and using it crashes.
            reason = self._log.explain("llama.cpp gave no reason")
            raise AdapterError(f"The adapter {name} could not be loaded: {reason}")
        try:
            self._check_file(adapter, name)
        except AdapterError:
            L.llama_adapter_lora_free(pointer)
            raise
        return pointer

    def _check_file(self, adapter: Adapter, name: str) -> None:
        """It was found sound as it was then, and its hash says what was evaluated with it."""
        try:
            status = Path(adapter.path).stat()
        except OSError as error:
            raise AdapterError(
                f"The file of the adapter {name} cannot be read: {error.strerror or error}"
            ) from None
        if (status.st_size, status.st_mtime_ns) != (adapter.size, adapter.mtime_ns):
            raise AdapterError(f"The file of the adapter {name} was changed meanwhile")

    def _let_go(self, active: set[str]) -> None:
        """Free what was not active for longest, down to :data:`SPARE_BYTES` of such ones."""
        spare = [sha256 for sha256 in self._loaded if sha256 not in active]
        size = sum(self._loaded[sha256].size for sha256 in spare)
        for sha256 in spare:
            if size <= SPARE_BYTES:
                return
            gone = self._loaded.pop(sha256)
            size -= gone.size
            L.llama_adapter_lora_free(gone.pointer)

    def close(self) -> None:
        """Free all of them; after the context, before the model."""
        for one in self._loaded.values():
            L.llama_adapter_lora_free(one.pointer)
        self._loaded.clear()
