"""``corral history list|search`` with filters, and how folders are spelled."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.conftest import Corral, Run

from corral.cli import main
from corral.store.store import Store

NOVEMBER = time.mktime((2026, 11, 1, 0, 0, 0, 0, 0, -1))


@pytest.fixture
def corral(private_home: Path) -> Iterator[Corral]:
    before = os.umask(0o077)

    def run(*arguments: str, **_: object) -> Run:
        result = CliRunner().invoke(main, ["history", *arguments])
        assert not isinstance(result.exception, Exception), result.exception
        assert "Traceback" not in result.output and "\x1b" not in result.output
        return Run(result.exit_code, result.stdout, result.stderr)

    yield run
    os.umask(before)


@pytest.fixture
def ids(private_home: Path) -> dict[str, int]:
    (private_home / "data").mkdir(parents=True)
    now = NOVEMBER - 86_400
    store = Store.open(private_home / "data" / "corral.db", lambda: now)
    made = {}
    for title, changes in {
        "old": {"model": "llama-2-7b-chat:Q4_K_M", "folder": "Work"},
        "new": {"model": "llama-2-13b-chat:Q8_0", "preset": "classify"},
        "pinned": {"pinned": True, "folder": "Work/Trips"},
        "away": {"archived": True},
    }.items():
        now += 43_200
        id = store.create_conversation(title=title).id
        store.add_user(id, "a llama", None)
        store.update_conversation(id, **changes)  # type: ignore[arg-type]
        made[title] = id
    store.close()
    return made


def test_options_choose_what_is_listed_and_searched(corral: Corral, ids: dict[str, int]) -> None:
    def listed(*options: str) -> list[str]:
        return [one["title"] for one in corral("list", "--json", *options).json]

    def found(*options: str) -> set[str]:
        return {one["title"] for one in corral("search", "llam", "--json", *options).json}

    assert listed() == ["pinned", "new", "old"]
    assert listed("--archived") == ["away"]
    assert listed("--model", "13B q8") == ["new"]
    assert listed("--preset", "class", "--after", "2026-11-01") == ["new"]
    assert listed("--after", "2026-11") == ["pinned", "new"]
    assert listed("--before", "2026-11-01") == ["old"]
    assert listed("--folder", "work", "--limit", "1") == ["pinned"]
    assert listed("--folder", " Work / trips ") == listed("--pinned") == ["pinned"]
    assert found() == {"pinned", "new", "old", "away"}
    assert found("--archived") == {"away"}
    assert found("--folder", "WORK") == {"pinned", "old"}
    assert found("--model", "7b") == {"old"}
    (hit,) = corral("search", "lla", "--pinned", "--json").json
    assert hit["folder"] == "Work/Trips" and hit["message"] and hit["snippet"] == "a llama"
    assert "There are none like that." in corral("list", "--folder", "Wor").err
    assert "Work/Trips" in corral("list").out


def test_a_wrong_day_is_wrong_usage(corral: Corral, ids: dict[str, int]) -> None:
    for command in (["list"], ["search", "llama"]):
        run = corral(*command, "--after", "soon", "--json")
        assert run.code == 2
        assert run.json["message"] == (
            "--after: soon is no day; write 2026-11-01, 2026-11 or today"
        )


def test_a_folder_keeps_the_spelling_it_has(corral: Corral, ids: dict[str, int]) -> None:
    run = corral("file", str(ids["new"]), "-f", "WORK//trips/", "--json")
    assert run.json[0]["folder"] == "Work/Trips"
    assert corral("file", str(ids["new"]), "-f", "a\x1b[2J", "--json").json[0]["folder"] == "a␛[2J"
