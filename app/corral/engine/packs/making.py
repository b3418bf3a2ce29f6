"""Makes a pack out of built libraries: the files a loader asks for, and the manifest."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.engine.packs import binding, manifest
from corral.engine.packs.manifest import File, Manifest
from corral.engine.packs.shelf import name_of

_LIBRARY = re.compile(
    r"[A-Za-z0-9_+-]+(\.so(\.[0-9]+)?|(\.[0-9]+)?\.dylib|\.dll|\.metallib)", re.ASCII
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip file can hold."""


def wanted(name: str) -> bool:
    """Whether a built file belongs into a pack.

    A loader asks for ``libllama.so`` and ``libllama.so.0``; ``libllama.so.0.5.0`` is what links
    lead to, and a wheel holds all three in full.
    """
    return bool(_LIBRARY.fullmatch(name))


def make(libraries: Path, out: Path, flagset: str, facts: Mapping[str, Any]) -> Path:
    """A pack below ``out``, made of the files in ``libraries``; gives its folder.

    Args:
        facts: the other values of :class:`Manifest`; ``binding`` and ``platform`` are this
            machine's where they are left out.

    Raises:
        ValidationError: they are not what a manifest can say.
        OSError: a file cannot be read or written, or the folder is there.
    """
    version = facts.get("binding", binding.version())
    platform = facts.get("platform", binding.platform_tag())
    folder = out / name_of(version, platform, flagset)
    names = sorted(p.name for p in libraries.iterdir() if p.is_file() and wanted(p.name))
    files = {}
    folder.mkdir(parents=True)
    for name in names:
        shutil.copyfile(libraries / name, folder / name)
        with (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        files[name] = File(bytes=(folder / name).stat().st_size, sha256=sha256)
    values = {"format": 1, "binding": version, "platform": platform, "flagset": flagset, **facts}
    found = Manifest.model_validate({**values, "name": folder.name, "files": files})
    (folder / manifest.FILE).write_text(found.written(), encoding="utf-8", newline="\n")
    return folder


def zipped(folder: Path) -> Path:
    """The same pack as one file beside it; the same pack is always the same bytes."""
    path = folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(f"{folder.name}/{file.name}", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, file.read_bytes())
    return path
