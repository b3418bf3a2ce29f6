"""Looks at a finished release as somebody who got it; each check says what is wrong."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import product  # noqa: E402
import sbom  # noqa: E402
import sums  # noqa: E402
import wheelinfo  # noqa: E402
from releasing import signing  # noqa: E402


def everything(folder: Path, signers: Path | None) -> Iterator[str]:
    """All checks; what is inside of files only where every file is what the sums say."""
    wrong = [*sums.problems(folder), *signature(folder, signers)]
    if wrong:
        yield from wrong
        return
    wheels = sorted(folder.glob(f"{product.NAME}-*.whl"))
    if len(wheels) != 1:
        yield f"there has to be one wheel of {product.NAME}, and there are {len(wheels)}"
        return
    try:
        wheel = wheelinfo.read(wheels[0])
    except SystemExit as error:
        yield str(error)
        return
    if wheel.key != product.NAME:
        yield f"{wheel.path.name} is a wheel of {wheel.name}"
    yield from names(folder, wheel)
    yield from opens(wheel)
    yield from sources(folder, wheel.version)
    yield from bills(folder, wheel.version)


def signature(folder: Path, signers: Path | None) -> Iterator[str]:
    """The signature, if there is one or there has to be one."""
    if not (folder / sums.SIGNATURE).exists():
        if signers is not None:
            yield f"{sums.SIGNATURE} is missing"
        return
    try:
        signing.check(folder, signers)
    except (signing.SigningError, OSError) as error:
        yield f"{sums.SIGNATURE} is not good: {error}"


def names(folder: Path, wheel: wheelinfo.Wheel) -> Iterator[str]:
    """The version in every name is the wheel's, or that of the engine it pins."""
    pins = [need for need in wheel.requires if need.name == sbom.ENGINE]
    engine = next((str(one.specifier).removeprefix("==") for one in pins), "")
    wanted = {product.NAME: wheel.version, "engine": engine}
    for path in sorted(folder.rglob("*")):
        found = re.match(r"([a-z]+)[-_](\d+(?:\.\d+)+(?:(?:a|b|rc|\.post|\.dev)\d+)*)", path.name)
        if found and found[2] != wanted.get(found[1], found[2]):
            yield f"{path.name} is of {found[2]}, and the release of {wanted[found[1]]}"


def opens(wheel: wheelinfo.Wheel) -> Iterator[str]:
    """Every file of the wheel is in its RECORD, with its hash."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            held = archive.namelist()
            files = {name: archive.read(name) for name in held}
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        yield f"{wheel.path.name} cannot be read: {error}"
        return
    record = next((name for name in files if name.endswith(".dist-info/RECORD")), "")
    rows = csv.reader(io.StringIO(files.get(record, b"").decode()))
    told = {row[0]: row[1] for row in rows if len(row) == 3}
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if name != record and told.get(name) != f"sha256={digest}":
            yield f"{wheel.path.name}: {name} is not what its RECORD says"
    for name in sorted(name for name in files if held.count(name) > 1):
        yield f"{wheel.path.name} has {name} more than once"
    for name in sorted(told.keys() - files.keys()):
        yield f"{wheel.path.name}: {name} is missing"


def sources(folder: Path, version: str) -> Iterator[str]:
    """The source archive can be read and is of this version."""
    path = folder / f"{product.NAME}-{version}.tar.gz"
    try:
        with tarfile.open(path) as archive:
            about = archive.extractfile(f"{product.NAME}-{version}/PKG-INFO")
            said = about.read().decode() if about else ""
    except (OSError, KeyError, tarfile.TarError, EOFError, zlib.error) as error:
        yield f"{path.name} cannot be read: {error}"
        return
    if f"\nVersion: {version}\n" not in said:
        yield f"{path.name} is not of {version}"


def bills(folder: Path, version: str) -> Iterator[str]:
    """Every bill of materials is of this version, and its hashes are those of the files here."""
    for path in sorted(folder.rglob("*.cdx.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            root = document["metadata"]["component"]
            parts = [root, *document["components"]]
        except (ValueError, KeyError, TypeError) as error:
            yield f"{path.name} is no bill of materials: {error!r}"
            continue
        if root.get("version") != version:
            yield f"{path.name} is of {root.get('version')}, and the release of {version}"
        for part in parts:
            told = {one["name"]: one["value"] for one in part.get("properties", [])}
            file = folder / told.get(sbom.FILE, "")
            hashes = {one["content"] for one in part.get("hashes", [])}
            if file.is_file() and sums.sha256(file) not in hashes:
                yield f"{path.name} has another hash of {file.name}"
