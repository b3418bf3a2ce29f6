"""A person's own editor for what stands in the box: the terminal is lent to it, and taken back.

The program goes on meanwhile: an answer is written and stored while nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from corral import signals
from corral.errors import CorralError

if TYPE_CHECKING:
    from corral.tui.app import CorralApp

LOOK = 0.5
"""Seconds between two looks at whether the file was saved."""

PATIENCE = 1.0
"""Seconds an editor gets to end when the program does."""

LARGEST = 80_000_000
"""Bytes of a file that are read back."""

_LEFT_FOR = 24 * 3600.0
"""Seconds after which a file that a crash left behind is removed; the draft has its text."""

_USUAL = ("sensible-editor", "nano", "vim", "vi") if os.name == "posix" else ("notepad",)


class EditorError(CorralError):
    """Says why a text was not edited.

    Args:
        left: what the editor had saved before it was killed; None where nothing came of it.
    """

    title = "Not edited"

    def __init__(self, message: str, *, hint: str = "", left: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.left = left


@dataclass(frozen=True, slots=True)
class Lent:
    """A terminal that somebody else has for a while."""

    descriptor: int | None
    """Leads to it; None where the editor inherits the way."""
    asked: asyncio.Future[int]
    """The number of the signal that asked the program to end meanwhile."""


Lend = Callable[["CorralApp"], contextlib.AbstractContextManager[Lent]]


def find_editor(
    environment: Mapping[str, str], which: Callable[[str], str | None] = shutil.which
) -> list[str]:
    """The command of the person's editor: ``$VISUAL``, ``$EDITOR``, else one that is there.

    Raises:
        EditorError: what is named is not there, or nothing is.
    """
    for name in ("VISUAL", "EDITOR"):
        if wanted := environment.get(name, "").strip():
            try:
                words = shlex.split(wanted, posix=os.name == "posix")
            except ValueError:
                words = []
            if os.name != "posix":  # There the quotes are still around the words.
                words = [word.strip('"') for word in words]
            if not words or (found := which(words[0])) is None:
                raise EditorError(
                    f"${name} names an editor that is not there: {wanted}",
                    hint=f"Start corral with another one, such as {name}=nano",
                )
            # Windows starts no “code” that is a code.cmd, unless it is told so.
            return words if os.name == "posix" else [found, *words[1:]]
    for name in _USUAL:
        if which(name) is not None:
            return [name]
    raise EditorError(
        "No editor was found on this machine", hint="Start corral with EDITOR set to one"
    )


async def edit(
    app: CorralApp,
    text: str,
    command: Sequence[str],
    folder: Path,
    saved: Callable[[str], None],
    lend: Lend | None = None,
) -> str:
    """Let the person edit a text; gives what the editor left.

    Args:
        folder: where the file goes while it is edited.
        saved: told each time the editor saves, so that nothing is lost if this program dies.
        lend: gives the terminal away, and takes it back.

    Raises:
        EditorError: the editor could not be started or failed, or the file cannot be used; where
            nothing is left of it, the text counts as unchanged.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        descriptor, name = tempfile.mkstemp(prefix="prompt-", suffix=".md", dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise EditorError(f"{folder} cannot be written to: {error.strerror}") from None
    path = Path(name)
    try:
        code = await _run(app, [*command, name], path, text, saved, lend or lent_terminal)
        if os.name == "posix" and (code < 0 or code > 128):  # A shell tells a signal so.
            raise EditorError(
                f"The editor was killed by signal {abs(code) % 128}: the box has what it had saved",
                left=_read(path, text),
            )
        if code:
            raise EditorError(
                f"The editor ended with code {code}, so the text stays as it was",
                hint=f"It was started as {shlex.join(command)}",
            )
        return _read(path, text)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


async def _run(
    app: CorralApp,
    command: Sequence[str],
    path: Path,
    text: str,
    saved: Callable[[str], None],
    lend: Lend,
) -> int:
    """Run the editor while it has the terminal; gives its exit code."""
    code = 0
    failure: BaseException | None = None
    try:
        with lend(app) as lent:
            # Nothing may leave this block early: the terminal would not be taken back.
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, stdout=lent.descriptor, stderr=lent.descriptor
                )
                code = await _wait(process, lent.asked, path, text, saved)
            except BaseException as error:
                failure = error
    except SuspendNotSupported:
        raise EditorError("This terminal cannot be lent to an editor") from None
    if isinstance(failure, OSError):
        raise EditorError(f"{command[0]} cannot be started: {failure.strerror}") from None
    if failure is not None:
        raise failure
    if lent.asked.done():
        app.leave(128 + lent.asked.result())
        return 0
    return code


