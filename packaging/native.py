"""Keeps an engine that was built for one processor out of what is given to others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_ASK = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from corral.engine.llama import library\n"
    "print(library.system_info())"
)


# Processors without AVX-512 have AVX-VNNI: most laptops of the last years.
_BEYOND = re.compile(r"\b(AVX512|AVX_VNNI|AMX)")


def is_native(engine: Path) -> bool:
    """Whether an engine uses more than AVX2, which every build for others is limited to.

    Args:
        engine: a folder of packages, or the wheel of llama-cpp-python.
    """
    return bool(_BEYOND.search(_told(engine)))


def refuse(engine: Path) -> None:
    """An engine for this machine's own processor ends on most others with an illegal instruction.

    Raises:
        SystemExit: it is one.
    """
    if _BEYOND.search(told := _told(engine)):
        sys.exit(
            "This engine was built for the processor of this machine, and others could not run "
            f"it; take a portable wheel, or say --native. It says: {told}"
        )


def _told(engine: Path) -> str:
    """What the engine says of itself, asked in a process of its own."""
    if engine.is_dir():
        # A pack that somebody chose would answer for it.
        clean = {key: value for key, value in os.environ.items() if key != "LLAMA_CPP_LIB_PATH"}
        ask = [sys.executable, "-I", "-c", _ASK, str(engine)]
        done = subprocess.run(ask, capture_output=True, check=True, text=True, env=clean)
        return done.stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(engine) as archive:
            archive.extractall(folder)
        return _told(Path(folder))
