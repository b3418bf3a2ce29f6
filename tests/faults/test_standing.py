"""What a process is given to stand on: its streams, a home, room on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corral import standing
from corral.store.store import Store

CORRAL = f"{sys.executable} -P -m corral"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="shells and streams of POSIX systems")


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line; ``corral`` in it is the program."""
    done = subprocess.run(
        ["sh", "-c", f'corral() {{ {CORRAL} "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("corral history list >&-", 0),
        ("corral models show nobody 2>&-", 3),
        ("corral models show nobody --json <&- >&- 2>&-", 3),
        ("corral <&- >&- 2>&-", 2),  # the screen
    ],
)
def test_a_closed_stream_is_one_that_nobody_reads(command: str, code: int) -> None:
    done = shell(command)
    assert done.returncode == code, done.stderr


def test_an_answer_is_kept_though_every_stream_is_closed(private_home: Path) -> None:
    """No stream's number may become that of the database, or what is printed would end in it."""
    done = shell("corral ask 'Say hello' --max-tokens 3 <&- >&- 2>&-")
    assert done.returncode == 0
    store = Store.open(private_home / "data" / "corral.db")
    (conversation,) = store.conversations()
    assert [one.role for one in store.messages(conversation.id)] == ["user", "assistant"]
    store.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", ["--help", "--version", "models list"])
def test_no_room_for_the_output_is_one_line(command: str) -> None:
    done = shell(f"corral {command} > /dev/full")
    assert done.returncode == 4
    assert done.stderr == "corral: The disk is full: There is no room left for the output\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_no_room_for_the_error_leaves_its_exit_code() -> None:
    assert shell("corral models show nobody 2> /dev/full").returncode == 3


@pytest.mark.parametrize("command", ["models list --all", "--help", "history export --all"])
def test_a_reader_that_leaves_is_no_error(command: str) -> None:
    done = shell(f"{{ corral {command}; echo code $? >&2; }} | head -n 1 > /dev/null")
    assert done.stderr.splitlines()[-1] == "code 0", done.stderr


# --- homes ----------------------------------------------------------------------------------------


def test_who_has_no_home_has_the_root_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no entry, started without ``HOME``."""

    def nobody(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("HOME", "to be restored")
    monkeypatch.delenv("HOME")
    standing.see_to_it()
    assert Path.home() == Path("/")
    monkeypatch.setenv("HOME", "/srv/somebody")
    standing.see_to_it()
    assert Path.home() == Path("/srv/somebody")


def test_a_user_that_the_system_does_not_know(private_home: Path) -> None:
    done = shell("unshare --user --map-user=54321 true")
    if done.returncode:
        pytest.skip("this system lets nobody take another name")
    for command in ("--help", "models adopt", "history list"):
        done = shell(f"unshare --user --map-user=54321 env -u HOME {CORRAL} {command}")
        assert done.returncode == 0, done.stderr
    assert (private_home / "data" / "corral.db").is_file()


def test_a_home_where_nothing_can_be_made_is_one_line() -> None:
    """What that user meets without ``CORRAL_HOME``: no root folder may be written to."""
    kept = {name: "" for name in os.environ if name.startswith("XDG_")}
    done = shell("corral history list", HOME="/proc", CORRAL_HOME="", **kept)
    assert done.returncode == 1
    title, hint = done.stderr.splitlines()
    assert title.startswith("corral: No place to work: The folder /proc/.config")
    assert "CORRAL_HOME" in hint


def test_a_home_of_nobody_is_a_folder_of_that_name(tmp_path: Path) -> None:
    """As where a shell finds nobody of that name."""
    done = shell(f"cd '{tmp_path}' && corral history list", CORRAL_HOME="~nobody-there/x")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "~nobody-there" / "x" / "data" / "corral.db").is_file()
