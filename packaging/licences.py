"""Collects the licence texts of a folder of wheels, and lists what is under which licence.

    python packaging/licences.py WHEELS --out licences [--strict]

``THIRD-PARTY.txt`` names every package; its texts lie in a folder of its name beside it. The engine
comes with the notices of the sources it is compiled from, which its wheel leaves out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import zipfile
from pathlib import Path, PurePosixPath

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import wheelinfo  # noqa: E402

COMPILED = HERE / "engine" / "licences"
"""llama.cpp's and ggml's licence, and the notices in the sources that every build compiles."""
LIST = "THIRD-PARTY.txt"

HEAD = """What corral is delivered with, and under which licences. The texts lie beside this file.
"""


def collect(wheels: Path, out: Path, *, strict: bool = False) -> None:
    """Write every wheel's texts to ``out/NAME-VERSION/`` and ``out/THIRD-PARTY.txt``.

    Args:
        strict: a wheel without any text is an error, not a line in the list.

    Raises:
        SystemExit: it is; or a wheel cannot be read or names a place outside its folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    bare = []
    found = wheelinfo.read_all(wheels)
    for _, group in itertools.groupby(found, lambda one: (one.key, one.version)):
        # One version may be there for several systems and Pythons.
        several = list(group)
        wheel = several[0]
        folder = out / f"{wheel.key}-{wheel.version}"
        written: dict[str, bytes] = {}
        for one in several:
            _gather(one, written)
        if wheel.key == "llama-cpp-python":
            written |= {path.name: path.read_bytes() for path in COMPILED.glob("*.txt")}
        for place, content in written.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not written:
            bare.append(f"{wheel.name} {wheel.version}")
        parts.append(_entry(wheel, folder.name, sorted(written)))
    if bare and strict:
        sys.exit(f"no licence text comes with: {', '.join(bare)}")
    (out / LIST).write_bytes("\n".join(parts).encode())


def _gather(wheel: wheelinfo.Wheel, texts: dict[str, bytes]) -> None:
    """Add its texts by their paths below the package's folder, each content once."""
    with zipfile.ZipFile(wheel.path) as archive:
        # What is in .dist-info first: a copy of it in the package is not worth a second file.
        for name in sorted(wheel.texts, key=lambda name: (".dist-info/" not in name, name)):
            content = archive.read(name)
            if content in texts.values():
                continue
            place = _place(name)
            if ".." in place.parts or place.is_absolute() or "\\" in name or ":" in name:
                sys.exit(f"{wheel.path.name} names a place outside of itself: {name}")
            if place.as_posix() in texts:
                place = PurePosixPath("of " + wheel.path.stem) / place
            texts[place.as_posix()] = content


def _place(name: str) -> PurePosixPath:
    """Where a member goes: without .dist-info/licenses, and the package's own files apart."""
    path = PurePosixPath(name)
    if not path.parts[0].endswith(".dist-info"):
        return PurePosixPath("package") / path
    rest = path.parts[1:]
    return PurePosixPath(*(rest[1:] if rest[0] == "licenses" and len(rest) > 1 else rest))


def _entry(wheel: wheelinfo.Wheel, folder: str, texts: list[str]) -> str:
    lines = [f"{wheel.name} {wheel.version}", f"  Licence: {wheel.licence or 'not said'}"]
    if wheel.home:
        lines.append(f"  Home: {wheel.home}")
    if wheel.key == "llama-cpp-python":
        lines.append("  Compiled into it, all MIT: llama.cpp, ggml, kernels of llamafile, YaRN")
    lines += [f"  Text: {folder}/{name}" for name in texts]
    if not texts:
        lines.append("  Text: none comes with it")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, help="folder of wheelhouse.py")
    parser.add_argument("--out", type=Path, required=True, help="folder the texts go to")
    parser.add_argument("--strict", action="store_true", help="refuse a wheel without a text")
    chosen = parser.parse_args()
    collect(chosen.wheels, chosen.out, strict=chosen.strict)
    print(chosen.out / LIST)


if __name__ == "__main__":
    main()
