"""Paths as people type, paste and drop them into a terminal, and their completion."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from corral.text import clean_line

SEEN_AT_MOST = 5_000
"""Entries of a folder that are looked at; the rest of a huge one can still be typed."""


def typed_path(text: str) -> Path:
    """The absolute path that was meant: quotes, ``file://``, ``\\ ``, ``~`` are understood."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    elif text.startswith("file://"):
        from urllib.request import url2pathname  # Dear, and hardly ever needed.

        with contextlib.suppress(OSError, IndexError):  # None of this machine, or none at all
            text = url2pathname(text.removeprefix("file://"))
    elif os.name == "posix":
        text = text.replace("\\ ", " ")
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # ~nobody
        path = path.expanduser()
    with contextlib.suppress(OSError):  # The folder this was started in is gone.
        path = path.absolute()
    return path


def complete(text: str, endings: tuple[str, ...] = (".gguf",)) -> tuple[str, list[str]]:
    """The text as far as it is certain, and the names it could go on with.

    Offered are folders and files with one of the endings, hidden ones only where a dot was typed.
    Names that a terminal would not show as they are cannot be typed either and are left out.
    """
    if text == "~":
        return "~/", []
    before, found = names_at(text, endings)
    start = text[len(before) :]
    names = sorted([name for name in found if name.startswith(start)] or found)
    if not names:
        return text, []
    common = _common(names)
    if not common.casefold().startswith(start.casefold()):
        common = start
    return before + common, names


def names_at(text: str, endings: tuple[str, ...] = ("",)) -> tuple[str, list[str]]:
    """The folder a path stands in, as it was typed, and what begins there like its last part.

    Folders end with ``/``; of files, only those with one of the endings are there.
    """
    if os.name == "nt":  # It takes both, and what is completed has one.
        text = text.replace("\\", "/")
    folder, slash, start = text.rpartition("/")
    names = []
    try:
        with os.scandir(Path(folder + slash or ".").expanduser()) as entries:
            for number, entry in enumerate(entries):
                if number == SEEN_AT_MOST:
                    break
                if _offered(entry.name, start):
                    if entry.is_dir():
                        names.append(entry.name + "/")
                    elif entry.name.casefold().endswith(endings):
                        names.append(entry.name)
    except (OSError, RuntimeError, ValueError):
        names = []
    return folder + slash, names


def _offered(name: str, start: str) -> bool:
    return (
        name.casefold().startswith(start.casefold())
        and (start.startswith(".") or not name.startswith("."))
        and clean_line(name) == name
    )


def _common(names: list[str]) -> str:
    """What all the names begin with."""
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:same] if same is not None else min(first, last, key=len)
