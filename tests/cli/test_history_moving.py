"""``corral history export|import|backup|restore|trash``, as scripts run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.conftest import Corral, Run
from tests.moving.trees import chatgpt, grown, shape

from corral.cli import main
from corral.store.store import Store


@pytest.fixture
def id(private_home: Path) -> int:
    """A conversation that is there before the program starts."""
    (private_home / "data").mkdir(parents=True)
    store = Store.open(private_home / "data" / "corral.db")
    made = grown(store)
    store.close()
    return made


@pytest.fixture
def quick(private_home: Path) -> Iterator[Corral]:
    """The same as ``corral`` within this process, for what needs no process of its own."""
    before = os.umask(0o077)

    def run(*arguments: str, **_: object) -> Run:
        result = CliRunner().invoke(main, list(arguments))
        assert not isinstance(result.exception, Exception), result.exception
        assert "Traceback" not in result.output and "\x1b" not in result.output
        return Run(result.exit_code, result.stdout, result.stderr)

    yield run
    os.umask(before)


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """From here on the program runs in an empty home."""
    monkeypatch.setenv("CORRAL_HOME", str(folder))
    return folder / "data" / "corral.db"


def test_export_and_import_into_an_empty_home_give_the_same(
    corral: Corral, id: int, private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "talks.json"
    run = corral("history", "export", "--all", "-o", str(target), "--json")
    assert run.code == 0
    assert run.json == [
        {"path": str(target), "format": "json", "bytes": target.stat().st_size, "ids": [id]}
    ]
    database = elsewhere(monkeypatch, tmp_path / "empty")
    first = corral("history", "import", str(target), "--json")
    assert first.code == 0
    (result,) = first.json
    assert set(result) == {
        "name", "path", "action", "ok", "reason", "from", "added", "extended", "known",
        "in_trash", "messages", "failed", "problems",
    }  # fmt: skip
    assert result["ok"] and result["added"] == [1] and result["messages"] == 7
    again = corral("history", "import", str(target))
    assert "0 conversations added, 1 was here already" in again.out
    here, there = Store.open(private_home / "data" / "corral.db"), Store.open(database)
    assert shape(there, 1) == shape(here, id)
    here.close()
    there.close()
    assert len(corral("history", "list", "--json").json) == 1


def test_export_to_stdout_to_a_folder_and_by_ending(quick: Corral, id: int, tmp_path: Path) -> None:
    assert quick("history", "export", str(id)).out.startswith("# Llama vs alpaca\n")
    assert quick("history", "export", str(id), "--format", "txt").out.startswith("Llama vs")
    assert quick("history", "export", str(id), "--json").json[0]["title"] == "Llama vs alpaca"
    page = tmp_path / "page.html"
    run = quick("history", "export", str(id), "-o", str(page))
    assert "1 conversation, HTML" in run.out and page.read_text().startswith("<!DOCTYPE html>")
    quick("history", "export", str(id), "-o", f"{tmp_path}/many/", "--format", "md")
    assert [p.name for p in (tmp_path / "many").iterdir()] == [f"{id}-llama-vs-alpaca.md"]


def test_wrong_use_says_what_is_right(quick: Corral, id: int, tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 300))
    for arguments, code in (
        (["export"], 2),
        (["export", str(id), "--all"], 2),
        (["export", str(id), "--format", "pdf"], 2),
        (["export", str(id), "--format", "md", "--json"], 2),
        (["export", "99"], 3),
        (["export", str(id), "-o", str(tmp_path / "no" / "a.md")], 3),
        (["import", str(tmp_path / "nothing")], 3),
        (["import", str(tmp_path)], 7),
        (["restore", str(tmp_path / "nothing")], 3),
        (["undelete", "99"], 3),
        (["trash", "1", "--empty"], 2),
        (["export", str(id), "-o", long], 1),
        (["export", str(id), "-o", "~nobody-there/a.md"], 3),
        (["import", long], 7),
        (["import", "~nobody-there/a.json"], 3),
        (["backup", long], 1),
        (["restore", long], 3),
    ):
        run = quick("history", *arguments)
        assert "in corral itself" not in run.out + run.err, arguments
        assert run.code == code, (arguments, run.err)
        assert "corral: " in run.err or run.json["title"] == "Wrong usage"


def test_import_reports_by_record_and_takes_the_rest(quick: Corral, tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    hostile = "\x1b]0;x\x07[bold]"
    records = [chatgpt("a"), chatgpt("b", hostile, mapping={}), {"no": "thing"}, chatgpt("c")]
    path.write_text(json.dumps(records))
    run = quick("history", "import", str(path), "--json")
    assert run.code == 7
    (result,) = run.json
    assert not result["ok"] and result["from"] == ["chatgpt"] and len(result["added"]) == 2
    assert [one["record"] for one in result["problems"]] == [2, 3]
    run = quick("history", "import", str(path), str(tmp_path / "nothing.json"))
    assert run.code == 3 and "2 were here already, 2 records could not be read" in run.out
    assert "record 2 “" in run.err and "no message that can be read" in run.err


def test_backup_and_restore(
    quick: Corral, id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = quick("history", "backup", str(tmp_path / "b.zip"), "--json")
    assert run.code == 0
    assert run.json["conversations"] == 1 and run.json["files"][0]["name"] == "corral.db"
    assert quick("history", "backup", str(tmp_path / "b.zip")).code == 7
    assert quick("history", "backup", str(tmp_path / "b.zip"), "--replace").code == 0
    elsewhere(monkeypatch, tmp_path / "away")
    assert "is sound: 1 conversation" in (
        quick("history", "restore", "--check", str(tmp_path / "b.zip")).out
    )
    run = quick("history", "restore", str(tmp_path / "b.zip"), "--json")
    assert run.code == 0 and run.json["kept"] == []
    assert [c["id"] for c in quick("history", "list", "--json").json] == [id]
    assert quick("history", "delete", str(id)).code == 0
    run = quick("history", "restore", str(tmp_path / "b.zip"))
    assert run.code == 0 and "what was here is kept" in run.out
    assert [c["id"] for c in quick("history", "list", "--json").json] == [id]
    broken = (tmp_path / "b.zip").read_bytes()[:-30]
    (tmp_path / "bad.zip").write_bytes(broken)
    assert quick("history", "restore", str(tmp_path / "bad.zip")).code == 7


def test_trash_undelete_archive_pin_and_folders(quick: Corral, id: int) -> None:
    assert quick("history", "trash", str(id)).code == 0
    assert quick("history", "list", "--json").json == []
    assert [one["id"] for one in quick("history", "trash", "--json").json] == [id]
    assert "Llama vs alpaca" in quick("history", "trash").out
    assert quick("history", "trash", str(id)).code == 3
    assert quick("history", "undelete", str(id)).code == 0
    run = quick("history", "archive", str(id), "--json")
    assert run.json[0]["archived"]
    assert [c["id"] for c in quick("history", "list", "--archived", "--json").json] == [id]
    assert quick("history", "archive", str(id), "--undo").code == 0
    run = quick("history", "file", str(id), "-f", " Work // Trips/", "--json")
    assert run.json[0]["folder"] == "Work/Trips"
    assert not quick("history", "pin", str(id), "--undo", "--json").json[0]["pinned"]
    quick("history", "trash", str(id))
    assert quick("history", "trash", "--empty").code == 0
    assert quick("history", "trash", "--json").json == []
    assert quick("history", "undelete", str(id)).code == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_traces_that_may_stay_are_told_once(
    quick: Corral, id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corral.store.database.Database.scrub", lambda self: False)
    quick("history", "fork", str(id))
    quick("history", "trash", str(id))
    assert quick("history", "trash", "--empty").err.count("traces of its text may stay") == 1
    (left,) = quick("history", "list", "--json").json
    run = quick("history", "delete", str(left["id"]))
    assert run.code == 0 and run.err.count("traces of its text may stay") == 1


def test_a_full_disk_behind_a_redirection_is_said(id: int) -> None:
    for arguments in (["export", str(id)], ["list", "--json"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "corral", "history", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        assert done.returncode == 4
        assert done.stderr == "corral: The disk is full: There is no room left for the output\n"
