"""Time to the first frame, against an empty Textual application in the same run."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from statistics import median
from typing import Any

ROUNDS = 11
EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("palette")
Empty().run()
"""
SCREEN = "import sys; from corral.tui.run import run; sys.exit(run(None))"
COMMANDS = {
    "empty Textual app": [sys.executable, "-c", EMPTY],
    "corral, screen process alone": [sys.executable, "-P", "-c", SCREEN],
    "corral with its launcher": [sys.executable, "-P", "-m", "corral"],
}


def run() -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as home:
        for _ in range(ROUNDS + 1):  # The first one fills the caches.
            for name, command in COMMANDS.items():
                times[name].append(_first_frame(command, home))
    empty = times["empty Textual app"][1:]
    rows = []
    for name, values in times.items():
        ratios = [value / first for value, first in zip(values[1:], empty, strict=True)]
        rows.append(
            {
                "program": name,
                "first frame s": round(median(values[1:]), 3),
                "of the empty app": round(median(ratios), 2),
            }
        )
    return {"rows": rows}


def _first_frame(command: list[str], home: str) -> float:
    """Seconds from start until the terminal got the last line of the first frame.

    A word is looked for that no cursor or highlight splits: the last one of the footer.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "CORRAL_HOME": home}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    output = b""
    while b"palette" not in output:
        if not select.select([ours], [], [], 20)[0]:
            raise TimeoutError(output[-500:])
        output += os.read(ours, 65536)
    seconds = time.perf_counter() - started
    process.terminate()
    while process.poll() is None:
        if select.select([ours], [], [], 0.05)[0]:
            os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    return seconds
