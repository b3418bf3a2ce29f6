"""The options of ``corral history list`` and ``search`` that say which conversations are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from corral.chat.finding import Filters, with_filter
from corral.errors import UsageError
from corral.text import clean_line

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--model", metavar="WORDS", help="A model that answered or is chosen: 7b."),
    click.option("--preset", metavar="NAME", help="Begun with it."),
    click.option("--after", metavar="DAY", help="Used since then: 2026-11-01, 2026-11, today."),
    click.option("--before", metavar="DAY", help="Begun before then."),
    click.option("--folder", metavar="NAME", help="In it, or in one inside it."),
    click.option("--pinned", is_flag=True, help="Only pinned ones."),
)


def filtering(command: Command) -> Command:
    """Give a command the options that :func:`filters_of` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filters_of(options: dict[str, Any], *, archived: bool | None) -> Filters:
    """What the options ask for.

    Raises:
        UsageError: one of them means nothing.
    """
    filters = Filters(archived=archived, pinned=True if options["pinned"] else None)
    for key in ("model", "preset", "after", "before", "folder"):
        value = clean_line(options[key] or "").strip()
        if value:
            try:
                filters = with_filter(filters, key, value, time.time())
            except ValueError as error:
                raise UsageError(f"--{key}: {error}") from None
    return filters
