"""A person's own editor: what it saves comes into the box, and the terminal comes back whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_terminal import Terminal
from tests.support.chat_app import chat

from corral.tui import editor
from corral.tui.editor import EditorError, Lent, edit, find_editor

posix_only = pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX systems")


class App:
    """What the editor needs of the application."""

    def __init__(self) -> None:
        self.left: list[int] = []

    def leave(self, code: int) -> None:
        self.left.append(code)


class Desk:
    """Runs a Python script as the editor, on no terminal."""

    def __init__(self, folder: Path) -> None:
        self.app: Any = App()
        self.folder = folder
        self.saved: list[str] = []
        self.asked: asyncio.Future[int] | None = None

    @contextlib.contextmanager
    def lend(self, app: Any) -> Iterator[Lent]:
        self.asked = asyncio.get_running_loop().create_future()
        yield Lent(None, self.asked)

    def command(self, script: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            f"import sys, pathlib\np = pathlib.Path(sys.argv[1])\n{script}",
        ]

    async def edit(self, text: str, script: str) -> str:
        return await edit(
            self.app, text, self.command(script), self.folder, self.saved.append, self.lend
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "editor")


def test_the_editor_is_the_one_that_is_named() -> None:
    here = {"code", "nano", "vi"}.__contains__

    def which(name: str) -> str | None:
        return f"/bin/{name}" if here(name) else None

    assert find_editor({"VISUAL": "code --wait", "EDITOR": "vi"}, which) == ["code", "--wait"]
    assert find_editor({"VISUAL": " ", "EDITOR": "vi"}, which) == ["vi"]
    with pytest.raises(EditorError, match=r"\$EDITOR names an editor that is not there: emacs"):
        find_editor({"EDITOR": "emacs -nw"}, which)
    with pytest.raises(EditorError, match="not there"):
        find_editor({"EDITOR": 'vi "'}, which)
    if os.name == "posix":
        assert find_editor({}, which) == ["nano"]
        with pytest.raises(EditorError, match="No editor was found"):
            find_editor({}, lambda name: None)


async def test_what_the_editor_leaves_comes_back(desk: Desk) -> None:
    script = "p.write_text(p.read_text() + 'more é\\n', encoding='utf-8')"
    assert await desk.edit("before\n", script) == "before\nmore é\n"
    assert await desk.edit("before ", script) == "before more é"
    assert await desk.edit("same", "pass") == "same"
    assert list(desk.folder.iterdir()) == []
    assert desk.folder.stat().st_mode & 0o077 == 0


async def test_an_editor_that_replaces_the_file_is_understood(desk: Desk) -> None:
    script = "n = p.with_name('new'); n.write_bytes(b'a\\r\\nb\\xff'); n.replace(p)"
    assert await desk.edit("x", script) == "a\nb\ufffd"


async def test_what_is_saved_meanwhile_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor, "LOOK", 0.02)
    script = (
        "import time\np.write_text('saved once')\n"
        "end = p.with_name('end')\n"
        "while not end.exists(): time.sleep(0.01)\n"
    )
    going = asyncio.create_task(desk.edit("x", script))
    while not desk.saved:
        await asyncio.sleep(0.01)
    (desk.folder / "end").touch()
    assert await going == "saved once"
    assert desk.saved[0] == "saved once"


async def test_an_editor_that_gives_up_changes_nothing(desk: Desk) -> None:
    with pytest.raises(EditorError, match="ended with code 3, so the text stays"):
        await desk.edit("x", "p.write_text('half'); sys.exit(3)")
    assert list(desk.folder.iterdir()) == []


@posix_only
async def test_what_an_editor_saved_before_it_was_killed_is_kept(desk: Desk) -> None:
    for death in ("os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(137)"):
        with pytest.raises(EditorError, match="killed by signal 9") as caught:
            await desk.edit("x", f"import os, signal\np.write_text('half of it')\n{death}")
        assert caught.value.left == "half of it"


async def test_a_file_that_is_gone_or_too_large_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EditorError, match="cannot be read: No such file"):
        await desk.edit("x", "p.unlink()")
    monkeypatch.setattr(editor, "LARGEST", 10)
    with pytest.raises(EditorError, match="too large"):
        await desk.edit("x", "p.write_text('y' * 11)")


async def test_an_editor_that_cannot_be_started_is_told(desk: Desk, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no program")
    with pytest.raises(EditorError, match="cannot be started"):
        await edit(desk.app, "x", [str(broken)], desk.folder, desk.saved.append, desk.lend)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(EditorError, match="cannot be written to"):
        await edit(desk.app, "x", ["vi"], blocked / "editor", desk.saved.append, desk.lend)


async def test_a_program_that_has_to_end_ends_the_editor_and_keeps_the_text(desk: Desk) -> None:
    script = "import time\np.write_text('saved')\np.with_name('ready').touch()\ntime.sleep(60)"
    going = asyncio.create_task(desk.edit("x", script))
    while not (desk.folder / "ready").exists():
        await asyncio.sleep(0.01)
    assert desk.asked is not None
    desk.asked.set_result(15)
    began = time.monotonic()
    assert await going == "saved"
    assert time.monotonic() - began < 10
    assert desk.app.left == [143]
    assert desk.saved[-1] == "saved"


async def test_what_a_crash_left_long_ago_is_removed(desk: Desk) -> None:
    desk.folder.mkdir()
    old, new = desk.folder / "prompt-old.md", desk.folder / "prompt-new.md"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    await desk.edit("x", "pass")
    assert [path.name for path in desk.folder.iterdir()] == ["prompt-new.md"]


async def test_where_no_terminal_can_be_lent_that_is_said_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", sys.executable)
    async with chat(tmp_path) as c:  # headless
        await c.type("half a thought")
        await c.pilot.press("f7")
        await c.until(lambda: "This terminal cannot be lent" in c.toasts())
        assert c.screen.prompt.text == "half a thought"
        monkeypatch.setenv("VISUAL", "no-such-editor")
        await c.pilot.press(*"!")
        await c.pilot.press("f7")
        await c.until(lambda: "names an editor that is not there" in c.toasts())
        assert c.screen.prompt.text == "half a thought!"


# --- in a real terminal ---------------------------------------------------------------------------

EDITOR = """
import os, pathlib, signal, sys, termios, time
path = pathlib.Path(sys.argv[1])
attributes = termios.tcgetattr(0)
cooked = bool(attributes[3] & termios.ICANON and attributes[3] & termios.ECHO)
signal.signal(signal.SIGINT, lambda *_: print("EDITOR WAS INTERRUPTED", flush=True))
print("EDITOR HERE", "cooked" if cooked else "raw", path.read_text(), flush=True)
line = sys.stdin.readline().strip()
if line == "mess":
    attributes[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    sys.exit(1)
if line == "save":
    path.write_text("saved while it was open")
    print("EDITOR SAVED", flush=True)
    time.sleep(60)
path.write_text(path.read_text() + line + " by the editor\\n")
"""


@pytest.fixture
def terminal(
    private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    script = tmp_path / "editor.py"
    script.write_text(EDITOR)
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    terminal = Terminal(controlling=True)
    try:
        terminal.wait_for(b"palette")
        terminal.type(b"typed ")
        terminal.wait_for(b"typed")
        terminal.type(b"\x1b[18~")  # F7
        terminal.wait_for(b"EDITOR HERE")
        yield terminal
    finally:
        terminal.free()


@posix_only
def test_the_terminal_is_lent_as_it_was_and_taken_back(terminal: Terminal) -> None:
    terminal.wait_for(b"EDITOR HERE cooked typed")
    painted = len(terminal.output)
    terminal.type(b"\x03")  # Ctrl+C is the editor's
    terminal.wait_for(b"EDITOR WAS INTERRUPTED")
    assert b"\x1b[?1049h" not in terminal.output[painted:]
    terminal.type(b"written\n")
    terminal.wait_for(b"written by the editor")
    assert b"\x1b[?1049h" in terminal.output[painted:]  # the whole screen is there again
    terminal.wait_for(b"Keep your llamas")
    terminal.output = b""
    terminal.type("ß".encode())  # one letter: words may be painted in pieces
    terminal.wait_for("ß".encode())
    terminal.type(b"\x11")
    assert terminal.wait_for_end() == 0
    terminal.output = b"\x1b[?1049h\x1b[?1003h\x1b[?1006h\x1b[?2004h" + terminal.output
    terminal.assert_restored()


@posix_only
def test_modes_that_a_broken_editor_leaves_are_no_trouble(terminal: Terminal) -> None:
    terminal.type(b"mess\n")
    terminal.wait_for(b"ended with code 1")
    terminal.type(b"\x11")
    assert terminal.wait_for_end() == 0
    terminal.assert_restored()


@posix_only
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_what_was_saved_survives_whatever_ends_the_program(terminal: Terminal, name: str) -> None:
    terminal.type(b"save\n")
    terminal.wait_for(b"EDITOR SAVED")
    screen = terminal.screen
    if name == "SIGKILL":
        time.sleep(2.5)  # one look at the file, and the pause before a draft is saved
        screen.send_signal(signal.SIGKILL)
    else:
        terminal.process.send_signal(getattr(signal, name))
    terminal.wait_for_end()
    assert termios.tcgetattr(terminal._theirs) == terminal.before
    terminal.assert_restored()
    again = Terminal()
    try:
        again.wait_for(b"saved while it was open")
        again.type(b"\x11")
        assert again.wait_for_end() == 0
    finally:
        again.free()
