"""Builds a pack on this machine, by the script that builds those for others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import corral
from corral.errors import CorralError, EngineError, NotFound

SCRIPT = Path("packaging") / "engine" / "build.py"
DEFAULT = "cpu-native"
"""The one that nobody can build for another machine."""


def script() -> Path:
    """``packaging/engine/build.py``, inside the installed package or in a checkout.

    Raises:
        CorralError: it is in neither place.
    """
    package = Path(corral.__file__).parent
    for place in (package, package.parent.parent):
        if (place / SCRIPT).is_file():
            return place / SCRIPT
    raise CorralError(
        f"{SCRIPT} is missing from the installed package", hint="Install corral again."
    )


def flagsets() -> dict[str, str]:
    """What can be built: names and titles.

    Raises:
        CorralError: the file that says it is not there.
    """
    values = tomllib.loads((script().parent / "flags.toml").read_text(encoding="utf-8"))
    sets: dict[str, Any] = {name: one for name, one in values.items() if isinstance(one, dict)}
    return {name: str(one["title"]) for name, one in sets.items()}


@contextmanager
def built(flagset: str, cache: Path, source: Path | None = None) -> Iterator[Path]:
    """A fresh pack in a folder that is gone afterwards. What the build says goes to stderr.

    Args:
        cache: keeps the source of llama.cpp.
        source: the archive of it; None fetches what is not in the cache.

    Raises:
        NotFound: there is no such flag set or source.
        EngineError: it could not be built.
    """
    if flagset not in (known := flagsets()):
        raise NotFound(f"There is no flag set “{flagset[:80]}”", hint=f"One of {', '.join(known)}.")
    if source is not None and not source.is_file():
        raise NotFound(f"{source} is not there")
    arguments = ["--cache", str(cache)]
    if source is not None:
        arguments += ["--source", str(source)]
    with tempfile.TemporaryDirectory(prefix="corral-pack-") as folder:
        # -P: no module of the current folder is taken for one of Python's.
        done = subprocess.run(
            [sys.executable, "-P", "-c", _RUN, str(script()), flagset, "--out", folder, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(corral.__file__).parent.parent)},
            check=False,
        )
        packs = sorted(Path(folder).glob("engine-*"))
        if done.returncode or not packs:
            raise EngineError(
                f"The engine could not be built as {flagset}",
                title="Not built",
                hint="The lines above say why; a C++ compiler is needed, and for cuda and vulkan "
                "their development kits.",
            )
        yield packs[0]


_RUN = (
    "import runpy, sys, os; sys.argv = sys.argv[1:]; sys.path.insert(0, os.path.dirname("
    "sys.argv[0])); runpy.run_path(sys.argv[0], None, '__main__')"
)
"""Runs a script beside whose file others lie that it imports."""
