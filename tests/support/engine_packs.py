"""Engine packs for tests: a copy of the real engine, and libraries that misbehave."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from corral.engine.packs import binding, making
from corral.engine.packs.choosing import Chooser
from corral.engine.packs.probing import Prober
from corral.engine.packs.shelf import Shelf
from corral.engine.process import worker_command

COMPILER = shutil.which("cc")

ILLEGAL = "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGILL); }\n"
CRASHING = "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGSEGV); }\n"
HANGING = "#include <unistd.h>\n__attribute__((constructor)) void f(void) { sleep(100); }\n"
EMPTY = "int nothing;\n"

FACTS: dict[str, Any] = {
    "title": "A copy",
    "backend": "cpu",
    "llama_cpp": "0c1e570",
    "ggml": "0.25.3",
    "flags": {"GGML_NATIVE": "ON"},
}


def real_pack(out: Path, flagset: str = "copy", **facts: Any) -> Path:
    """A pack of the libraries that came with the binding."""
    libraries = binding.built_in()
    assert libraries is not None
    return making.make(libraries, out, flagset, {**FACTS, **facts})


def fake_pack(out: Path, flagset: str, source: str | bytes, *flags: str, **facts: Any) -> Path:
    """A pack whose only library is compiled from C, or is just these bytes."""
    libraries = out / f"{flagset}-libraries"
    libraries.mkdir(parents=True)
    library = libraries / binding.library_names()[0]
    if isinstance(source, bytes):
        library.write_bytes(source)
    else:
        compiled(library, source, *flags)
    return making.make(libraries, out, flagset, {**FACTS, **facts})


def compiled(library: Path, source: str, *flags: str) -> Path:
    assert COMPILER is not None
    file = library.with_suffix(".c")
    file.write_text(source)
    command = [COMPILER, "-shared", "-fPIC", "-o", str(library), str(file), *flags]
    subprocess.run(command, check=True, timeout=60)
    file.unlink()
    return library


def prober(folder: Path, **values: Any) -> Prober:
    return Prober(**{"log": folder / "engine.log", "command": worker_command,
                     "environment": os.environ, **values})  # fmt: skip


def chooser(folder: Path, wanted: str = "auto", **values: Any) -> Chooser:
    """Over the packs in ``folder/engines``; ``values`` are of :class:`Prober`."""
    return Chooser(
        Shelf(folder / "engines"), folder / "engines.json", prober(folder, **values), wanted
    )
