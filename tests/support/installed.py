"""corral installed anew, in a virtual environment of its own that can be broken."""

from __future__ import annotations

import re
import shutil
import sysconfig
import venv
from pathlib import Path

import corral
from corral.models.catalog import find_catalogue


def install(folder: Path) -> Path:
    """Copy corral into a new environment and lend it this one's other packages.

    Returns:
        Its interpreter.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    site = next(folder.glob("lib/python3*/site-packages"))
    for package in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not re.match(r".*corral|__pycache__", package.name):
            (site / package.name).symlink_to(package)
    # With what is compiled already: times are copied too, so it counts.
    shutil.copytree(Path(corral.__file__).parent, site / "corral")
    shutil.copy(find_catalogue(), site / "corral" / "models.toml")
    return folder / "bin" / "python"


def package(python: Path) -> Path:
    """Where an installed corral's own files lie."""
    return next((python.parent.parent / "lib").glob("python3*/site-packages/corral"))
