"""Tiny wheels, made in a moment: metadata and whatever files a test wants in them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    headers: str = "License-Expression: MIT\n",
    files: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
) -> Path:
    """One wheel.

    Args:
        headers: lines of its METADATA after name and version.
        files: by path in the archive; ``{info}`` in a path is the .dist-info folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spelled = name.replace("-", "_")
    info = f"{spelled}-{version}.dist-info"
    path = folder / f"{spelled}-{version}-{tag}.whl"
    about = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{headers}"
    if files is None:
        files = {"{info}/licenses/LICENSE": f"The licence of {name}"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", about)
        for place, content in files.items():
            archive.writestr(place.replace("{info}", info), content)
    return path
