"""Conversations out of the history, into one file, several, or a stream."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from corral.chat.conversation import Conversation
from corral.errors import UsageError
from corral.models.files import Cancellation
from corral.moving.files import plain_errors, whole_file
from corral.moving.telling import line, tell
from corral.store.moving import Whole
from corral.store.store import Store

Format = Literal["markdown", "json", "html", "text"]
Progress = Callable[[int, int], None]
"""Called with conversations done and conversations in all."""

ENDINGS: dict[Format, str] = {"markdown": ".md", "json": ".json", "html": ".html", "text": ".txt"}
NAMES: dict[Format, str] = {
    "markdown": "Markdown",
    "json": "JSON",
    "html": "HTML",
    "text": "plain text",
}
_OTHER_NAMES: dict[str, Format] = {
    "md": "markdown",
    "htm": "html",
    "txt": "text",
    "plain": "text",
    "plain text": "text",
}
_LONGEST_NAME = 60
_NO_NAME = re.compile(r"[^\w]+")


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written."""

    path: Path
    conversations: tuple[Conversation, ...]
    bytes: int


def format_named(name: str) -> Format:
    """The format of a name, or of the ending of a file's name.

    Raises:
        UsageError: there is none of it.
    """
    plain = name.strip().casefold().lstrip(".")
    for format in ENDINGS:
        if plain == format:
            return format
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    raise UsageError(
        f"There is no format {line(name)[:60]}", hint="markdown, json, html and text are there"
    )


def format_of(path: Path) -> Format | None:
    """What the ending of a file's name asks for; None where it asks for nothing known."""
    try:
        return format_named(path.suffix) if path.suffix else None
    except UsageError:
        return None


def file_name(conversation: Conversation, format: Format) -> str:
    """A name made of the title that every file system takes: ``12-trip-to-cusco.md``."""
    title = unicodedata.normalize("NFC", conversation.title).casefold()
    words = _NO_NAME.sub("-", title).strip("-_")
    while len(words.encode()) > _LONGEST_NAME:
        words = words[:-1].rstrip("-_")
    return f"{conversation.id}{'-' if words else ''}{words}{ENDINGS[format]}"


def pieces(wholes: Iterable[Whole], format: Format, *, now: float, heading: str) -> Iterator[str]:
    """The text of an export, piece by piece; only one conversation is in memory at a time.

    Args:
        now: seconds since the epoch.
        heading: what a page of several conversations is called.
    """
    # Only one of these is needed, and a screen does not wait for the others.
    if format == "json":
        yield from _json(wholes, now)
        return
    told = (tell(whole, now) for whole in wholes)
    if format == "html":
        from corral.moving.page import html

        yield from html(told, heading)
        return
    from corral.moving.readable import markdown, plain_text

    yield from markdown(told) if format == "markdown" else plain_text(told)


def _json(wholes: Iterable[Whole], now: float) -> Iterator[str]:
    """A list with one conversation a line; in plain ASCII, so that no byte of it is ambiguous."""
    from corral.moving.records import to_record

    yield "["
    for number, whole in enumerate(wholes):
        yield f"{',' if number else ''}\n{json.dumps(to_record(whole, now))}"
    yield "\n]\n"


def export_file(
    store: Store,
    ids: Sequence[int],
    format: Format,
    path: Path,
    *,
    now: float,
    replace: bool = True,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Exported:
    """Write conversations into one file; a file that is there stays whole until this one is.

    Raises:
        NotFound: there is no such conversation, or no such folder.
        DoesNotFit: the disk is full.
        Refused: a file is there already that does not give way.
        Cancellation: ``cancelled`` said so; nothing was written.
    """
    seen: list[Conversation] = []
    wholes = _read(store, ids, seen, progress, cancelled)
    size = 0
    with whole_file(path, replace=replace) as file:
        for piece in pieces(wholes, format, now=now, heading=_heading(store, ids)):
            size += file.write(piece.encode("utf-8", "replace"))
    return Exported(path, tuple(seen), size)


def export_folder(
    store: Store,
    ids: Sequence[int],
    format: Format,
    folder: Path,
    *,
    now: float,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Exported]:
    """Write a file a conversation into a folder, which is made where it is not there.

    Raises:
        As :func:`export_file`.
    """
    with plain_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    done = []
    for number, id in enumerate(ids):
        if cancelled():
            raise Cancellation(f"{number} of {len(ids)} conversations were exported")
        name = file_name(store.conversation(id), format)
        done.append(export_file(store, [id], format, folder / name, now=now))
        if progress is not None:
            progress(number + 1, len(ids))
    return done


def stream(store: Store, ids: Sequence[int], format: Format, *, now: float) -> Iterator[str]:
    """The same for a pipe.

    Raises:
        NotFound: there is no such conversation.
    """
    wholes = _read(store, ids, [], None, lambda: False)
    yield from pieces(wholes, format, now=now, heading=_heading(store, ids))


def _heading(store: Store, ids: Sequence[int]) -> str:
    if len(ids) == 1:
        return line(store.conversation(ids[0]).title) or "Untitled"
    return f"{len(ids)} conversations"


def _read(
    store: Store,
    ids: Sequence[int],
    seen: list[Conversation],
    progress: Progress | None,
    cancelled: Callable[[], bool],
) -> Iterator[Whole]:
    for number, id in enumerate(ids):
        if cancelled():
            raise Cancellation("Nothing was exported")
        whole = store.whole(id)
        seen.append(whole.conversation)
        yield whole
        if progress is not None:
            progress(number + 1, len(ids))
