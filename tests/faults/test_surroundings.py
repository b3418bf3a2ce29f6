"""Homes, folders, locales and installations that are not as one would wish."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.faults.test_terminal import Terminal
from tests.support.installed import install, package

from corral.store.store import Store

CORRAL = (sys.executable, "-P", "-m", "corral")


def run(
    *arguments: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [python, "-P", "-m", "corral", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert b"Traceback" not in done.stdout + done.stderr, done.stderr
    return done


# --- places ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in a folder whose name has spaces and letters beyond ASCII."""
    return install(tmp_path_factory.mktemp("odd") / "Łamas & Söhne 羊驼 (neu)" / "corral")


def test_it_answers_from_a_folder_with_spaces_and_letters(odd_place: Path, tmp_path: Path) -> None:
    home = tmp_path / "mein Zuhause é"
    done = run(
        *("ask", "Say hello", "--max-tokens", "3", "--json"),
        python=str(odd_place),
        CORRAL_HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["type"] == "done" and last["usage"]["completion_tokens"] > 0
    assert "Łamas & Söhne 羊驼 (neu)" in last["model"]["file"]
    assert (home / "data" / "corral.db").is_file()


@pytest.mark.parametrize("command", [("ask", "hi"), ("history", "list")], ids="-".join)
def test_a_home_that_cannot_be_written_is_one_line(command: tuple[str, ...]) -> None:
    done = run(*command, CORRAL_HOME="/proc/corral")
    assert done.returncode == 1
    title, hint = done.stderr.decode().splitlines()
    assert title.startswith("corral: No place to work: The folder /proc/corral")
    assert "CORRAL_HOME" in hint


def test_a_home_that_became_read_only_is_one_line(private_home: Path) -> None:
    """The folders and the history are there, the disk takes nothing any more."""
    assert run("history", "list").returncode == 0
    inside = (
        f"mount --bind '{private_home}' '{private_home}' && "
        f"mount -o remount,bind,ro '{private_home}' && "
        f"exec {' '.join(CORRAL)} ask hi"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", inside],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    if b"unshare" in done.stderr or b"mount:" in done.stderr:
        pytest.skip("this system lets nobody mount")
    assert done.returncode == 1, done.stderr
    said = done.stderr.decode()
    assert "Traceback" not in said and said.startswith("corral: ")
    assert "hint:" in said, said


# --- two versions on one folder -------------------------------------------------------------------


def test_an_older_program_leaves_a_newer_history_alone(private_home: Path) -> None:
    assert run("history", "list").returncode == 0
    database = private_home / "data" / "corral.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 900")
    connection.close()
    before = hashlib.sha256(database.read_bytes()).digest()
    done = run("ask", "hi")
    assert done.returncode == 1
    title, hint = done.stderr.decode().splitlines()
    assert "written by a newer corral" in title and "CORRAL_HOME" in hint
    window = Terminal()
    try:
        assert window.wait_for_end() == 1
        window.assert_restored()
        assert b"written by a newer corral" in window.output[-600:]
    finally:
        window.free()
    assert hashlib.sha256(database.read_bytes()).digest() == before


# --- removed or updated while it runs -------------------------------------------------------------


def test_a_screen_whose_program_was_removed_loses_nothing(
    private_home: Path, tmp_path: Path
) -> None:
    python = str(install(tmp_path / "environment"))
    begin = f"import os; os.execv({python!r}, [{python!r}, '-P', '-m', 'corral'])"
    window = Terminal(program=("-c", begin))
    try:
        window.wait_for(b"palette")
        window.type(b"a draft that stays")
        window.wait_for(b"stays")
        shutil.rmtree(package(Path(python)))
        window.type(b"\x1bOP")  # F1: the help was not imported yet
        window.wait_for_end()
        window.assert_restored()
        said = window.output[-1500:]
        assert b"removed or updated while it ran" in said and b"Traceback" not in said
    finally:
        window.free()
    store = Store.open(private_home / "data" / "corral.db")
    assert store.recall("draft") == "a draft that stays"
    store.close()


@pytest.mark.parametrize("way", ["removed", "updated"])
def test_a_command_whose_program_was_changed_says_so(tmp_path: Path, way: str) -> None:
    python = install(tmp_path / "environment")
    files = package(python)
    change = f"shutil.rmtree({str(files)!r})"
    if way == "updated":
        other = tmp_path / "other"
        shutil.copytree(files, other, ignore=shutil.ignore_patterns("comparing*"))
        change += f"; shutil.move({str(other)!r}, {str(files)!r})"
    program = (
        "import shutil\n"
        "from corral.cli.output import errors\n"
        "from corral.paths import Paths\n"
        "with errors(paths=Paths.from_environment):\n"
        f"    {change}\n"
        "    import corral.comparing\n"
    )
    done = subprocess.run([python, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    title, hint = done.stderr.splitlines()
    assert "removed or updated while it ran" in title and "Start corral again" in hint


def test_an_engine_that_is_gone_says_why(tmp_path: Path) -> None:
    python = install(tmp_path / "environment")
    files = package(python)
    program = (
        "import asyncio, pathlib, shutil\n"
        "from corral.engine.engine import Engine\n"
        "from corral.errors import EngineError\n"
        "async def main():\n"
        f"    shutil.rmtree({str(files)!r})\n"
        f"    engine = Engine(pathlib.Path({str(tmp_path / 'engine.log')!r}))\n"
        "    try:\n"
        "        await engine.ready()\n"
        "    except EngineError as error:\n"
        "        print(error.message, error.hint, sep='|')\n"
        "    await engine.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([python, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    message, hint = done.stdout.strip().split("|")
    assert message.startswith("The engine stopped") and "removed or updated" in hint


# --- locales --------------------------------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""As on systems whose Python does not mend it: nothing but ASCII is known."""


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a German locale in ISO-8859-1, made by the system's own compiler."""
    folder = tmp_path_factory.mktemp("locales")
    name = "de_DE.ISO-8859-1"
    if shutil.which("localedef") is None:
        pytest.skip("this system cannot make locales")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / name)], capture_output=True
    )
    if made.returncode > 1:
        pytest.skip("this system has no sources of locales")
    environment = {"LC_ALL": name, "LOCPATH": str(folder)}
    found = subprocess.run(
        [sys.executable, "-c", "import locale; print(locale.getencoding())"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert found.upper().replace("-", "") == "ISO88591"
    return environment


@pytest.fixture(params=["ascii", "latin"])
def foreign(request: pytest.FixtureRequest) -> dict[str, str]:
    """A locale that is not UTF-8."""
    return ASCII if request.param == "ascii" else request.getfixturevalue("latin")


def test_help_is_whole_in_every_locale(foreign: dict[str, str]) -> None:
    done = run("--help", **foreign)
    assert done.returncode == 0
    assert '"…"' in done.stdout.decode("utf-8")


def test_files_have_their_names_in_every_locale(
    foreign: dict[str, str], private_home: Path, tmp_path: Path
) -> None:
    """Where a name was spelt in the locale's way, SQLite would open another file."""
    home = {"CORRAL_HOME": str(tmp_path / "Zuhause é")}
    assert run("history", "list", **home, **foreign).returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path != private_home] == ["Zuhause é"]
    assert (tmp_path / "Zuhause é" / "data" / "corral.db").is_file()


def test_the_engine_finds_its_files_in_another_locale(
    latin: dict[str, str], odd_place: Path, tmp_path: Path
) -> None:
    done = run(
        *("ask", "Say hello", "--max-tokens", "3", "--json"),
        python=str(odd_place),
        CORRAL_HOME=str(tmp_path / "Zuhause é"),
        **latin,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("typed", ["Gr\xfc\xdfe".encode("latin-1"), "Grüße".encode()])
def test_what_is_typed_in_another_locale_is_text(latin: dict[str, str], typed: bytes) -> None:
    """In the locale's letters, as its terminals send them, and in UTF-8, as most others do."""
    done = subprocess.run(
        [*CORRAL, "models", "show", typed],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **latin},
        timeout=60,
    )
    assert done.returncode == 3
    assert "Grüße" in done.stderr.decode("utf-8")


def test_the_screen_works_in_another_locale_and_says_what_to_set(
    latin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in latin.items():
        monkeypatch.setenv(name, value)
    window = Terminal()
    try:
        # It may be painted in pieces, over what is there already.
        deadline = time.monotonic() + 20
        while b"LC_ALL=C.UTF-8" not in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", window.output):
            assert time.monotonic() < deadline, window.output[-2000:]
            window.read(0.1)
        window.type(b"gr\xfc\xdfe\x11")  # bytes of that locale, then the way out
        assert window.wait_for_end() == 0
        window.assert_restored()
    finally:
        window.free()


def test_the_encoding_of_no_open_file_is_the_locales(private_home: Path) -> None:
    """Python's own watch: whoever opens text without saying its encoding is an error."""
    watch = ("-X", "warn_default_encoding", "-W", "error::EncodingWarning")
    done = subprocess.run(
        [sys.executable, *watch, "-P", "-m", "corral", "models", "list", "--all"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
