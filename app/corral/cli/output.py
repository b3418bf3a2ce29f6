"""What commands share: streams, JSON, tables, and errors as one line and a hint."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from corral.errors import CorralError, DoesNotFit
from corral.paths import Paths
from corral.text import clean, clean_line
from corral.trouble import REPLACED, REPLACED_HINT, replaced, write_down

INTERRUPTED = 130


def print_json(value: Any) -> None:
    """One JSON value on a line of its own, in plain ASCII so that it carries no escape."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for the person on stdout."""
    sys.stdout.write(clean(text) + "\n")


def note(text: str) -> None:
    """A line beside the output, on stderr; where nothing can be written there, nobody reads it."""
    try:
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()
    except OSError:
        silence(2)  # What is left would fail again at the end, and change the exit code.


def silence(number: int) -> None:
    """Let a stream lead nowhere from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def no_room(error: BaseException) -> DoesNotFit | None:
    """What to say where that was the reason, and then nothing more is written to stdout."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    silence(1)  # Nor is there room for what else would be written there, an object of JSON say.
    return DoesNotFit("There is no room left for the output", title="The disk is full")


def table(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
    """Columns as wide as their longest cell; cells are cleaned."""
    cells = [[clean_line(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


class StatusLine:
    """One line on stderr that is written over; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if self._on:
            sys.stderr.write("\r" + clean_line(text).ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def clear(self) -> None:
        if self._on and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0


@contextmanager
def errors(*, as_json: bool = False, paths: Callable[[], Paths]) -> Iterator[None]:
    """Turn every error into its line, its hint and its exit code; no stack trace gets out."""
    ended: SystemExit | None = None
    try:
        try:
            yield
        except SystemExit as error:
            ended = error
        sys.stdout.flush()  # When Python ends it would fail again, and nobody could say why.
    except CorralError as error:
        sys.exit(report(error, as_json=as_json))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away, which is its right: say nothing, also not at exit.
        silence(1)
        sys.exit(0)
    except Exception as error:
        if full := no_room(error):
            sys.exit(report(full, as_json=False))
        if replaced():
            gone = CorralError(REPLACED, hint=REPLACED_HINT, title="Not the same program any more")
            sys.exit(report(gone, as_json=as_json))
        log = paths().app_log
        hint = f"{log} holds the details." if write_down(log, error) else ""
        unexpected = CorralError(f"{type(error).__name__} in corral itself", hint=hint)
        sys.exit(report(unexpected, as_json=as_json))
    if ended is not None:
        raise ended


def report(error: CorralError, *, as_json: bool) -> int:
    """Print an error where it belongs; gives its exit code."""
    if as_json:
        print_json(
            {
                "type": "error",
                "title": error.title,
                "message": error.message,
                "hint": error.hint,
            }
        )
    else:
        note(f"corral: {error.title}: {error.message}")
        if error.hint:
            note(f"  hint: {error.hint}")
    return error.exit_code
