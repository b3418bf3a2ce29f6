"""CHANGELOG.md: its entries, and how one becomes a release."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

OPEN = "Not yet released"
"""The heading of what is written since the last release, as long as it has no number."""
_HEADING = re.compile(r"^## (?:(\S+), (not yet released|\d{4}-\d\d-\d\d)|Not yet released)$", re.M)


@dataclass(frozen=True)
class Entry:
    """One of them."""

    version: str
    """Empty where it has no number yet."""
    date: str
    """As 2026-11-21; empty if it is not released."""
    text: str
    start: int
    """Where its heading begins in the file."""
    end: int
    """Where its heading ends."""


def entries(text: str) -> list[Entry]:
    """All of them, the newest first.

    Raises:
        ValueError: there is none, or a heading is none of the three forms.
    """
    strange = [
        line for line in re.findall(r"^## .*$", text, re.MULTILINE) if not _HEADING.fullmatch(line)
    ]
    if strange:
        raise ValueError(f"CHANGELOG.md has a heading that is no version and date: {strange[0]}")
    found = list(_HEADING.finditer(text))
    if not found:
        raise ValueError("CHANGELOG.md has no entry")
    ends = [*(one.start() for one in found[1:]), len(text)]
    return [
        Entry(
            version=one[1] or "",
            date=one[2] if one[2] and one[2][0].isdigit() else "",
            text=text[one.end() : end].strip(),
            start=one.start(),
            end=one.end(),
        )
        for one, end in zip(found, ends, strict=True)
    ]


def roll(text: str, version: str, date: str) -> str:
    """Give the top entry its number and date, and put an empty one above it.

    Raises:
        ValueError: the version is not written as PEP 440 has it, or is not higher than the last
            one; the top entry is a release already, or says nothing.
    """
    try:
        wanted = Version(version)
    except InvalidVersion as error:
        raise ValueError(f"{version} is no version as PEP 440 has it, such as 0.2.0") from error
    if str(wanted) != version or wanted.local:
        raise ValueError(f"write {version} as {wanted.public}")
    found = entries(text)
    top, released = found[0], [Version(one.version) for one in found if one.date]
    if released and wanted <= max(released):
        raise ValueError(f"{version} is not higher than {max(released)}, which was released")
    if top.version and Version(top.version) > wanted:
        raise ValueError(f"{version} is not higher than {top.version}, which is being written")
    if top.date:
        raise ValueError("CHANGELOG.md's top entry is a release: write above it what has changed")
    if not top.text:
        raise ValueError("CHANGELOG.md's top entry is empty: write into it what has changed")
    heading = f"## {OPEN}\n\n## {version}, {date}"
    return text[: top.start] + heading + text[top.end :]


def current(text: str) -> Entry:
    """The entry of the version that a checkout is: the top one with a number.

    Raises:
        ValueError: there is none.
    """
    for entry in entries(text):
        if entry.version:
            return entry
    raise ValueError("CHANGELOG.md has no entry with a version")
