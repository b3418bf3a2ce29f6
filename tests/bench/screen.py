"""The screen while an answer is written: CPU, stalls and keys, in a real pseudo-terminal.

The program runs as a person starts it, but for an engine that follows a script, in a conversation
of 3,000 messages. Its parent here plays the terminal: it reads what is painted and types a sign
every now and then, each one only once, until it is seen. Stalls are told twice: as the time the
event loop was late, which a busy machine makes longer, and as the CPU time spent meanwhile.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import random
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

MESSAGES = 3000
TYPED_EVERY = 0.15
"""Seconds between two keys."""

HEARTBEAT = 0.02
"""Seconds between two looks at whether the event loop is late."""
SLOW_HEARTBEAT = 0.2
"""Where processor time alone is the question: fifty looks a second would be a tenth of it."""

SIGNS = [chr(sign) for sign in range(0x4E00, 0x4E00 + 2000)]
"""What is typed: signs that occur nowhere else on the screen."""


def fence(lines: int) -> list[str]:
    body = [f"    value_{n} = compute(value_{n - 1}, {n})  # step {n}\n" for n in range(lines)]
    return ["Here it is:\n\n```python\n", "def work():\n", *body, "```\n\nThat is all.\n"]


def bullets(items: int) -> list[str]:
    return [f"- item **{n}** with some `code` and a few more words to read\n" for n in range(items)]


def table(rows: int) -> list[str]:
    return [
        "| name | value | note |\n",
        "| --- | --- | --- |\n",
        *(f"| row {n} | {n * n} | a *word* about it |\n" for n in range(rows)),
    ]


def prose(words: int) -> list[str]:
    choice = random.Random(7)
    vocabulary = ["the", "llama", "walks", "over", "green", "hills", "and", "looks", "quietly"]
    pieces = []
    for n in range(words):
        end = ".\n\n" if n % 60 == 59 else ".\n- " if n % 97 == 96 else " "
        pieces.append(choice.choice(vocabulary) + end)
    return pieces


def in_tokens(lines: Sequence[str]) -> list[str]:
    """The same text in pieces of about four characters."""
    text = "".join(lines)
    return [text[at : at + 4] for at in range(0, len(text), 4)]


CALM = "prose, 20 tok/s"

SCENES: dict[str, tuple[list[str], float]] = {
    CALM: (prose(500), 20.0),
    "prose, 20 tok/s, keys": (prose(800), 20.0),
    "prose, 60 tok/s, keys": (prose(1200), 60.0),
    "fence, 400 lines, 200 lines/s": (fence(400), 200.0),
    "list, 200 items, 200 items/s": (bullets(200), 200.0),
    "table, 100 rows, 100 rows/s": (table(100), 100.0),
    "fence, 400 lines, 100 tok/s, keys": (in_tokens(fence(400)), 100.0),
    "list, 200 items, 100 tok/s, keys": (in_tokens(bullets(200)), 100.0),
}
"""Pieces, and how many of them a second; with keys, somebody types meanwhile."""


def run(names: Sequence[str] = ()) -> dict[str, Any]:
    rows = []
    for name in SCENES:
        if not names or any(wanted in name for wanted in names):
            rows.append(_play(name))
            print(f"  {rows[-1]}", flush=True)
    return {"rows": rows}


# --- the terminal's side --------------------------------------------------------------------------


class Terminal:
    """Reads what is painted, and measures how long a typed sign takes to appear."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )
        os.close(theirs)
        self.output = b""
        self.painted = 0
        self.echoes: list[float] = []
        self._signs = iter(SIGNS)

    def read(self, seconds: float) -> bool:
        """Take what comes within so many seconds; False where nothing did."""
        if not select.select([self._ours], [], [], max(0.0, seconds))[0]:
            return False
        try:
            got = os.read(self._ours, 65536)
        except OSError:
            return False
        self.painted += len(got)
        self.output = self.output[-100_000:] + got
        return True

    def wait_for(self, text: bytes, seconds: float = 90.0) -> None:
        end = time.perf_counter() + seconds
        while text not in self.output:
            if time.perf_counter() > end or self.process.poll() is not None:
                raise TimeoutError(self.output[-2000:])
            self.read(0.1)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def echo(self) -> None:
        """Type one sign and wait for it."""
        sign = next(self._signs)
        began = time.perf_counter()
        self.type(sign)
        while sign.encode() not in self.output and time.perf_counter() < began + 5:
            self.read(0.01)
        self.echoes.append(time.perf_counter() - began)
        if len(self.echoes) % 40 == 0:
            self.type("\x15")  # empties the line

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _play(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        report = Path(folder) / "report.json"
        terminal = Terminal([sys.executable, "-m", "tests.bench.screen", name, folder])
        try:
            terminal.wait_for(b"Question number 1499")
            before = terminal.painted
            terminal.type("go\r")
            pause = random.Random(3)
            while not report.exists():
                due = time.perf_counter() + TYPED_EVERY * pause.uniform(0.5, 1.5)
                while time.perf_counter() < due:
                    terminal.read(due - time.perf_counter())
                if terminal.process.poll() is not None:
                    raise RuntimeError(terminal.output[-2000:].decode("utf-8", "replace"))
                if "keys" in name:
                    terminal.echo()
            painted = terminal.painted - before
        finally:
            terminal.close()
        measured = json.loads(report.read_text())
    row = {
        "scene": name,
        "CPU s": round(measured["cpu"], 2),
        "wall s": round(measured["wall"], 1),
        "of a core": round(measured["cpu"] / measured["wall"], 3),
        "longest stall s": round(measured["stall"], 3),
        "its CPU s": round(measured["stall_cpu"], 3),
        "painted kB": painted // 1000,
        "opening CPU s": round(measured["opening"], 2),
    }
    if echoes := sorted(terminal.echoes[1:-1]):
        row["keys"] = len(echoes)
        row["echo median ms"] = round(1000 * median(echoes), 1)
        row["echo p99 ms"] = round(1000 * echoes[int(0.99 * (len(echoes) - 1))], 1)
    return row


# --- the program's side ---------------------------------------------------------------------------


async def _measure(app: Any, pieces: int, report: Path, heartbeat: float = HEARTBEAT) -> None:
    """Wait for the turn, watch the event loop until it has ended and the screen is quiet."""
    while not app.turns.live:
        await asyncio.sleep(0.01)
    began, cpu = time.perf_counter(), time.process_time()
    stall = stall_cpu = 0.0
    quiet_until = 0.0
    while True:
        at, spent = time.perf_counter(), time.thread_time()
        await asyncio.sleep(heartbeat)
        stall = max(stall, time.perf_counter() - at - heartbeat)
        stall_cpu = max(stall_cpu, time.thread_time() - spent)
        if app.turns.live:
            continue
        quiet_until = quiet_until or time.perf_counter() + 0.5
        if time.perf_counter() > quiet_until:
            break
    figures = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - began,
        "stall": stall,
        "stall_cpu": stall_cpu,
        "opening": cpu,
        "pieces": pieces,
    }
    temporary = report.with_suffix(".part")
    temporary.write_text(json.dumps(figures))
    temporary.replace(report)


