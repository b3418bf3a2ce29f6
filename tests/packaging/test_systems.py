"""What differs between Linux, macOS and Windows, simulated: neither of the two is here."""

from __future__ import annotations

import asyncio
import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import another_system, posix_only

from corral import __main__, placing, signals, terminal
from corral.engine import process
from corral.engine.packs.probing import failure
from corral.errors import CorralError, Refused
from corral.models.downloads import queue
from corral.models.files import set_length
from corral.moving import archive
from corral.presets import Presets
from corral.reserved import is_reserved
from corral.tui.editor import find_editor
from corral.tui.screens import completing

ROOT = Path(__file__).parents[2]


@contextmanager
def nt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``os.name`` of Windows, for as short as nothing makes a path."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        yield


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


# --- the whole program ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "commands"),
    [("win32", ["history list --json", "models list --json"]), ("darwin", [])],
)
def test_every_room_opens_and_commands_work(platform: str, commands: list[str]) -> None:
    """Modules, functions and signals that the system lacks are gone; the model answers for real."""
    words = [command.split() for command in commands]
    words.append(["ask", "Say hi", "--max-tokens", "2", "--seed", "1", "--json"])
    done = subprocess.run(
        [sys.executable, another_system.__file__, platform, *map(json.dumps, words)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rooms, *lines = done.stdout.splitlines()
    assert int(rooms) > 300
    told = [json.loads(line) for line in lines]
    assert told[-1]["type"] == "done" and told[-1]["usage"]["completion_tokens"] == 2
    if platform == "win32":
        assert told[0] == [] and told[1][0]["state"] == "installed"


@pytest.mark.parametrize("system", ["Windows_NT", ""])
def test_make_finds_the_programs_of_an_environment(system: str) -> None:
    done = subprocess.run(
        ["make", "-n", "check", f"OS={system}", "VENV=elsewhere"],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    programs = "elsewhere/Scripts" if system else "elsewhere/bin"
    assert done.returncode == 0, done.stderr
    assert f"\n{programs}/ruff check .\n" in done.stdout
    for platform in ("win32", "darwin"):
        assert f"\n{programs}/mypy --platform {platform} " in done.stdout


def test_windows_leaves_out_the_tests_that_it_cannot_import() -> None:
    """What needs a module of POSIX needs it by name, or through another file."""
    found = posix_only.files()
    assert found["faults/test_terminal.py"] in posix_only.MODULES
    assert found["tui/test_editor.py"] in {*posix_only.MODULES, "faults/test_terminal.py"}
    assert "packaging/test_systems.py" not in found and "conftest.py" not in found


# --- files ----------------------------------------------------------------------------------------


class Scanner:
    """Has a new file open for its first looks, as virus scanners do on Windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
        self.looks = looks
        self._replace = os.replace
        monkeypatch.setattr(os, "replace", self)

    def __call__(self, fresh: Path, place: Path) -> None:
        self.looks -= 1
        if self.looks >= 0:
            raise PermissionError(13, "Access is denied")
        self._replace(fresh, place)


@pytest.mark.usefixtures("windows")
def test_windows_waits_for_who_has_a_new_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, place = tmp_path / "fresh", tmp_path / "place"
    fresh.write_text("new")
    place.write_text("old")
    scanner = Scanner(monkeypatch, looks=3)
    placing.put(fresh, place)
    assert scanner.looks < 0 and place.read_text() == "new" and not fresh.exists()
    fresh.write_text("newer")
    scanner.looks = 1 << 30
    monkeypatch.setattr(placing, "PATIENCE", 0.05)
    with pytest.raises(PermissionError) as caught:
        placing.put(fresh, place)
    assert place.read_text() == "new" and fresh.read_text() == "newer"
    assert "close what uses it" in placing.hint(caught.value, "Look")


def test_elsewhere_what_is_forbidden_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = Scanner(monkeypatch, looks=1)
    (tmp_path / "fresh").touch()
    with pytest.raises(PermissionError) as caught:
        placing.put(tmp_path / "fresh", tmp_path / "place")
    assert scanner.looks == 0
    assert placing.hint(caught.value, "Look at it") == "Look at it"


def test_the_lock_of_windows_is_taken_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its two functions are read from the source: Linux compiles the others."""
    held: dict[tuple[int, int], int] = {}

    def locking(descriptor: int, mode: int, count: int) -> None:
        status = os.fstat(descriptor)
        file = (status.st_dev, status.st_ino)
        assert count == 1
        if mode == 0:
            assert held.pop(file) == descriptor
        elif held.setdefault(file, descriptor) != descriptor or mode != 2:
            raise PermissionError(13, "Permission denied")

    fake = SimpleNamespace(locking=locking, LK_UNLCK=0, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    room: dict[str, Any] = {"__name__": "corral.models.downloads.queue"}
    exec(compile(Path(queue.__file__).read_text("utf-8"), queue.__file__, "exec"), room)
    first, second = (room["FolderLock"](tmp_path) for _ in range(2))
    assert first.acquire() and first.acquire()
    assert not second.acquire() and not second.held
    first.release()
    assert not held and second.acquire()
    second.release()


def test_windows_is_told_that_a_file_is_mostly_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first megabytes of a model would need the room of all of it."""
    calls: list[tuple[Any, ...]] = []

    def control(*arguments: Any) -> int:
        calls.append(arguments)
        return 0

    kernel = SimpleNamespace(DeviceIoControl=control)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    fake = SimpleNamespace(get_osfhandle=lambda descriptor: descriptor + 1000)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(sys, "platform", "win32")

    class Written(io.FileIO):
        def truncate(self, size: int | None = None, /) -> int:
            raise AssertionError("it writes every zero there")

    with Written(tmp_path / "model.part", "w") as file:
        set_length(file, 1 << 20)
        assert calls[0][0].value == file.fileno() + 1000
    assert [one if one is None else getattr(one, "value", 0) for one in calls[0][1:]] == [
        0x900C4, None, 0, None, 0, 0, None,
    ]  # fmt: skip
    assert (tmp_path / "model.part").stat().st_size == 1 << 20
    with (tmp_path / "empty").open("wb") as empty:
        set_length(empty, 0)


@pytest.mark.parametrize("name", ["con", "NUL.toml", "com1.txt", "Aux .md", "lpt²", "CONOUT$"])
def test_devices_of_windows_are_no_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_reserved(name)
    carried = f"presets/{name.partition('.')[0]}.toml"
    assert archive.is_allowed(carried), "what somebody wrote by hand is in the backup"
    monkeypatch.setattr(sys, "platform", "win32")
    assert not archive.is_allowed(carried)
    monkeypatch.undo()
    stem = name.partition(".")[0].casefold()
    with pytest.raises(Refused, match="cannot be the name of a preset"):
        Presets(tmp_path).save(stem, "text = 'x'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["console.toml", "null", "com.md", "auxiliary", "com10"])
def test_other_names_are_free(name: str) -> None:
    assert not is_reserved(name)


def test_a_path_of_windows_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "llama.gguf").touch()
    typed = f"{tmp_path}/models\\ll"
    monkeypatch.setattr(completing, "os", SimpleNamespace(name="nt", scandir=os.scandir))
    assert completing.complete(typed) == (f"{tmp_path}/models/llama.gguf", ["llama.gguf"])


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    ("code", "said", "lasting"),
    [
        (0xC000001D, "it was built for another kind of processor", True),
        (0xC0000005, "it crashed", True),
        (0xC000012D, "it was killed, most likely because memory ran out", False),
        (0xC0000006, "the model file changed or its disk failed while it was in use", True),
        (0xC000013A, "it was told to end from outside", False),
        (15, "it was told to end from outside", False),
        (1, "it ended with code 1", True),
        (137, "it ended with code 137", True),
    ],
)
def test_how_windows_ends_a_process(code: int, said: str, lasting: bool) -> None:
    assert process.cause_of(code) == said
    assert failure(process.WorkerEnded("", code=code)).lasting is lasting


def test_how_a_container_tells_of_a_signal() -> None:
    assert process.signal_of(137) == process.signal_of(-9) == "SIGKILL"
    assert process.signal_of(143) == "SIGTERM" and process.signal_of(3) == ""
    assert process.signal_of(255) == "" and process.signal_of(0) == ""


def test_the_libraries_of_a_pack_go_first_on_macos_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = {"DYLD_LIBRARY_PATH": ":relative:/usr/local/lib", "LD_LIBRARY_PATH": "relative"}
    made = process.worker_environment(found, Path("/packs/one"))
    assert made["DYLD_LIBRARY_PATH"] == "/packs/one:/usr/local/lib"
    assert made["LD_LIBRARY_PATH"] == "relative", "nothing there reads it"


@pytest.mark.usefixtures("windows")
def test_windows_shows_the_screen_without_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "corral.launcher", None)
    monkeypatch.setattr(terminal, "missing", lambda: "")
    monkeypatch.setattr(__main__, "_run", lambda lifeline: 7 if lifeline is None else 1)
    assert __main__._screen([], opened=False) == 7


class NoHandlers:
    """An event loop as that of Windows: it takes no handlers of signals."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def add_signal_handler(self, *_: object) -> None:
        raise NotImplementedError

    def remove_signal_handler(self, *_: object) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """The handlers of this process as they were."""
    names = {name for name in (*signals.COMMAND, *signals.SCREEN) if hasattr(signal, name)}
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
def test_the_first_ctrl_c_ends_in_order_where_the_loop_takes_no_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def command() -> int:
        loop: Any = NoHandlers(asyncio.get_running_loop())
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
        done = asyncio.Event()
        came = signals.Signals(done.set)
        signal.raise_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            await done.wait()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return came.number

    assert asyncio.run(command()) == signal.SIGINT


@pytest.mark.usefixtures("own_handlers")
def test_a_signal_after_the_loop_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    async def command() -> None:
        loop: Any = NoHandlers(asyncio.get_running_loop())
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
        signals.handle(["SIGINT"], lambda number: None)

    asyncio.run(command())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


# --- what a person types and reads ----------------------------------------------------------------


def test_the_editor_of_windows_is_started_by_its_whole_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {
        "code": r"C:\Code\bin\code.cmd",
        r"C:\Program Files\N\n.exe": r"C:\Program Files\N\n.exe",
    }
    with nt(monkeypatch):
        plain = find_editor({"VISUAL": "code --wait"}, places.get)
        quoted = find_editor({"EDITOR": r'"C:\Program Files\N\n.exe" -multi'}, places.get)
    assert plain == [r"C:\Code\bin\code.cmd", "--wait"]
    assert quoted == [r"C:\Program Files\N\n.exe", "-multi"]


def test_what_a_shell_of_windows_pipes_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """PowerShell puts a BOM before it and a CR at the end of every line."""
    from corral.cli import stdin

    reading, writing = os.pipe()
    os.write(writing, b"\xef\xbb\xbfErste Zeile\r\nzw\xc3\xb6lf\r\n")
    os.close(writing)
    real = os.read
    monkeypatch.setattr(os, "read", lambda _, size: real(reading, size))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    try:
        assert stdin.prompt_text("Ask") == "Ask\n\nErste Zeile\nzwölf\n"
    finally:
        os.close(reading)


def test_what_goes_into_a_pipe_has_the_same_bytes_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from corral import cli

    class Out(io.TextIOWrapper):
        def __init__(self) -> None:
            super().__init__(io.BytesIO(), encoding="cp1252", newline="\r\n")

        def reconfigure(self, **changes: Any) -> None:
            """As Windows does: where nothing is said of them, line ends are its own."""
            super().reconfigure(**{**changes, "newline": changes.get("newline") or "\r\n"})

    out = Out()
    monkeypatch.setattr(sys, "stdout", out)
    cli.main(["presets", "show", "answer"], standalone_mode=False)
    out.flush()
    raw: Any = out.buffer
    assert raw.getvalue().count(b"\n") > 3 and b"\r" not in raw.getvalue()


def test_git_bash_is_told_what_to_type() -> None:
    assert "winpty corral" in terminal.advice({"MSYSTEM": "MINGW64"})
    assert "winpty" not in terminal.advice({})


def test_every_moment_that_comes_in_is_one_that_windows_can_show() -> None:
    from corral.moving.records import LATEST

    assert time.gmtime(LATEST)[:3] == (3000, 1, 1)


def test_a_refusal_says_what_windows_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack whose libraries are in use can be deleted nowhere but on POSIX systems."""
    from corral.engine.packs.shelf import Shelf

    (tmp_path / "engine-x").mkdir()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(placing, "PATIENCE", 0.0)
    Scanner(monkeypatch, looks=1 << 30)
    with pytest.raises(CorralError) as caught:
        Shelf(tmp_path).remove("engine-x")
    assert "close what uses it" in caught.value.hint and (tmp_path / "engine-x").is_dir()
