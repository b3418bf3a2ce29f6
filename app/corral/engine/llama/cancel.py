"""How native work is stopped, and how it says that it was or that it could not be done."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp.llama_cpp as L


class LoadError(Exception):
    """llama.cpp refused the file, the context or a batch; the text is its own last error."""


class Cancelled(Exception):
    """The request was cancelled; the context is in order."""


class CancelFlag:
    """A flag that native code can read without Python.

    llama.cpp asks its abort callback after every graph node, some 600 times per token; a Python
    function there costs 5 % of the speed. ``strlen`` over a two-byte buffer has the right shape
    (pointer in, zero or one out), takes no lock, and answers 1 once the first byte is set.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        try:
            self._strlen = ctypes.CDLL(None).strlen
        except (OSError, AttributeError, TypeError):  # Windows has no global namespace
            self._strlen = ctypes.cdll.msvcrt.strlen  # type: ignore[attr-defined,unused-ignore]

    def set(self) -> None:
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        self._buffer[0] = b"\x00"

    def __bool__(self) -> bool:
        return self._buffer[0] != b"\x00"

    def watch(self, context: Any) -> None:
        """Make llama.cpp's CPU backend abort its work when the flag is set."""
        callback = ctypes.cast(self._strlen, L.ggml_abort_callback)
        L.llama_set_abort_callback(context, callback, ctypes.addressof(self._buffer))
