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


def names(text: str) -> list[str]:
    return [one.name for one in slash.starting(text)]


def test_commands_are_found_by_how_they_begin_then_by_what_is_in_them() -> None:
    assert names("/mo")[:2] == ["model", "models"]
    assert names("/NEW") == ["new"]
    assert names("/meters") == ["parameters"]
    assert len(names("/")) == len(slash.COMMANDS)
    assert names("/model 13b") == names("hello") == names("/etc/x") == names("/new\n") == []


def test_an_argument_is_known_as_one() -> None:
    found = slash.argument("/model 13b q")
    assert found is not None
    assert (found[0].name, found[1]) == ("model", "13b q")
    assert slash.argument("/model") is None
    assert slash.argument("/new x") is None
    assert slash.argument("/nothing x") is None
    assert slash.argument("/model a\nb") is None


def test_how_a_command_goes_on_is_said() -> None:
    assert slash.hint("/model 1").startswith("/model WORDS · Answer with another model")
    assert slash.hint("/model") == slash.hint("hello") == slash.hint("/etc x") == ""


def test_names_and_actions_are_given_once() -> None:
    given = [one.name for one in slash.COMMANDS]
    assert len(given) == len(set(given))
    assert all(name == name.casefold() and " " not in name for name in given)
