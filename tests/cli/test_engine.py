"""``corral engine``: the real program with real packs, switched, broken and taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.cli.conftest import Corral
from tests.support.calibrated import calibrate
from tests.support.engine_packs import COMPILER, ILLEGAL, fake_pack, real_pack

from corral.engine.packs import making
from corral.engine.packs.manifest import FILE
from corral.parts import build
from corral.paths import Paths


@pytest.fixture
def corral(corral: Corral, private_home: Path) -> Corral:
    """On a machine that was measured already."""
    parts = build(Paths.from_environment())
    calibrate(parts)
    parts.close_stores()
    return corral


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return making.zipped(real_pack(tmp_path_factory.mktemp("packs"), "copy"))


def test_two_packs_under_one_installation(corral: Corral, copy: Path, private_home: Path) -> None:
    added = corral("engine", "add", str(copy), "--json").json
    name = copy.stem
    again = corral("engine", "build", "copy")
    assert again.code == 7 and f"{name} is here already" in again.err
    assert added["action"] == "add" and added["name"] == name
    assert added["ok"] and not added["used"], "its equal came along and goes before it"
    assert corral("engine", "use", "copy", "--json").json == {
        "wanted": "copy", "used": name, "reason": "you chose it",
    }  # fmt: skip
    report = corral("doctor", "--json").json["engine"]
    assert (report["pack"], report["pack_reason"]) == (name, "you chose it")
    by_name = {pack["name"]: pack for pack in report["packs"]}
    assert by_name[name]["used"] and by_name[name]["path"].startswith(str(private_home))
    assert by_name[name]["llama_cpp"] == "0c1e570" and by_name[name]["flags"]
    assert by_name["built-in"]["ok"] and not by_name["built-in"]["used"]
    asked = corral("ask", "Say hello", "--max-tokens", "4", "--json", "--no-save")
    assert asked.code == 0 and asked.lines[-1]["usage"]["completion_tokens"] > 0

    assert corral("engine", "use", "built-in").out == "built-in is used: you chose it.\n"
    listed = corral("engine", "list")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:3]] == [
        ["→", "built-in"], ["copy", listed.out.splitlines()[2].split()[1]],
    ]  # fmt: skip
    (private_home / "config" / "config.toml").write_text('[engine]\npack = "copy"\n')
    removed = corral("engine", "remove", "copy")
    assert removed.out == f"{name} is removed. The best that works is used now.\n"
    settings = tomllib.loads((private_home / "config" / "config.toml").read_text())
    assert settings == {"engine": {}}
    assert list((private_home / "data" / "engines").iterdir()) == []


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_broken_pack_is_left_out_with_its_reason(
    corral: Corral, private_home: Path, tmp_path: Path
) -> None:
    pack = fake_pack(tmp_path, "broken", ILLEGAL)
    added = corral("engine", "add", str(pack), "--json").json
    assert not added["ok"] and added["reason"] == "it was built for another kind of processor"
    refused = corral("engine", "use", "broken", "--json")
    assert refused.code == 7 and refused.json["message"].endswith("another kind of processor")
    assert not (private_home / "config" / "config.toml").exists()
    # Somebody wants it all the same.
    (private_home / "config" / "config.toml").write_text('[engine]\npack = "broken"\n')
    asked = corral("ask", "Say hello", "--max-tokens", "4", "--no-save")
    assert asked.code == 0 and asked.out.strip()
    assert f"{pack.name} is not used: it was built for another kind of processor" in asked.err
    said = corral("doctor").out
    assert f"Pack        built-in: {pack.name} is not used: it was built for another" in said
    assert f"{pack.name} is left out: it was built for another kind of processor" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "/nowhere/at/all"), 3),
        (("use", "../../\x1b[31metc"), 3),
        (("remove", "built-in"), 2),
        (("build", "no-such-set"), 3),
    ],
)
def test_what_cannot_be_is_one_clear_error(
    corral: Corral, arguments: tuple[str, ...], code: int
) -> None:
    run = corral("engine", *arguments, "--json")
    assert run.code == code and set(run.json) == {"type", "title", "message", "hint"}


def test_offline_nothing_is_fetched_to_build(corral: Corral) -> None:
    run = corral("--offline", "engine", "build", "--json")
    assert run.code == 6 and "--source" in run.json["hint"]
    sets = {one["flagset"] for one in corral("engine", "build", "--sets", "--json").json}
    assert sets == {"cpu-avx2", "cpu-baseline", "cpu-native", "cuda", "metal", "vulkan"}


def test_another_source_is_refused(corral: Corral, tmp_path: Path) -> None:
    source = tmp_path / "llama_cpp_python-0.3.36.tar.gz"
    source.write_bytes(b"something else")
    run = corral("--offline", "engine", "build", "--source", str(source))
    assert run.code == 5
    assert "is not the source that requirements/engine.txt locks" in run.err


def test_a_home_with_spaces_and_letters(copy: Path, tmp_path: Path) -> None:
    home = tmp_path / "Lämä's home: Ж 日本"
    environment = {**os.environ, "CORRAL_HOME": str(home)}
    command = [sys.executable, "-P", "-m", "corral", "engine"]
    for arguments in (["add", str(copy)], ["use", "copy", "--json"]):
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["used"] == copy.stem
    assert (home / "data" / "engines" / copy.stem / FILE).is_file()
