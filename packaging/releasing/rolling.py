"""Writes a new version into the files that say it."""

from __future__ import annotations

import re
from pathlib import Path

from releasing import changelog

PLACES = {
    "pyproject.toml": re.compile(r'^version = "([^"]+)"$', re.MULTILINE),
    "app/corral/__init__.py": re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE),
}
"""The files that say the version, and how."""
FILES = re.compile(r"(?<=\bcorral[-_])\d+(?:\.\d+)+[a-z0-9.]*(?=[-_])")
"""The version in the names of a release's files, of which README.md tells what to do with them."""


def version_in(root: Path, name: str) -> str:
    """What one of the places says.

    Raises:
        ValueError: it does not say it exactly once.
    """
    found = PLACES[name].findall((root / name).read_text(encoding="utf-8"))
    if len(found) != 1:
        raise ValueError(f"{name} has to say its version once, and says it {len(found)} times")
    return str(found[0])


def roll(root: Path, version: str, date: str) -> list[str]:
    """Put version and date into the changelog and every place; gives the files, by name.

    Nothing is written unless everything can be: a second try begins from the same state.

    Raises:
        ValueError: it cannot be this version, see :func:`changelog.roll`.
    """
    path = root / "CHANGELOG.md"
    new = {"CHANGELOG.md": changelog.roll(path.read_text(encoding="utf-8"), version, date)}
    for name, pattern in PLACES.items():
        before = version_in(root, name)
        text = (root / name).read_text(encoding="utf-8")
        new[name] = pattern.sub(lambda line, old=before: line[0].replace(old, version), text)
    readme = (root / "README.md").read_text(encoding="utf-8")
    new["README.md"] = FILES.sub(version, readme)
    for name, text in new.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
    return list(new)
