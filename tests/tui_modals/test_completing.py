"""Paths as people type, paste and drop them."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest

from corral.tui.screens.completing import complete, typed_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("~/a b.gguf", Path.home() / "a b.gguf"),
        ("'/x/a b.gguf' ", Path("/x/a b.gguf")),
        ('"/x/a.gguf"', Path("/x/a.gguf")),
        ("file:///x/a%20b.gguf", Path("/x/a b.gguf")),
        ("/x/a\\ b.gguf", Path("/x/a b.gguf")),
        ("~nobody-of-this-name/a.gguf", Path.cwd() / "~nobody-of-this-name/a.gguf"),
        ("a.gguf", Path.cwd() / "a.gguf"),
        ("'", Path.cwd() / "'"),
    ],
)
def test_typed_path(typed: str, meant: Path) -> None:
    assert typed_path(typed) == meant


@pytest.mark.parametrize("refused", [OSError("Bad URL"), IndexError()])
def test_an_address_that_is_no_file_is_just_not_there(
    refused: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, and every system from Python 3.14 on, take no address of another machine."""

    def url2pathname(_url: str) -> str:
        raise refused

    monkeypatch.setattr(urllib.request, "url2pathname", url2pathname)
    assert typed_path("file:////server/a.gguf") == Path.cwd() / "file:/server/a.gguf"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("Llama-2-7B.gguf", "Llama-2-13B.GGUF", ".hidden.gguf", "readme.md"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "completed", "names"),
    [
        ("~", "~/", []),
        ("~/m", "~/models/", ["models/"]),
        ("m", "models/", ["models/"]),
        ("~/L", "~/Llama-2-", ["Llama-2-13B.GGUF", "Llama-2-7B.gguf"]),
        ("~/llama-2-7", "~/Llama-2-7B.gguf", ["Llama-2-7B.gguf"]),
        ("~/.h", "~/.hidden.gguf", [".hidden.gguf"]),
        ("~/r", "~/r", []),
        ("~/models/", "~/models/", []),
        ("~/none/x", "~/none/x", []),
        ("/none\0/x", "/none\0/x", []),
    ],
)
def test_complete(folder: Path, typed: str, completed: str, names: list[str]) -> None:
    assert complete(typed) == (completed, names)


def test_everything_is_offered_at_first(folder: Path) -> None:
    text, names = complete("~/")
    assert text == "~/"
    assert names == ["Llama-2-13B.GGUF", "Llama-2-7B.gguf", "models/"]


def test_names_that_cannot_be_shown_are_not_offered(folder: Path) -> None:
    (folder / "models" / "evil\x1b[31m.gguf").touch()
    (folder / "models" / "evil\u202e.gguf").touch()
    if os.name == "posix":
        Path(os.fsdecode(os.fsencode(folder / "models") + b"/evil\xff.gguf")).touch()
    assert complete("~/models/e") == ("~/models/e", [])
