"""Brings the native library up: log to the worker's own log, devices, version."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as L
from llama_cpp import _ctypes_extensions

from corral.engine.protocol import Device, MemoryUse

_DEBUG = 1
_ERROR = 4
_CONTINUED = 5
_MADV_DONTNEED = 4
_LOG_LIMIT = 2 * 1024 * 1024
"""Bytes of log one worker writes at the most."""

_BUFFER = re.compile(r"(\S+) +(model|KV|compute|output) buffer size = +([0-9.]+) MiB")
_BUFFERS = {"model": "weights", "KV": "kv", "compute": "compute", "output": "output"}

_DEVICE_KINDS = ("cpu", "gpu", "integrated", "accelerator")


class NativeLog:
    """Collects llama.cpp's log: on stderr (the log file) all but what is for those who write it,
    the errors for the person.

    llama.cpp calls it from native code at any time, so nothing here may raise.
    """

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=8)
        self.offloaded: tuple[int, int] | None = None
        """Layers on a GPU and layers in all, as the last load reported them."""
        self.buffers: dict[str, dict[str, int]] = {}
        """Bytes of the last load by purpose and buffer, as in :class:`MemoryUse`."""
        self._written = 0
        self._level = 0
        self._callback = L.llama_log_callback(self._line)
        L.llama_log_set(self._callback, None)

    def _line(self, level: int, text: bytes | None, _user: Any) -> None:
        if level != _CONTINUED:
            self._level = level
        if self._level == _DEBUG:  # A load has thousands of these.
            return
        try:
            line = (text or b"").decode("utf-8", "replace")
            if self._level == _ERROR and line.strip():
                self.errors.append(line.strip())
            if found := re.search(r"offloaded (\d+)/(\d+) layers", line):
                self.offloaded = int(found[1]), int(found[2])
            if found := _BUFFER.search(line):
                sizes = self.buffers.setdefault(_BUFFERS[found[2]], {})
                sizes[found[1]] = sizes.get(found[1], 0) + round(float(found[3]) * (1 << 20))
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


def build() -> tuple[str, str]:
    """The commit of llama.cpp and the version of ggml, as the library itself says; "" where not.

    They live in libggml-base. A handle finds what its dependencies have, too, except on Windows,
    where a library is not loaded twice under two names.
    """
    library = L._lib
    if sys.platform == "win32":
        folder = Path(library._name).parent
        library = _ctypes_extensions.load_shared_library("ggml-base", folder)
    found = []
    for name in ("ggml_commit", "ggml_version"):
        try:
            function = getattr(library, name)
        except AttributeError:
            found.append("")
            continue
        function.argtypes, function.restype = [], ctypes.c_char_p
        found.append((function() or b"").decode("utf-8", "replace"))
    return found[0], found[1]


def gpu_offload() -> bool:
    return bool(L.llama_supports_gpu_offload())


def drop_copied_pages(log: NativeLog, path: str) -> None:
    """Give back the pages of mapped weights that llama.cpp copied in another order.

    Processors compute with the copy alone, and the original would look as if it were needed. What
    is still used from the mapping comes back out of the page cache when it is touched.
    """
    if sys.platform != "linux" or not any(
        name.startswith("CPU_") and name != "CPU_Mapped" for name in log.buffers.get("weights", ())
    ):
        return
    wanted = _without_part(os.path.realpath(path))
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with contextlib.suppress(OSError):
        for line in (
            Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            span, _, _, _, _, *file = line.split(maxsplit=5)
            if file and _without_part(file[0].strip()) == wanted:
                start, end = (int(number, 16) for number in span.split("-"))
                libc.madvise(start, end - start, _MADV_DONTNEED)  # Refused for locked memory.


def _without_part(path: str) -> str:
    """The path of a model, the same for all of its files where it is split."""
    return re.sub(r"-\d{5}-of-\d{5}(?=\.gguf$)", "", path)


def memory_use(log: NativeLog) -> MemoryUse:
    """What the last load takes; asked after the warm-up, when all of it was touched."""
    import psutil

    return MemoryUse(**log.buffers, resident=psutil.Process().memory_info().rss)


def ggml() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """libggml and libggml-base, where the calls about devices live; the binding covers neither."""
    folder = Path(L._lib._name).parent
    load = _ctypes_extensions.load_shared_library
    return load("ggml", folder), load("ggml-base", folder)


def devices() -> tuple[Device, ...]:
    """What ggml can compute on. The CPU device reports free = total, which is ggml's doing."""
    library, base = ggml()
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    base.ggml_backend_dev_get_props.argtypes = [ctypes.c_void_p, ctypes.POINTER(_DeviceProps)]
    base.ggml_backend_dev_get_props.restype = None
    found = []
    for index in range(library.ggml_backend_dev_count()):
        props = _DeviceProps()
        base.ggml_backend_dev_get_props(library.ggml_backend_dev_get(index), ctypes.byref(props))
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
