"""The terminal after every kind of end, seen from the other side of a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

ALTERNATE_SCREEN = b"\x1b[?1049"
LEFT_BEHIND = [b"\x1b[?1049", b"\x1b[?1003", b"\x1b[?1006", b"\x1b[?2004"]
"""Alternate screen, mouse, bracketed paste: each must end switched off."""


CORRAL = ("-m", "corral")
SPAWNING = (
    "-c",
    "import sys; from corral import __main__, launcher\n"
    "sys.exit(launcher.run(__main__._run, [], fork=False))",
)
"""As on macOS, where the screen must not go on in a fork of the launcher."""


class Terminal:
    """The chat screen in a pseudo-terminal of 100 × 30."""

    def __init__(self, *, controlling: bool = False, program: Sequence[str] = CORRAL) -> None:
        self.output = b""
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-P", *program],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            # As the controlling terminal of the program, it hangs up when either is gone.
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if controlling else None,
        )

    def wait_for(self, text: bytes, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, self.output[-2000:]
            self.read(0.1)

    def read(self, seconds: float) -> None:
        if select.select([self.ours], [], [], seconds)[0]:
            try:
                self.output += os.read(self.ours, 65536)
            except OSError:
                time.sleep(seconds)

    def type(self, text: bytes) -> None:
        os.write(self.ours, text)

    def wait_for_end(self, seconds: float = 15) -> int:
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it did not end"
            self.read(0.05)
        while select.select([self.ours], [], [], 0.1)[0]:
            size = len(self.output)
            self.read(0.1)
            if len(self.output) == size:
                break
        return int(self.process.returncode)

    def wait_until_gone(self, process: psutil.Process) -> None:
        """Until it has ended, and what it wrote at the end was read."""
        deadline = time.monotonic() + 10
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the screen's process is still there"
            self.read(0.05)
        size = -1
        while size != len(self.output):
            size = len(self.output)
            self.read(0.1)

    @property
    def screen(self) -> psutil.Process:
        """The process that draws: the launcher's child."""
        return psutil.Process(self.process.pid).children()[0]

    def assert_restored(self) -> None:
        assert termios.tcgetattr(self._theirs) == self.before, "raw mode was left on"
        for sequence in LEFT_BEHIND:
            last = self.output.rfind(sequence)
            assert last >= 0, f"{sequence!r} was never used"
            end = self.output[last + len(sequence) : last + len(sequence) + 1]
            assert end == b"l", f"{sequence!r} was left on"

    def close(self) -> None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            process.kill()
        self.process.kill()
        self.process.wait()

    def free(self) -> None:
        if self.process.poll() is None:
            self.close()
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(private_home: Path) -> Iterator[Terminal]:
    terminal = Terminal()
    terminal.wait_for(b"Keep your llamas")
    yield terminal
    terminal.free()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_a_signal_to_the_program_ends_it_in_order(terminal: Terminal, name: str) -> None:
    number = getattr(signal, name)
    terminal.process.send_signal(number)
    assert terminal.wait_for_end() == 128 + number
    terminal.assert_restored()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT"])
def test_whatever_ends_the_screen_the_terminal_is_restored(terminal: Terminal, name: str) -> None:
    number = getattr(signal, name)
    terminal.screen.send_signal(number)
    assert terminal.wait_for_end() == 128 + number
    terminal.assert_restored()
    if name != "SIGTERM":
        assert name.encode() in terminal.output[-400:]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "launcher"])
def test_a_screen_that_was_spawned_is_looked_after_as_well(private_home: Path, name: str) -> None:
    terminal = Terminal(program=SPAWNING)
    try:
        terminal.wait_for(b"Keep your llamas")
        screen = terminal.screen
        if name == "launcher":
            terminal.process.kill()
            terminal.process.wait()
            terminal.wait_until_gone(screen)
        else:
            screen.send_signal(getattr(signal, name))
            assert terminal.wait_for_end() == 128 + getattr(signal, name)
        terminal.assert_restored()
    finally:
        terminal.free()


def test_a_killed_screen_leaves_no_mode_in_either_of_the_two_screens(terminal: Terminal) -> None:
    terminal.screen.kill()
    terminal.wait_for_end()
    end = terminal.output[-600:]
    # The keyboard protocol belongs to the alternate screen, so it goes before that does.
    assert 0 <= end.rfind(b"\x1b[<u") < end.rfind(b"\x1b[?1049l")
    for mode in (b"7h", b"25h", b"1015l", b"1016l", b"2026l", b"2048l"):
        assert b"\x1b[?" + mode in end, "lines wrap, the cursor shows, nothing is reported"


