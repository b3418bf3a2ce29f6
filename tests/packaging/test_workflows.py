"""The workflows call what is here, and say of Python what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with huggingface-hub
from tests.support.scripts import PACKAGING, script

ROOT = PACKAGING.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def read(name: str) -> dict[Any, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def commands(workflow: dict[Any, Any]) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


def test_there_are_two() -> None:
    assert [path.name for path in WORKFLOWS] == ["release.yml", "test.yml"]


def test_tests_run_on_three_systems_and_every_python() -> None:
    job = read("test")["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    classifiers = [re.search(r":: Python :: (3\.\d+)$", line) for line in PROJECT["classifiers"]]
    assert [found[1] for found in classifiers if found] == PYTHONS
    assert commands(read("test")) == ".ci/run", "what a person runs, and nothing beside it"
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["test", "release"])
def test_every_script_target_and_flag_set_exists(name: str) -> None:
    workflow = read(name)
    told = commands(workflow)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\S+)", told):
        assert f"\n{target.replace('.venv', '$(VENV)')}:" in makefile, target
    paths = re.findall(r"(?:packaging|requirements|\.ci)/[\w./-]+", told)
    assert paths
    for path in paths:
        assert (ROOT / path).is_file(), path
    sets = tomllib.loads((PACKAGING / "engine" / "flags.toml").read_text(encoding="utf-8"))
    for job in workflow["jobs"].values():
        for one in job.get("strategy", {}).get("matrix", {}).get("include", []):
            assert one["flagset"] in sets, one


def test_packs_are_built_for_every_kind_of_machine() -> None:
    told = read("release")["jobs"]["packs"]["strategy"]["matrix"]["include"]
    assert {one["flagset"] for one in told} >= {"cpu-avx2", "metal", "vulkan", "cuda"}


def test_bundles_are_for_every_python() -> None:
    """As README.md says; of themselves they are for the Python that makes them."""
    for one in read("release")["jobs"]["build"]["strategy"]["matrix"]["include"]:
        assert re.findall(r"--python (\S+)", one["bundle"]) == PYTHONS, one["os"]


def test_every_step_of_a_release_is_one() -> None:
    release = script("release.py")
    known = set(re.findall(r'add_parser\("(\w+)"', (PACKAGING / "release.py").read_text("utf-8")))
    called = re.findall(r"release\.py (\w+)", commands(read("release")))
    assert known >= set(called) >= {"check", "build", "sums", "verify", "notes"}
    assert release.CHECKS


@pytest.mark.parametrize("name", ["test", "release"])
def test_nothing_may_more_than_it_needs(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    more = {
        key: job["permissions"] for key, job in workflow["jobs"].items() if "permissions" in job
    }
    assert more == ({"draft": {"contents": "write"}} if name == "release" else {})
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step["uses"]
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_nothing_is_published_without_a_person() -> None:
    # YAML 1.1 reads the key on as true.
    assert read("release")[True]["push"] == {"tags": ["v*"]}
    assert read("release")["jobs"]["draft"]["if"] == "github.event_name == 'push'"
    told = commands(read("release"))
    assert told.count("gh release") == 1 and "--draft" in told
    assert "upload" not in told and "twine" not in told
