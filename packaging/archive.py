"""Packs a folder so that the same files always give the same bytes."""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import product


def pack(folder: Path, archive: Path) -> None:
    """Write a .tar.gz whose files lie below its own name.

    They are sorted, dated by the commit and owned by nobody in particular; of their modes only
    what can be run is kept.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    name = archive.name.removesuffix(".tar.gz")
    epoch = product.epoch()

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
        for path in sorted(folder.rglob("*")):
            inside = f"{name}/{path.relative_to(folder).as_posix()}"
            packed.add(path, arcname=inside, recursive=False, filter=plain)
