"""Owns the terminal while the screen's process runs, and restores it however that process ends.

Textual cleans up after exceptions and its own exits, but nothing inside a process can do that
after SIGKILL or a crash. So the screen runs as a child, and this small parent keeps the terminal's
settings. It imports nothing heavy: it is there before the first frame.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

LIFELINE = "CORRAL_LIFELINE"
"""Environment variable with the number of a pipe's end: end of file means the launcher is gone."""

RESET = (
    "\x1b[?1049l"  # leave the alternate screen
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l"  # mouse reports off
    "\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # focus, bracketed paste, in-band resize off
    "\x1b[<u"  # Kitty keyboard protocol off
    "\x1b[?25h\x1b[0m"  # cursor on, plain colours
)

PATIENCE = {"SIGHUP": 2, "SIGTERM": 8, "SIGQUIT": 8, "SIGINT": 0}
"""Seconds the screen gets to end after each signal before it is killed; 0 is for ever.

After a hangup there is no terminal any more, and Textual's writer may wait for it without end.
"""


def supported() -> bool:
    """Whether this system has terminals that can be left in a mess."""
    return os.name == "posix"


def run(arguments: Sequence[str]) -> int:
    """Run the chat screen in a child and wait; gives the exit code of the whole program."""
    import termios

    settings = termios.tcgetattr(0)
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "corral", *arguments],
        env={**os.environ, LIFELINE: str(ours)},
        pass_fds=(ours,),
    )
    os.close(ours)
    signal.signal(signal.SIGALRM, lambda _number, _frame: _forward(child, signal.SIGKILL))
    for name, seconds in PATIENCE.items():
        signal.signal(getattr(signal, name), _ending(child, seconds))
    status = _wait(child)
    os.close(theirs)
    if status >= 0:
        return status
    with contextlib.suppress(termios.error, OSError):
        termios.tcsetattr(0, termios.TCSANOW, settings)
    with contextlib.suppress(OSError):
        os.write(2, RESET.encode())
        name = signal.Signals(-status).name
        os.write(
            2,
            f"\r\ncorral was ended by {name}. Everything up to the last second is saved; "
            "start it again to go on.\r\n".encode(),
        )
    return 128 - status


def _ending(child: subprocess.Popen[bytes], seconds: int) -> Callable[[int, object], None]:
    """A handler that passes a signal on, and makes sure that it has an effect."""

    def handle(number: int, _frame: object) -> None:
        _forward(child, number)
        signal.alarm(seconds)

    return handle


def _forward(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, OSError):
        child.send_signal(number)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the end; when the child suspends itself, suspend too, so that the shell is back."""
    while True:
        try:
            _, status = os.waitpid(child.pid, os.WUNTRACED)
        except InterruptedError:
            continue
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            _forward(child, signal.SIGCONT)
            continue
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode
