"""Lets an answer's rows be computed one like the other, however many are decoded at once.

Guesses are checked in the step of the token they follow, and the text stays the same only if each
row then has the logits that it would have alone, to the last bit. Two of the ways in which
llama.cpp's processor code fails to do that can be helped. With an f16 or f32 cache, once its
highest cell in use is beyond 256, the attention of a single row is divided among the threads
(``use_split_kv_path`` in ggml-cpu/ops.cpp), so that even their number changes it; and K-quants that
are not repacked are multiplied by other kernels from eight rows on (ggml-cpu/tiled/tiled.cpp). The
back end's switch ``use_ref`` turns both off. What else it turns off, the fusion of norms, changes
no bit. It costs nothing that can be measured with few cells, 2 to 4 hundredths with 700 to 1,500
and a model of 135M, 2 thousandths with a 7B. It is on for every answer, guessed or not, and off for
prompts.

A quantized cache is not divided, and the switch would change how it is rotated.

llama.cpp hands its back end to nobody, so it is noted while a context makes it, by the device's own
``init_backend``. Where that function lies is part of GGML_BACKEND_API_VERSION 2
(ggml-backend-impl.h); with any other version nothing is touched, and what several rows are worth is
found out by :mod:`corral.engine.llama.alike` alone.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator

from corral.engine.llama.library import ggml

_VERSION = 2
_PROCESSOR = 0
"""GGML_BACKEND_DEVICE_TYPE_CPU."""
_INIT_BACKEND = 5
"""Place of the function in the device's table, counted from 0."""
_INIT = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_SWITCH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_bool)


class ByRow:
    """The switch of one context's processor back ends; off at first."""

    def __init__(self) -> None:
        self._backends: list[int] = []
        self._switch: Callable[[int, bool], None] | None = None
        self._on = False

    @property
    def works(self) -> bool:
        """Whether there is anything to switch."""
        return self._switch is not None and bool(self._backends)

    def set(self, on: bool) -> None:
        if on != self._on and self._switch is not None:
            self._on = on
            for backend in self._backends:
                self._switch(backend, on)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """While a context is made: its back ends are noted, and switched from then on."""
        device, address = _processor()
        if not device or not address:
            yield
            return
        table = (ctypes.c_void_p * (_INIT_BACKEND + 1)).from_address(device)
        if (original := table[_INIT_BACKEND]) is None:
            yield
            return
        make = _INIT(original)

        def init(which: int, parameters: int) -> int | None:
            backend: int | None = make(which, parameters)
            if backend:
                self._backends.append(backend)
            return backend

        noted = _INIT(init)
        table[_INIT_BACKEND] = ctypes.cast(noted, ctypes.c_void_p).value
        try:
            yield
        finally:
            table[_INIT_BACKEND] = original
        self._switch = _SWITCH(address)


def _processor() -> tuple[int | None, int | None]:
    """The processor's device and the address of the switch; None for what is not as it is known."""
    library, base = ggml()
    library.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    library.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    device = library.ggml_backend_dev_by_type(_PROCESSOR)
    base.ggml_backend_dev_backend_reg.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
    registry = base.ggml_backend_dev_backend_reg(device) if device else None
    if not registry or ctypes.c_int.from_address(registry).value != _VERSION:
        return None, None
    find = base.ggml_backend_reg_get_proc_address
    find.argtypes, find.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p
    return device, find(registry, b"ggml_backend_cpu_set_use_ref")
