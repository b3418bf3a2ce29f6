"""Packs a folder so that the same files always give the same bytes."""

from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import product

_ZIP_BEGINS = 315_532_800
"""1980: no zip file can name an earlier time."""


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


def pack_zip(folder: Path, archive: Path, *, below: bool = True) -> None:
    """The same as a .zip, for systems that have nothing else.

    Args:
        below: whether the files lie below its own name, or at the top.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    when = time.gmtime(max(product.epoch(), _ZIP_BEGINS))[:6]
    first = f"{archive.stem}/" if below else ""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            info = zipfile.ZipInfo(f"{first}{path.relative_to(folder).as_posix()}", when)
            info.create_system = 3  # whose modes the next line gives
            if path.is_symlink():
                info.external_attr = 0o120777 << 16
                packed.writestr(info, str(path.readlink()))
                continue
            if not path.is_file():
                continue
            info.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            info.external_attr = (0o100000 | mode) << 16
            info.file_size = path.stat().st_size  # else none of more than 2 GiB, as models are
            with path.open("rb") as file, packed.open(info, "w") as to:
                shutil.copyfileobj(file, to, 1 << 20)
