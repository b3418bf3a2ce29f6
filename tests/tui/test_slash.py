"""Commands that are typed into the box."""

from __future__ import annotations

import pytest

from corral.tui import slash


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/model 13b q8", "model", "13b q8"),
        ("/MODEL", "model", ""),
        ("/models", "models", ""),
        ("/new ", "new", ""),
        ("/bench", "bench", ""),
        ("/quit", "quit", ""),
    ],
)
def test_a_command_is_known(text: str, name: str, rest: str) -> None:
    found = slash.parse(text)
    assert found is not None
    assert (found[0].name, found[1]) == (name, rest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "model 13b",
        "/usr/bin/env",
        "/modelled",
        "/new york is where?",
        "/model a\nb",
        " /new",
    ],
)
def test_anything_else_is_a_message(text: str) -> None:
    assert slash.parse(text) is None


def test_what_begins_so_is_shown() -> None:
    assert slash.hint("/mo") == "/model WORDS · /models"
    assert slash.hint("/q") == "/quit"
    assert "/help" in slash.hint("/")
    assert slash.hint("/model 13b") == slash.hint("hello") == slash.hint("/etc") == ""
