"""Started without a terminal: a window opens where there is a desktop, else one line says why."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.faults.test_terminal import Terminal

from corral import program, terminal

EMULATOR = """#!{python}
import fcntl, os, pty, struct, sys, termios
log = {log!r}
with open(log, "a") as file:
    print(os.path.basename(sys.argv[0]), *sys.argv[1:], sep="|", file=file)
command = sys.argv[1 + {before}:]
if not {window}:
    os.execv(command[0], command)
pid, ours = pty.fork()
if not pid:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    os.execve(command[0], command, {{**os.environ, "TERM": "xterm-256color"}})
shown = b""
quitted = False
while True:
    try:
        data = os.read(ours, 65536)
    except OSError:
        break
    if not data:
        break
    shown += data
    if b"Keep your llamas" in shown and not quitted:
        quitted = True
        os.write(ours, b"\\x11")
with open(log + ".screen", "wb") as file:
    file.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


class Desktop:
    """A folder with terminal emulators in it, and the way a desktop starts a program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "started.log"
        folder.mkdir()

    def emulator(self, name: str, *, window: bool = True) -> None:
        before = len(next(one for one in terminal.EMULATORS if one[0] == name)) - 1
        text = EMULATOR.format(
            python=sys.executable, log=str(self.log), before=before, window=window
        )
        self.program(name, text)

    def program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    @property
    def started(self) -> list[list[str]]:
        return [line.split("|") for line in self.log.read_text().splitlines()]

    def start(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {
            **os.environ, "PATH": str(self.folder), "DISPLAY": ":77", "WAYLAND_DISPLAY": "", **more
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-P", "-m", "corral", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            start_new_session=True,
            timeout=40,
        )


@pytest.fixture
def desktop(tmp_path: Path) -> Desktop:
    return Desktop(tmp_path / "programs")


def test_a_desktop_without_terminal_gets_a_window(desktop: Desktop) -> None:
    desktop.emulator("x-terminal-emulator")
    done = desktop.start("--offline")
    assert done.returncode == 0, done.stderr
    (started,) = desktop.started
    assert started[:2] == ["x-terminal-emulator", "-e"]
    assert started[-2:] == ["--in-terminal", "--offline"]
    screen = Path(f"{desktop.log}.screen").read_bytes()
    assert b"Keep your llamas" in screen and b"\x1b[?1049l" in screen
    assert b"Press Enter" not in screen, "it closes by itself after a good end"


@pytest.mark.parametrize("after", range(1, len(terminal.EMULATORS)))
def test_an_emulator_that_fails_at_once_leaves_the_turn_to_the_next(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Each in its turn, called as it wants to be called."""
    (first, *_), (second, *before) = terminal.EMULATORS[after - 1 : after + 1]
    desktop.program(first, "#!/bin/sh\nexit 1\n" if after % 2 else "no program at all")
    desktop.program(second, f'#!/bin/sh\necho "$@" >>{desktop.log}\n')
    monkeypatch.setenv("PATH", str(desktop.folder))
    assert terminal.open_window(["--offline"]) == 0
    assert desktop.log.read_text().split() == [
        *before,
        *program.again("--in-terminal", "--offline"),
    ]


def test_a_window_that_gives_no_terminal_opens_no_further_one(desktop: Desktop) -> None:
    desktop.emulator("xterm", window=False)
    done = desktop.start()
    assert done.returncode == 2
    assert len(desktop.started) == 1, "it went round in a circle"
    assert "needs a terminal" in done.stderr and "Traceback" not in done.stderr


def test_without_any_emulator_one_line_says_so(desktop: Desktop) -> None:
    done = desktop.start()
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "corral: the chat screen needs a terminal",
        '  hint: open a terminal and type corral there; in scripts and pipes use corral ask "…"',
    ]


def test_without_a_desktop_no_window_is_tried(desktop: Desktop) -> None:
    desktop.emulator("xterm")
    assert desktop.start(DISPLAY="").returncode == 2
    assert not desktop.log.exists()


def test_a_command_needs_no_window(desktop: Desktop) -> None:
    desktop.emulator("xterm")
    done = desktop.start("presets", "list")
    assert done.returncode == 0 and "sentiment" in done.stdout
    assert not desktop.log.exists()


def test_pipes_in_a_shell_open_no_window(desktop: Desktop) -> None:
    """Its streams are pipes, but there is a terminal that the person looks at."""
    desktop.emulator("xterm")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "corral"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PATH": str(desktop.folder), "DISPLAY": ":77"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        pass_fds=(theirs,),
        timeout=40,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2 and b"needs a terminal" in done.stderr
    assert not desktop.log.exists()


def test_a_window_of_its_own_stays_until_its_error_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CORRAL_HOME", "/dev/null/nowhere")
    window = Terminal(program=("-m", "corral", "--in-terminal"))
    try:
        window.wait_for(b"Press Enter to close")
        assert b"No place to work" in window.output
        assert window.process.poll() is None
        window.type(b"\r")
        assert window.wait_for_end() == 1
    finally:
        window.free()


@pytest.mark.parametrize("kind", terminal.DUMB)
def test_a_terminal_without_a_cursor_is_told_what_to_set(kind: str) -> None:
    program = (
        "import os, sys\n"
        f"os.environ['TERM'] = {kind!r}\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'corral'])"
    )
    window = Terminal(program=("-c", program))
    try:
        assert window.wait_for_end() == 2
        assert f"TERM is {kind}".encode() in window.output
        assert b"TERM=xterm-256color" in window.output
        assert b"\x1b[" not in window.output
    finally:
        window.free()


def test_closed_streams_are_no_terminal() -> None:
    command = f"{sys.executable} -P -m corral <&- >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=40)
    assert done.returncode == 2 and b"needs a terminal" in done.stderr
