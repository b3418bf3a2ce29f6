"""``corral models clean``: the real program on real files."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.cli.test_models import at_terminal
from tests.support.gguf_files import tiny_llama
from tests.support.shelf import Entry, fill
from tests.support.shelf import left as kept_of

from corral.engine.states.shelf import Shelf
from corral.store.store import Store


@pytest.fixture
def left(private_home: Path) -> Path:
    """A part that nobody continues, three days old."""
    return leave(private_home / "data/models/a--b/x.gguf.part", 3 * 86_400)


def leave(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(20_000_000))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_a_script_lists_and_removes_only_where_it_says_yes(corral: Corral, left: Path) -> None:
    fresh = leave(left.with_name("y.gguf.bad"), 60)
    listed = corral("models", "clean")
    assert listed.code == 0
    assert "x.gguf.part  incomplete  3 days  0.02 GB" in listed.out
    assert "corral models clean --yes" in listed.err and "within the last hour" in listed.err
    names = ("name", "path", "action", "ok", "reason")
    found = {one["name"]: one for one in corral("models", "clean", "--json").json}
    expected = ("x.gguf.part", str(left), "list", True, None)
    assert tuple(found["x.gguf.part"][name] for name in names) == expected
    assert not found["y.gguf.bad"]["ok"] and "written to" in found["y.gguf.bad"]["reason"]
    assert left.exists()

    run = corral("models", "clean", "--yes", "--json")
    assert run.code == 0 and not run.err
    done = {one["name"]: (one["action"], one["ok"]) for one in run.json}
    assert done == {"x.gguf.part": ("clean", True), "y.gguf.bad": ("clean", False)}
    assert not left.exists() and fresh.exists()
    fresh.unlink()
    assert corral("models", "clean", "--json").json == []
    assert "nothing to clean up" in corral("models", "clean").err


def test_a_person_is_asked(private_home: Path, left: Path) -> None:
    code, output = at_terminal({b"Remove 1 file, 0.02 GB? [y/N]": b"n\r"}, "models", "clean")
    assert code == 7 and left.exists() and b"was not removed" in output
    code, output = at_terminal({b"Remove 1 file, 0.02 GB? [y/N]": b"y\r"}, "models", "clean")
    assert code == 0 and not left.exists() and b"x.gguf.part is removed" in output


@pytest.fixture
def shelf(private_home: Path) -> Shelf:
    """Kept prompts of two conversations, and of a third that is gone."""
    (private_home / "data").mkdir(parents=True)
    store = Store.open(private_home / "data/corral.db")
    for title in ("Cusco", "Llamas"):
        store.create_conversation(title=title)
    store.close()
    return fill(private_home / "cache/kv", [Entry("1"), Entry("2", ago=3 * 86_400), Entry("9")])


def test_kept_prompts_are_listed_and_cleared_where_that_is_said(
    corral: Corral, shelf: Shelf
) -> None:
    listed = corral("models", "clean")
    assert listed.code == 0 and "corral models clean --yes --prompts" in listed.err
    assert "Llamas" in listed.out and "1204" in listed.out and "3 days" in listed.out
    assert "deleted conversation 9" in listed.out
    found = {one["conversation"]: one for one in corral("models", "clean", "--json").json}
    assert set(found) == {1, 2, None}
    assert (found[1]["name"], found[1]["action"], found[1]["ok"]) == ("Cusco", "list", True)
    assert (found[1]["tokens"], found[1]["bytes"]) == (1204, 642_000_000)
    assert found[1]["models"] == ["llama-2-7b-chat.Q4_K_M"]
    assert kept_of(shelf) == {"1", "2", "9"}

    # What nobody can use goes with a yes; the others only where they are named.
    run = corral("models", "clean", "--yes", "--json")
    actions = {one["conversation"]: one["action"] for one in run.json}
    assert actions == {1: "list", 2: "list", None: "clean"}
    assert kept_of(shelf) == {"1", "2"}
    run = corral("models", "clean", "--yes", "--prompts")
    assert "Cleared 2 kept prompts, 1.28 GB." in run.out and not kept_of(shelf)
    assert "nothing to clean up" in corral("models", "clean").err


def test_a_person_is_asked_about_kept_prompts(shelf: Shelf, left: Path) -> None:
    files = b"Remove 1 file, 0.02 GB? [y/N]"
    prompts = b"Clear 3 kept prompts, 1.93 GB? No conversation goes; it is only read again. [y/N]"
    code, output = at_terminal({files: b"n\r", prompts: b"n\r"}, "models", "clean")
    assert code == 7 and b"was not removed" in output and len(kept_of(shelf)) == 3
    code, _ = at_terminal({files: b"y\r", prompts: b"n\r"}, "models", "clean")
    assert code == 0 and not left.exists() and len(kept_of(shelf)) == 3
    code, output = at_terminal({prompts: b"y\r"}, "models", "clean")
    assert code == 0 and not kept_of(shelf) and b"Cleared 3 kept prompts" in output


def test_what_was_kept_of_a_deleted_conversation_goes_with_it(corral: Corral, shelf: Shelf) -> None:
    assert corral("history", "delete", "2").code == 0
    assert kept_of(shelf) == {"1", "9"}


def test_copies_are_only_named(corral: Corral, tmp_path: Path, private_home: Path) -> None:
    own, other = tiny_llama(tmp_path / "own.gguf"), tmp_path / "other.gguf"
    shutil.copyfile(own, other)
    assert corral("models", "import", str(own), "--name", "mine").code == 0
    assert corral("models", "import", str(other), "--copy", "--name", "twice").code == 0
    run = corral("models", "clean", "--yes")
    assert run.code == 0 and "corral models remove NAME" in run.err
    assert "Here 2 times" in run.out and str(own) in run.out
    found = {one["name"]: one for one in corral("models", "clean", "--yes", "--json").json}
    assert found["mine"]["same_as"] == ["twice"] and found["twice"]["same_as"] == ["mine"]
    assert found["mine"]["frees"] == 0 and found["twice"]["frees"] == own.stat().st_size
    assert {(one["action"], one["ok"]) for one in found.values()} == {("list", True)}
    assert own.exists() and Path(found["twice"]["path"]).exists()
