"""Freezes corral into one folder that needs no Python, and packs it as a portable archive.

    pip install -r requirements/freeze.txt && python packaging/pyinstaller/build.py --out dist

It takes corral, its dependencies and the engine from the environment it runs in. The system it runs
on is the oldest one that the folder works on: glibc is not part of it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "linux"))

import share  # noqa: E402

from corral import __version__  # noqa: E402


def freeze(folder: Path) -> Path:
    """Run PyInstaller; gives the folder with the program."""
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN",
               "--distpath", str(folder), "--workpath", str(folder / "work"),
               str(HERE / "corral.spec")]  # fmt: skip
    # Hashes of strings decide in which order some tables are written.
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "1",
        "SOURCE_DATE_EPOCH": str(share.epoch()),
    }
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return folder / "corral"


def pack(program: Path, archive: Path) -> None:
    """Pack a folder: sorted, dated by the commit, owned by nobody in particular."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    name = archive.name.removesuffix(".tar.gz")
    epoch = share.epoch()

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = epoch
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as packed,
    ):
        for path in sorted(program.rglob("*")):
            inside = f"{name}/{path.relative_to(program)}"
            packed.add(path, arcname=inside, recursive=False, filter=plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the archive goes")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        program = freeze(Path(folder))
        if sys.platform == "linux":
            share.write(program / "share")
        system = f"{platform.system()}-{platform.machine()}".lower()
        archive = out / f"corral-{__version__}-{system}.tar.gz"
        pack(program, archive)
        print(archive)


if __name__ == "__main__":
    main()
