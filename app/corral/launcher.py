"""Owns the terminal while the screen's process runs, and restores it however that process ends.

Textual cleans up after exceptions and its own exits, but nothing inside a process can do that
after SIGKILL or a crash. So the screen runs as a child, and this small parent keeps the terminal's
settings. It imports nothing heavy and forks before anything else is there: a second start of the
interpreter would cost a tenth of the time to the first frame. Windows has no terminals that can be
left in a mess: there it is not imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

from corral import program

assert sys.platform != "win32"

LIFELINE = "CORRAL_LIFELINE"
"""Environment variable with the number of a pipe's end, where the screen had to be spawned."""

RESET = (
    "\x1b[<u"  # Kitty keyboard protocol off: each of the two screens has its own
    "\x1b[?2026l\x1b[?1049l"  # show what was painted, leave the alternate screen
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse reports off
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # focus, bracketed paste, in-band resize off
    "\x1b[?7h\x1b[?25h\x1b[0m"  # lines wrap, cursor on, plain colours
)

PATIENCE = {"SIGHUP": 2, "SIGTERM": 8, "SIGQUIT": 8, "SIGINT": 0}
"""Seconds the screen gets to end after each signal before it is killed; 0 is for ever.

After a hangup there is no terminal any more, and Textual's writer may wait for it without end.
"""

Screen = Callable[[int], int]
"""Runs the screen until its end and gives the exit code. It gets the lifeline: a descriptor that
reads as end of file once the launcher is gone."""


def run(screen: Screen, arguments: list[str], *, fork: bool | None = None) -> int:
    """Run the screen in a child and wait; gives the exit code of the whole program.

    Args:
        arguments: what the program was called with, for a child that has to start anew.
        fork: whether the child goes on from here. On macOS it must not: its system libraries
            abort in a child that was forked without exec, if they were loaded before.
    """
    import termios

    if (lifeline := os.environ.pop(LIFELINE, None)) is not None:
        return screen(int(lifeline))
    settings = termios.tcgetattr(0)

    def restore() -> None:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(0, termios.TCSANOW, settings)
            # What was typed for the screen, and the mouse's reports, are no commands for a shell.
            termios.tcflush(0, termios.TCIFLUSH)

    ours, theirs = os.pipe()
    if fork if fork is not None else sys.platform != "darwin":
        pid = os.fork()
        if not pid:
            os.close(theirs)
            _leave_the_folder()
            return screen(ours)
    else:
        pid = _spawn(arguments, ours)
    os.close(ours)
    status = _watch(_Child(pid))
    os.close(theirs)
    if status < 0:
        restore()
        _say_what_happened(-status)
    return status if status >= 0 else 128 - status


def _leave_the_folder() -> None:
    """Import nothing from the working folder or a script's, as with Python's ``-P``."""
    own = __file__.rpartition("corral")[0].rstrip("/")
    if program.frozen():
        return
    if not sys.flags.safe_path and sys.path and sys.path[0].rstrip("/") != own:
        del sys.path[0]


def _spawn(arguments: list[str], lifeline: int) -> int:
    """The same program once more, without the working folder among its places to import from."""
    os.set_inheritable(lifeline, True)
    command = program.again(*arguments)
    return os.posix_spawn(command[0], command, {**os.environ, LIFELINE: str(lifeline)})


def _say_what_happened(number: int) -> None:
    """Leave the screen's modes, and name the signal that ended it."""
    with contextlib.suppress(OSError):
        os.write(2, RESET.encode())
        os.write(
            2,
            f"\r\ncorral was ended by {signal.Signals(number).name}. Everything up to the last "
            "second is saved; start it again to go on.\r\n".encode(),
        )


class _Child:
    """The screen's process, for as long as it has not been waited for."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = False

    def send(self, number: int) -> None:
        if not self._ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._pid, number)

    def wait(self) -> int:
        """Wait for the end; when the child suspends itself, suspend too, so the shell is back."""
        while True:
            _, status = os.waitpid(self._pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.kill(os.getpid(), signal.SIGSTOP)
                self.send(signal.SIGCONT)
                continue
            self._ended = True
            return os.waitstatus_to_exitcode(status)


def _watch(child: _Child) -> int:
    """Pass signals on and make sure that they have an effect; gives the child's exit code."""
    signal.signal(signal.SIGALRM, lambda _number, _frame: child.send(signal.SIGKILL))

    def ending(number: int, _frame: object) -> None:
        child.send(number)
        if seconds := PATIENCE[signal.Signals(number).name]:
            signal.alarm(seconds)

    for name in PATIENCE:
        signal.signal(getattr(signal, name), ending)
    # The screen stops itself, and this follows: stopped by the same signal, it would stop twice.
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    return child.wait()
