"""Writes what Homebrew, scoop and winget want to know of a release, from the release's own files.

    python packaging/channels.py dist/* --out channels

Versions come from pyproject.toml, addresses from product.py, hashes from the files: nothing is
typed. It refuses files that are of another version, not what SHA256SUMS beside them says, or
without the program in them, and a channel whose file is missing. It sends nothing anywhere.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "homebrew"), str(HERE / "windows")]

import formula  # noqa: E402
import manifests  # noqa: E402
import product  # noqa: E402
from sums import NAME as SUMS  # noqa: E402
from sums import SIGNATURE, sha256  # noqa: E402

_PORTABLE = re.compile(r"corral-(?P<version>[^-]+)-(?P<system>[a-z]+)-(?P<machine>[a-z0-9_]+)"
                       r"(?P<ending>\.tar\.gz|\.zip)")  # fmt: skip
_OURS = re.compile(r"corral[-_](?P<version>[0-9][0-9A-Za-z.+]*?)(?=[-_]|\.tar|\.zip|\.whl|\.deb)")
_PACK = re.compile(r"engine-(?P<version>[0-9][^-]*)-")


@dataclass(frozen=True)
class Portable:
    """The program with all it needs, for one system: what packaging/pyinstaller/build.py makes.

    Attributes:
        system: linux, darwin or windows.
        machine: as Python calls it there, such as x86_64, arm64, amd64.
        url: where a release has it.
        sha256: of the very file.
    """

    name: str
    system: str
    machine: str
    url: str
    sha256: str


CHANNELS: dict[str, tuple[tuple[str, str], ...]] = {
    "homebrew": (("darwin", "arm64"), ("linux", "x86_64")),
    "scoop": (("windows", "amd64"),),
    "winget": (("windows", "amd64"),),
}
"""What each has to have; what there is for further machines goes in as well."""
MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64", "x86_64"),
            "windows": ("amd64", "arm64")}  # fmt: skip
"""Those that all channels of a system have a word for."""


def read(files: Iterable[Path]) -> list[Portable]:
    """Check the files of a release, and find the portable programs among them.

    Raises:
        SystemExit: one is missing, of another version, changed, or without the program.
    """
    found = []
    paths = sorted(set(files), key=lambda path: path.name)
    for path in paths:
        if not path.is_file():
            sys.exit(f"{path} is not there")
    sums = _sums(folder / SUMS for folder in {path.parent for path in paths})
    for path in paths:
        _check_version(path.name)
        digest = sha256(path)
        if path.name not in (SUMS, SIGNATURE) and sums and sums.get(path.name) != digest:
            sys.exit(f"{path.name} is not what {SUMS} says: it has {digest}")
        match = _PORTABLE.fullmatch(path.name)
        if match is None or match["system"] not in MACHINES:
            continue
        if match["machine"] not in MACHINES[match["system"]]:
            sys.exit(f"{path.name} is for a machine that no channel has a word for")
        _check_program(path, match["system"])
        url = f"{product.DOWNLOADS}/{path.name}"
        found.append(Portable(path.name, match["system"], match["machine"], url, digest))
    return found


def _sums(lists: Iterable[Path]) -> dict[str, str]:
    """The hashes that a release already has, by name."""
    found = {}
    for path in lists:
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            found[name.rpartition("/")[2]] = digest
    return found


def _check_version(name: str) -> None:
    if (match := _OURS.match(name)) and match["version"] != product.VERSION:
        sys.exit(f"{name} is of version {match['version']}, and this is {product.VERSION}")
    if (match := _PACK.match(name)) and match["version"] != product.engine():
        sys.exit(f"{name} is for llama-cpp-python {match['version']}, not {product.engine()}")


def _check_program(path: Path, system: str) -> None:
    """A manager that unpacks it has to find the program where it is told."""
    wanted = "corral.exe" if system == "windows" else f"{path.name.removesuffix('.tar.gz')}/corral"
    try:
        if system == "windows":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        else:
            with tarfile.open(path) as archive:
                names = archive.getnames()
    except (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError) as error:
        sys.exit(f"{path.name} cannot be unpacked: {error}")
    if wanted not in names:
        sys.exit(f"{path.name} has no {wanted} in it")


def check_pins() -> None:
    """Raises: SystemExit: the engine's lock is of another version than the one that is pinned."""
    lock = (HERE.parent / "requirements" / "engine.txt").read_text(encoding="utf-8")
    locked = re.findall(r"^llama-cpp-python==(\S+)", lock, re.MULTILINE)
    if locked != [product.engine()]:
        sys.exit(f"requirements/engine.txt locks {locked}, and {product.engine()} is pinned")


def write(programs: list[Portable], out: Path, channels: Iterable[str]) -> list[Path]:
    """Write the files of some channels below ``out``.

    Raises:
        SystemExit: what a channel has to have is missing.
    """
    files: dict[str, str] = {}
    for channel in channels:
        there = {(one.system, one.machine) for one in programs}
        for system, machine in CHANNELS[channel]:
            if (system, machine) not in there:
                sys.exit(f"{channel} needs the portable program for {system}-{machine}")
        files |= _texts(channel, programs)
    made = []
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        made.append(path)
    return made


def _texts(channel: str, programs: list[Portable]) -> Mapping[str, str]:
    if channel == "homebrew":
        return {"homebrew/corral.rb": formula.text(programs)}
    windows = [one for one in programs if one.system == "windows"]
    if channel == "scoop":
        return {"scoop/corral.json": json.dumps(manifests.scoop(windows), indent=4) + "\n"}
    return {f"winget/{name}": text for name, text in manifests.winget(windows).items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="of the release")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--only", choices=CHANNELS, action="append", help="one channel; repeat it")
    options = parser.parse_args()
    check_pins()
    for path in write(read(options.files), options.out, options.only or CHANNELS):
        print(path)


if __name__ == "__main__":
    main()
