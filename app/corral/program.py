"""How this program starts itself once more: for the screen, for the engine, in a new window.

Installed as a package that is the interpreter with ``-m``; frozen into a folder of its own
(PyInstaller), the program is its own interpreter and takes arguments only.
"""

from __future__ import annotations

import sys

WORKER = "--worker"
"""Alone on the command line: be the engine's process. Nobody types it."""

OPENED = "--in-terminal"
"""First on the command line of a corral that runs in a window that another one opened for it."""


def frozen() -> bool:
    """Whether interpreter and modules are one program that knows no ``-m``."""
    return bool(getattr(sys, "frozen", False))


def again(*arguments: str, utf8: bool = False) -> list[str]:
    """The command of another corral with these arguments, deaf to the working folder.

    Args:
        utf8: in Python's UTF-8 mode, also where this one is not.
    """
    start = [sys.executable] if frozen() else [*_python(utf8), "-m", "corral"]
    return [*start, *arguments]


def worker() -> tuple[str, ...]:
    """The command of an engine's process, without the current directory on its path."""
    if frozen():
        return (sys.executable, WORKER)
    return (*_python(), "-m", "corral.engine.worker")


def _python(utf8: bool = False) -> list[str]:
    """The interpreter as this one was asked to be: paths are spelt alike in both processes."""
    mode = ["-X", "utf8"] if utf8 or sys.flags.utf8_mode else []
    return [sys.executable, *mode, "-I" if sys.flags.isolated else "-P"]