async def _wait(
    process: Process,
    asked: asyncio.Future[int],
    path: Path,
    text: str,
    saved: Callable[[str], None],
) -> int:
    """Until the editor has ended, or the program has to: then the editor has to, too."""
    waiting = asyncio.create_task(process.wait())
    stamp = told = _stamp(path)
    try:
        while not waiting.done() and not asked.done():
            await asyncio.wait({waiting, asked}, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            before, stamp = stamp, _stamp(path)
            # Not in the middle of it: an editor may empty the file before it writes.
            if stamp == before != told:
                told = stamp
                with contextlib.suppress(EditorError):
                    saved(_read(path, text))
        return waiting.result() if waiting.done() else 0
    finally:
        if not waiting.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            if not (await asyncio.wait({waiting}, timeout=PATIENCE))[0]:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await waiting
            with contextlib.suppress(EditorError):
                saved(_read(path, text))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is saved, also by writing another one in its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path, before: str) -> str:
    """The text in the file, without the line break that editors add at the end.

    Raises:
        EditorError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise EditorError("The file has become too large for the box")
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise EditorError(f"What was written cannot be read: {error.strerror}") from None
    text = text.replace("\r\n", "\n")
    if text.endswith("\n") and not before.endswith("\n"):
        text = text[:-1]
    return text


def _sweep(folder: Path) -> None:
    """Remove what a crash left behind long ago."""
    for path in folder.glob("prompt-*.md"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_FOR:
                path.unlink()


# --- the terminal ---------------------------------------------------------------------------------


@contextlib.contextmanager
def lent_terminal(app: CorralApp) -> Iterator[Lent]:
    """The terminal as it was before the program, until the end of the block.

    The editor stays in the program's process group, so that Ctrl+Z stops both, and ``fg`` brings
    both back.

    Raises:
        SuspendNotSupported: there is no terminal.
    """
    # Without painting: what is written to a terminal that is lent away would be lost, or worse.
    with app.batch_update(), _signals(app) as asked, app.suspend(), _own_modes():
        yield Lent(1 if os.name == "posix" else None, asked)
    app.refresh(layout=True)


@contextlib.contextmanager
def _signals(app: CorralApp) -> Iterator[asyncio.Future[int]]:
    """Ctrl+C in the editor is meant for the editor; what asks the program to end waits for it."""
    asked: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def ask(number: int) -> None:
        # Ctrl+C is not ignored by the system's means: the editor would inherit that.
        if number != signal.SIGINT and not asked.done():
            asked.set_result(number)

    signals.handle(signals.SCREEN, ask)
    try:
        yield asked
    finally:
        signals.handle(signals.SCREEN, lambda number: app.leave(128 + number))


@contextlib.contextmanager
def _own_modes() -> Iterator[None]:
    """Put the terminal's modes back as they were, however the editor leaves them.

    The quit key is off meanwhile: its signal would reach the launcher, which ends what does not.
    """
    if sys.platform == "win32":
        yield
        return
    import termios

    try:
        modes = termios.tcgetattr(0)
        own = termios.tcgetattr(0)
        own[6][termios.VQUIT] = os.fpathconf(0, "PC_VDISABLE").to_bytes(1, "big")
        termios.tcsetattr(0, termios.TCSADRAIN, own)
    except (termios.error, OSError, ValueError):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(0, termios.TCSADRAIN, modes)
