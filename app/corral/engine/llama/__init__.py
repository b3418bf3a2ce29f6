"""The only user of the native library, through the low-level half of llama-cpp-python alone.

Importing the package brings its high-level half along: numpy, Jinja and a server's types, which is
half of the time and a third of the memory of a fresh worker, and nothing of it is used here. So the
package is put in place without being run, and its modules are found in it as always.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

PACKAGE = "llama_cpp"


def put_in_place() -> None:
    """Let ``import llama_cpp.llama_cpp`` run that module alone; nothing where it was imported."""
    if PACKAGE in sys.modules or (spec := importlib.util.find_spec(PACKAGE)) is None:
        return
    package = importlib.util.module_from_spec(spec)
    text = Path(spec.origin or "").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    package.__dict__["__version__"] = version[1] if version else "unknown"
    sys.modules[PACKAGE] = package


put_in_place()