def test_what_was_typed_for_a_killed_screen_never_reaches_the_shell(terminal: Terminal) -> None:
    screen = terminal.screen
    terminal.type(b"echo not for you\r" * 50)
    screen.kill()
    terminal.wait_for_end()
    waiting = fcntl.ioctl(terminal._theirs, termios.FIONREAD, struct.pack("i", 0))
    assert struct.unpack("i", waiting)[0] == 0
    terminal.assert_restored()


def test_a_stop_of_the_whole_group_stops_the_launcher_once(terminal: Terminal) -> None:
    launcher = psutil.Process(terminal.process.pid)
    terminal.process.send_signal(signal.SIGTSTP)
    time.sleep(0.3)
    assert launcher.status() != psutil.STATUS_STOPPED, "it follows the screen, nobody else"
    terminal.screen.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while launcher.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "it does not follow a screen that stopped"
        terminal.read(0.05)
    terminal.process.send_signal(signal.SIGCONT)
    while terminal.screen.status() == psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "the screen was not woken"
        terminal.read(0.05)
    # Until it has taken the terminal again, this key is the terminal's own.
    while terminal.process.poll() is None:
        assert time.monotonic() < deadline + 15, "it did not end"
        terminal.type(b"\x11")
        for _ in range(10):
            terminal.read(0.05)
    assert terminal.process.returncode == 0


def test_a_second_signal_does_not_give_a_stuck_screen_more_time() -> None:
    program = (
        "import signal, sys, time\n"
        "from corral import launcher\n"
        "def screen(lifeline):\n"
        "    for name in launcher.PATIENCE:\n"
        "        signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "    print('stuck', flush=True)\n"
        "    time.sleep(60)\n"
        "    return 0\n"
        "sys.exit(launcher.run(screen, []))"
    )
    terminal = Terminal(program=("-c", program))
    try:
        terminal.wait_for(b"stuck")
        began = time.monotonic()
        terminal.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_for_end() == 128 + signal.SIGKILL
        assert time.monotonic() - began < 15, "two seconds were allowed"
    finally:
        terminal.free()


def test_the_working_folder_is_no_place_to_import_from(private_home: Path, tmp_path: Path) -> None:
    (tmp_path / "platformdirs.py").write_text("raise SystemExit('imported from the folder')")
    program = (
        "import sys\n"
        "from corral import launcher\n"
        "def screen(lifeline):\n"
        "    import platformdirs\n"
        "    print('here', platformdirs.__file__)\n"
        "    return 0\n"
        "sys.exit(launcher.run(screen, []))"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdin=theirs,
        capture_output=True,
        timeout=30,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert b"site-packages" in done.stdout


def test_nothing_outlives_the_launcher(terminal: Terminal) -> None:
    screen = terminal.screen
    terminal.process.kill()
    terminal.process.wait()
    terminal.wait_until_gone(screen)
    terminal.assert_restored()


@pytest.mark.parametrize("gone", ["window", "launcher"])
def test_nothing_outlives_a_terminal_that_hangs_up(private_home: Path, gone: str) -> None:
    terminal = Terminal(controlling=True)
    terminal.wait_for(b"palette")
    screen = terminal.screen
    if gone == "window":
        os.close(terminal.ours)
        terminal.ours = os.open(os.devnull, os.O_RDWR)
    else:
        terminal.process.kill()
    deadline = time.monotonic() + 10
    while screen.is_running() and screen.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the screen's process is still there"
        time.sleep(0.05)
    terminal.process.wait(timeout=10)
    terminal.free()


def test_quit_ends_with_zero_and_a_clean_terminal(terminal: Terminal) -> None:
    terminal.type(b"\x11")
    assert terminal.wait_for_end() == 0
    terminal.assert_restored()


def test_the_draft_survives_a_kill(terminal: Terminal, private_home: Path) -> None:
    terminal.type(b"half a thought")
    terminal.wait_for(b"thought")
    time.sleep(1.5)
    terminal.screen.kill()
    terminal.wait_for_end()
    again = Terminal()
    try:
        again.wait_for(b"half a thought")
        again.type(b"\x11")
        assert again.wait_for_end() == 0
    finally:
        again.free()


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}], ids=["dumb", "no terminal"])
def test_without_a_terminal_one_line_says_so(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "corral"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=20,
    )
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr and b"Traceback" not in done.stderr
