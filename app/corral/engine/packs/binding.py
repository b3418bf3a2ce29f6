"""The Python half of the engine, and the native library that came with it, without loading it."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import sys
from pathlib import Path

PACKAGE = "llama_cpp"
DISTRIBUTION = "llama-cpp-python"

_SYSTEMS = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}
_MACHINES = {"amd64": "x86_64", "aarch64": "arm64"}


def library_names() -> tuple[str, ...]:
    """What the binding looks for in its folder on this system, as of its version 0.3.36."""
    if sys.platform == "win32":
        return ("llama.dll", "libllama.dll")
    if sys.platform == "darwin":
        return ("libllama.so", "libllama.dylib")
    return ("libllama.so",)


def platform_tag() -> str:
    """``linux_x86_64``, ``macos_arm64``, ``windows_x86_64``: what a pack is built for."""
    machine = platform.machine().lower()
    system = _SYSTEMS.get(platform.system(), platform.system().lower() or "unknown")
    return f"{system}_{_MACHINES.get(machine, machine or 'unknown')}"


def version() -> str:
    """The binding's version; "" where it is not installed."""
    origin = _origin()
    if origin is not None:
        try:
            text = origin.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""  # Frozen into a program there is no such file.
        if found := re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE):
            return found[1]
    import importlib.metadata  # Dear, and hardly ever needed.

    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def built_in() -> Path | None:
    """The folder of the library that came with the binding; None where it came without one."""
    origin = _origin()
    if origin is None:
        return None
    folder = origin.parent / "lib"
    return folder if any((folder / name).is_file() for name in library_names()) else None


def content(folder: Path) -> str:
    """Names what lies in a folder by names, sizes and times, without reading it."""
    digest = hashlib.sha256()
    try:
        found = sorted((entry.name, entry.stat()) for entry in folder.iterdir())
    except OSError:
        return ""
    for name, status in found:
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _origin() -> Path | None:
    """Where the package begins; finding it does not run it."""
    try:
        spec = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):  # ValueError: it was put in place without being imported.
        module = sys.modules.get(PACKAGE)
        spec = getattr(module, "__spec__", None)
    return Path(spec.origin) if spec is not None and spec.origin else None
