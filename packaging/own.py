"""Builds corral's own wheel and source archive: the same checkout always gives the same bytes.

Without a network, by the build tools that are installed here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import product  # noqa: E402


def wheel(out: Path, source: Path = product.ROOT) -> Path:
    """Build the wheel into a folder; older ones of corral there go.

    Args:
        source: a checkout, or the folder of an unpacked source archive.

    Raises:
        subprocess.CalledProcessError: it failed; what was said is on stderr.
    """
    return _build("--wheel", out, "corral-*.whl", source)


def sdist(out: Path, source: Path = product.ROOT) -> Path:
    """The same for the source archive; one of this version is replaced."""
    # Other archives of corral have names that begin so, too.
    return _build("--sdist", out, f"{product.NAME}-{product.VERSION}.tar.gz", source)


def _build(kind: str, out: Path, pattern: str, source: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(pattern):
        old.unlink()
    command = [sys.executable, "-m", "build", kind, "--no-isolation", "-o", str(out), str(source)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(product.epoch())}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    (built,) = out.glob(pattern)
    return built