def _fill(history: Any) -> None:
    store = history.store
    made = store.create_conversation(title="Long")
    answer = "Answer number {n}.\n\nA *second* paragraph with `code`.\n\n- one\n- two\n"
    parent: int | None = None
    with store._database.write() as connection:
        for n in range(MESSAGES // 2):
            for role, text in (("assistant", answer), ("user", "Question number {n}?")):
                connection.execute(
                    "INSERT INTO message (conversation, parent, role, text, status, created)"
                    " VALUES (?, ?, ?, ?, 'complete', ?)",
                    (made.id, parent, role, text.format(n=n), history.now),
                )
                parent = connection.last_insert_rowid()
    store.update_conversation(made.id, active=parent)


def _program(name: str, folder: Path) -> None:
    """The application as ``corral`` runs it, with a scripted engine."""
    from tests.support.chat_app import NOW, History, NoStarter, parts_with
    from tests.support.gguf_files import tiny_llama
    from tests.support.scripted_engine import Script, ScriptedEngine

    from corral.chatting import Chatting
    from corral.models.catalog import Catalog, find_catalogue
    from corral.paths import Paths
    from corral.settings import Settings
    from corral.store.store import Store
    from corral.tui import app
    from corral.tui.garbage import Garbage

    paths = Paths(folder / "config", folder / "data", folder / "cache", folder / "logs")
    paths.make()
    store = Store.open(paths.database, clock=lambda: NOW)
    library = NoStarter(store, Catalog.load(find_catalogue()))
    file = tiny_llama(folder / "tiny.gguf", context=4096)
    library.import_file(file, format="llama-2", name="tiny-llama")
    _fill(History(store))
    pieces, rate = SCENES[name]
    delay = 1 / rate if rate else 20.0
    script = Script(pieces or ["a"], delay=delay)
    chatting = Chatting(store, library, ScriptedEngine([script]), Settings())
    parts = parts_with(paths, Settings(), store, library, chatting)

    class Measured(app.CorralApp):
        CSS_PATH = Path(app.__file__).with_name("app.tcss")  # type: ignore[assignment]

        def on_ready(self) -> None:
            self.run_worker(self._watch_itself(), exit_on_error=False)

        async def _watch_itself(self) -> None:
            while not self.furnished:
                await asyncio.sleep(0.01)
            heartbeat = SLOW_HEARTBEAT if name == CALM else HEARTBEAT
            await _measure(self, len(pieces), folder / "report.json", heartbeat)

    garbage = Garbage()

    def bring() -> Any:
        garbage.begin()
        return parts

    options: dict[str, Any] = {"clock": lambda: NOW, "native_copy": lambda _text: None}
    Measured(bring, paths, garbage=garbage, **options).run()


if __name__ == "__main__":
    _program(sys.argv[1], Path(sys.argv[2]))
