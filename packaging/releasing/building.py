"""Builds the files of a release that this system can build."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGING = HERE.parent
sys.path.insert(0, str(PACKAGING))

import archive  # noqa: E402
import licences  # noqa: E402
import own  # noqa: E402
import product  # noqa: E402
import sbom  # noqa: E402


@dataclass(frozen=True)
class Wanted:
    """What else to build, beside wheel, source archive, licences and bill of materials."""

    deb: bool = False
    portable: bool = False
    bundle: str | None = None
    """Arguments for offline/bundle.py, which asks the package index; None for no bundle."""
    native: bool = False
    """An engine that runs on processors like this one only is meant to be."""


def build(out: Path, wheels: Path, wanted: Wanted) -> list[Path]:
    """Write the files of a release to a folder; what is there under these names is replaced.

    Args:
        wheels: a folder of wheelhouse.py; corral's own wheel is built anew.

    Raises:
        SystemExit: wheels are missing, two builds differ, a wheel has no licence text, or a
            script said so.
        subprocess.CalledProcessError: a script failed; what was said is on stderr.
    """
    if not list(wheels.glob("llama_cpp_python-*.whl")):
        sys.exit(f"{wheels} holds no engine: fill it with packaging/wheelhouse.py")
    name = f"{product.NAME}-{product.VERSION}-{product.system()}"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made, stage = work / "made", work / "wheels"
        made.mkdir()
        stage.mkdir()
        wheel, _ = (Path(shutil.copy(path, made)) for path in reproducible(work))
        for path in wheels.glob("*.whl"):
            if not path.name.startswith(f"{product.NAME}-"):
                shutil.copy(path, stage)
        shutil.copy(wheel, stage)
        licences.collect(stage, work / "licences", strict=True)
        archive.pack(work / "licences", made / f"{name}-licences.tar.gz")
        sbom.write(stage, made / f"{name}.cdx.json")
        # Who takes the wheel alone needs one of them.
        for installer in ("install.sh", "install.ps1"):
            shutil.copy(PACKAGING / installer, made)
        native = ["--native"] if wanted.native else []
        if wanted.deb:
            _run("linux/deb.py", "--wheels", str(stage), "--out", str(made), *native)
        if wanted.portable:
            _run("pyinstaller/build.py", "--out", str(made), *native)
        if wanted.bundle is not None:
            _run("offline/bundle.py", "--out", str(made), *shlex.split(wanted.bundle))
        out.mkdir(parents=True, exist_ok=True)
        # Of a bundle the archive, not the folder beside it.
        files = sorted(path for path in made.iterdir() if path.is_file())
        return [Path(shutil.copy(path, out)) for path in files]


def reproducible(work: Path) -> list[Path]:
    """Wheel and source archive, each built twice, and the wheel once more from the archive.

    Raises:
        SystemExit: they differ.
    """
    first, second = work / "first", work / "second"
    archives = [own.sdist(first), own.sdist(second)]
    with tarfile.open(archives[0]) as packed:
        # Python 3.11 before its fourth patch release has no filters.
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(work / "unpacked")  # noqa: S202 - it was made here, a moment ago
    (unpacked,) = (work / "unpacked").iterdir()
    built = [own.wheel(first), own.wheel(second), own.wheel(work / "third", unpacked)]
    for made in (archives, built):
        if len({path.read_bytes() for path in made}) > 1:
            sys.exit(f"{made[0].name} was built {len(made)} times and is not the same: "
                     f"{differing(made)}")  # fmt: skip
    return [built[0], archives[0]]


def differing(archives: Sequence[Path]) -> str:
    """Which members of some archives are not the same in all; for people to read."""
    held = [_members(path) for path in archives]
    every = sorted(set().union(*held))
    names = [name for name in every if len({members.get(name) for members in held}) > 1]
    return ", ".join(names[:5]) or "only in how they are packed"


def _members(path: Path) -> dict[str, bytes]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as packed:
            return {name: packed.read(name) for name in packed.namelist()}
    with tarfile.open(path) as packed:
        files = {one.name: packed.extractfile(one) for one in packed if one.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def _run(script: str, *arguments: str) -> None:
    path = PACKAGING / script
    if not path.is_file():
        sys.exit(f"packaging/{script} is not here")
    subprocess.run([sys.executable, str(path), *arguments], check=True, stdout=sys.stderr)
