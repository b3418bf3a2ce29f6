"""Whether there is a terminal for the screen, and a window with one where there is none.

Some desktops start what says ``Terminal=true`` without a terminal. Then corral opens one by itself:
the first terminal emulator that is found runs corral again. What runs in it knows that by an
argument, so a window that gives no terminal either says so and opens no further one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence

from corral import program

DUMB = ("dumb", "unknown")
"""What ``TERM`` is where no cursor can be moved: an editor's shell, a serial line, a log."""

EMULATORS: tuple[tuple[str, ...], ...] = (
    ("xdg-terminal-exec",),  # the person's own choice, where a desktop keeps one
    ("x-terminal-emulator", "-e"),  # the same on Debian and its relatives
    ("gnome-terminal", "--"),
    ("konsole", "-e"),
    ("xfce4-terminal", "-x"),
    ("kitty",),
    ("foot",),
    ("alacritty", "-e"),
    ("xterm", "-e"),
)
"""Programs that open a window with a terminal, and what stands before the command in it."""

QUICK = 3.0
"""Seconds within which an emulator that fails has not shown anything: the next one is tried."""


def missing(environment: Mapping[str, str] = os.environ) -> str:
    """Why the screen cannot be shown here, as one sentence; "" where it can."""
    if not (os.isatty(0) and os.isatty(1)):
        return "the chat screen needs a terminal"
    if (kind := environment.get("TERM")) in DUMB:
        return f"the chat screen needs a terminal that can move its cursor, and TERM is {kind}"
    return ""


def advice(environment: Mapping[str, str] = os.environ) -> str:
    """What to do about that."""
    if environment.get("TERM") in DUMB and os.isatty(1):
        return (
            'corral ask "…" works here; if this terminal can do more than it says, '
            "start corral with TERM=xterm-256color"
        )
    if environment.get("MSYSTEM"):  # Git Bash and its like: pipes that look like a terminal
        return "type “winpty corral” here, or corral in Windows Terminal or PowerShell"
    return 'open a terminal and type corral there; in scripts and pipes use corral ask "…"'


def start_in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode; returns only where that is impossible.

    SQLite and llama.cpp take the names of files as UTF-8, whatever the locale says: in another one
    they would look for files that are not there. What was typed in that locale is passed on as
    text, unless it is UTF-8 already or names a file that is there.
    """
    if program.frozen():
        return
    command = [os.fsencode(word) for word in program.again(utf8=True)]
    for argument in sys.argv[1:]:
        raw = os.fsencode(argument)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            if not os.path.lexists(raw):
                raw = argument.encode("utf-8", "replace")
        command.append(raw)
    with contextlib.suppress(OSError):
        os.execv(sys.executable, command)  # noqa: S606 - this very program


def foreign_encoding() -> str:
    """The locale's encoding where that is not UTF-8, which corral draws and reads; else "".

    ASCII says nothing: it is what a locale that was never set claims, mostly of a UTF-8 terminal.
    """
    import codecs
    import locale

    try:
        name = codecs.lookup(locale.getencoding()).name
    except LookupError:
        return ""
    return "" if name in ("utf-8", "ascii") or os.name != "posix" else name.upper()


def from_desktop(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a desktop started this, and no shell: there are windows, and there is no terminal.

    A shell's pipe or a script has a terminal somewhere, or no windows; they get a message.
    """
    if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        return False
    return os.name == "posix" and not _has_terminal()


def open_window(arguments: Sequence[str]) -> int | None:
    """Run corral again in the first terminal emulator that works, and wait for it.

    Returns:
        Its exit code; None where there is none, or none works.
    """
    import shutil
    import subprocess

    command = program.again(program.OPENED, *arguments)
    for name, *before in EMULATORS:
        if (found := shutil.which(name)) is None:
            continue
        began = time.monotonic()
        try:
            code = subprocess.call([found, *before, *command], stdin=subprocess.DEVNULL)
        except OSError:
            continue
        if code == 0 or time.monotonic() - began > QUICK:
            return code
    return None


def hold(code: int) -> None:
    """Keep a window that was opened for corral until the person has read what went wrong in it."""
    if not 0 < code < 128 or not os.isatty(0):
        return
    sys.stderr.write("\nPress Enter to close this window ")
    sys.stderr.flush()
    with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
        sys.stdin.readline()


def _has_terminal() -> bool:
    """Whether a stream is a terminal, or one controls this process behind pipes."""
    if any(os.isatty(number) for number in (0, 1, 2)):
        return True
    if sys.platform == "win32":
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
