"""What a verdict about a pack depends on besides the pack: processor, drivers, system."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

_DRIVERS = (
    "/proc/driver/nvidia/version",
    "/sys/module/nvidia/version",
    "/sys/module/amdgpu/version",
)
_NODES = ("/dev/nvidia*", "/dev/dri/renderD*", "/dev/kfd")
_LIBRARIES = ("libcuda.so.1", "libvulkan.so.1", "libcudart.so*", "libgomp.so.1")
_FOLDERS = (
    "/usr/lib64", "/usr/lib", "/lib64", "/usr/local/lib", "/usr/lib/wsl/lib",
    "/usr/local/cuda/lib64", "/opt/cuda/lib64",
)  # fmt: skip
_ICDS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_WINDOWS = ("nvcuda.dll", "vulkan-1.dll")


def fingerprint(root: Path = Path("/")) -> str:
    """Changes when a driver comes, goes or is renewed, or the disk moves to another machine.

    Nothing is run and nothing loaded for it: it takes some milliseconds.

    Args:
        root: where the system's files are; tests put some of their own there.
    """
    digest = hashlib.sha256()
    for fact in _facts(root):
        digest.update(fact.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()[:32]


def _facts(root: Path) -> Iterator[str]:
    yield from (platform.system(), platform.release(), platform.machine(), *platform.libc_ver())
    yield _processor(root / "proc/cpuinfo")
    if sys.platform == "win32":
        system = Path("C:/Windows/System32")
        yield from (_status(system / name) for name in _WINDOWS)
        return
    for place in _DRIVERS:
        yield _text(_below(root, place))
    for pattern in _NODES:
        yield from _found(root, pattern.lstrip("/"))
    folders = [_below(root, folder) for folder in _FOLDERS]
    folders += [folder for parent in folders[:2] for folder in parent.glob("*-linux-gnu")]
    for folder in folders:
        for name in _LIBRARIES:
            yield from (_status(path) for path in sorted(folder.glob(name)))
    for place in _ICDS:
        yield from (_status(path) for path in sorted(_below(root, place).glob("*.json")))


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _found(root: Path, pattern: str) -> Iterator[str]:
    yield from (str(path) for path in sorted(root.glob(pattern)))


def _processor(path: Path) -> str:
    """Name and instruction sets."""
    lines = _text(path).splitlines()
    chosen: dict[str, str] = {}
    for line in lines:
        key = line.partition(":")[0].strip()
        if key in ("flags", "Features", "model name"):
            chosen.setdefault(key, line)
    return "\n".join(chosen.values()) or platform.processor()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _status(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path} -"
    return f"{path} {status.st_size} {status.st_mtime_ns}"
