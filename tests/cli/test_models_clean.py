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
