"""Freezes corral into one folder that needs no Python, and packs it as a portable archive.

    pip install -r requirements/freeze.txt && python packaging/pyinstaller/build.py --out dist

It takes corral, its dependencies and the engine from the environment it runs in. The system it runs
on is the oldest one that the folder works on: glibc is not part of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "linux")]

import archive  # noqa: E402
import native  # noqa: E402
import product  # noqa: E402
import share  # noqa: E402


def freeze(folder: Path) -> Path:
    """Run PyInstaller; gives the folder with the program."""
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN",
               "--distpath", str(folder), "--workpath", str(folder / "work"),
               str(HERE / "corral.spec")]  # fmt: skip
    # Hashes of strings decide in which order some tables are written.
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "1",
        "SOURCE_DATE_EPOCH": str(product.epoch()),
    }
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return folder / "corral"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the archive goes")
    parser.add_argument("--native", action="store_true", help="for processors like this one only")
    chosen = parser.parse_args()
    if not chosen.native:
        native.refuse(Path(sysconfig.get_path("platlib")))
    with tempfile.TemporaryDirectory() as folder:
        program = freeze(Path(folder))
        if sys.platform == "linux":
            share.write(program / "share")
        name = f"corral-{product.VERSION}-{product.system()}"
        if sys.platform == "win32":
            shutil.copy(HERE.parent / "windows" / "shortcut.ps1", program)
            # Explorer and winget make the folder themselves.
            packed = chosen.out / f"{name}.zip"
            archive.pack_zip(program, packed, below=False)
        else:
            packed = chosen.out / f"{name}.tar.gz"
            archive.pack(program, packed)
        print(packed)


if __name__ == "__main__":
    main()
