"""Brings the native library up: log to the worker's own log, devices, version."""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as L
from llama_cpp import _ctypes_extensions

from corral.engine.protocol import Device

_ERROR = 4
_CONTINUED = 5
_LOG_LIMIT = 2 * 1024 * 1024
"""Bytes of log one worker writes at the most."""

_DEVICE_KINDS = ("cpu", "gpu", "integrated", "accelerator")


class NativeLog:
    """Collects llama.cpp's log: all of it on stderr (the log file), the errors for the person.

    llama.cpp calls it from native code at any time, so nothing here may raise.
    """

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=8)
        self.offloaded: tuple[int, int] | None = None
        """Layers on a GPU and layers in all, as the last load reported them."""
        self._written = 0
        self._level = 0
        self._callback = L.llama_log_callback(self._line)
        L.llama_log_set(self._callback, None)

    def _line(self, level: int, text: bytes | None, _user: Any) -> None:
        try:
            line = (text or b"").decode("utf-8", "replace")
            if level != _CONTINUED:
                self._level = level
            if self._level == _ERROR and line.strip():
                self.errors.append(line.strip())
            if found := re.search(r"offloaded (\d+)/(\d+) layers", line):
                self.offloaded = int(found[1]), int(found[2])
            if self._written < _LOG_LIMIT:
                self._written += len(line)
                sys.stderr.write(line)
                if self._written >= _LOG_LIMIT:
                    sys.stderr.write("\n[the rest of this log is left out]\n")
        except Exception:  # noqa: S110 - an exception cannot leave a native callback
            pass

    def explain(self, fallback: str) -> str:
        """The last error llama.cpp logged, else ``fallback``."""
        return self.errors[-1] if self.errors else fallback


class _DeviceProps(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", ctypes.c_bool * 5),
    )


def start() -> NativeLog:
    """Redirect the log and initialise the backends. Call once, before anything else here."""
    log = NativeLog()
    L.llama_backend_init()
    return log


def binding_version() -> str:
    return str(llama_cpp.__version__)


def system_info() -> str:
    """The instruction sets and back ends the library was built for."""
    data: bytes = L.llama_print_system_info()
    return data.decode("utf-8", "replace")


def gpu_offload() -> bool:
    return bool(L.llama_supports_gpu_offload())


def devices() -> tuple[Device, ...]:
    """What ggml can compute on. The CPU device reports free = total, which is ggml's doing.

    The device calls live in libggml and libggml-base, which the binding does not cover.
    """
    folder = Path(L._lib._name).parent
    ggml = _ctypes_extensions.load_shared_library("ggml", folder)
    base = _ctypes_extensions.load_shared_library("ggml-base", folder)
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    base.ggml_backend_dev_get_props.argtypes = [ctypes.c_void_p, ctypes.POINTER(_DeviceProps)]
    base.ggml_backend_dev_get_props.restype = None
    found = []
    for index in range(ggml.ggml_backend_dev_count()):
        props = _DeviceProps()
        base.ggml_backend_dev_get_props(ggml.ggml_backend_dev_get(index), ctypes.byref(props))
        kind = _DEVICE_KINDS[props.type] if props.type < len(_DEVICE_KINDS) else "other"
        found.append(
            Device(
                name=(props.name or b"").decode("utf-8", "replace"),
                description=(props.description or b"").decode("utf-8", "replace"),
                kind=kind,
                memory_free=props.memory_free,
                memory_total=props.memory_total,
            )
        )
    return tuple(found)
