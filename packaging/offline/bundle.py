"""Makes an offline bundle: all that corral needs, in one folder that installs without a network.

    python packaging/engine/wheel.py --cache ~/.cache/corral/engine-wheels --flagset cpu-avx2
    python packaging/offline/bundle.py --engine llama_cpp_python-….whl --starter --out dist

The folder and its .tar.gz are for the system this runs on, and for the versions of Python that are
named. The same input gives the same bytes. Prints what was made.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGING = HERE.parent
ROOT = PACKAGING.parent
sys.path[:0] = [str(PACKAGING), str(PACKAGING / "linux"), str(PACKAGING / "engine")]

import archive  # noqa: E402
import licences  # noqa: E402
import native  # noqa: E402
import product  # noqa: E402
import sbom  # noqa: E402
import share  # noqa: E402
import sums  # noqa: E402
import wheel as engine_wheel  # noqa: E402
import wheelhouse  # noqa: E402

from corral.engine.packs import binding, checking  # noqa: E402
from corral.engine.packs.manifest import Manifest  # noqa: E402
from corral.errors import CorralError  # noqa: E402
from corral.models.catalog import Catalog, find_catalogue  # noqa: E402


@dataclass(frozen=True)
class Model:
    """A model that a bundle brings, and the texts that have to go where it goes."""

    file: Path
    texts: tuple[Path, ...]


def model(file: Path, texts: Path | None) -> Model:
    """A model with its licence.

    Raises:
        SystemExit: one of them is not there, or not whole: nobody may pass weights on without it.
    """
    for path, right in ((file, file.is_file()), (texts, texts is None or texts.is_dir())):
        if not right:
            sys.exit(f"{path} is not there")
    if file.suffix != ".gguf":
        sys.exit(f"{file.name} is not a .gguf file")
    found = sorted(path for path in texts.glob("[!.]*") if path.is_file()) if texts else []
    found = [path for path in found if path.stat().st_size and path.suffix != ".gguf"]
    if not found:
        sys.exit(
            f"{file.name} has no licence beside it, and goes nowhere without one: --licence FOLDER"
        )
    catalog = Catalog.load(find_catalogue())
    known = catalog.by_sha256(sums.sha256(file)) or catalog.by_file(file.name, file.stat().st_size)
    licence = catalog.licence(known[0].licence) if known else None
    missing = set(licence.files if licence else ()) - {path.name for path in found}
    if licence is not None and missing:
        sys.exit(f"The {licence.title} wants beside {file.name}: {', '.join(sorted(missing))}")
    return Model(file, tuple(found))


def name() -> str:
    return f"corral-{product.VERSION}-{product.system()}-offline"


def make(
    folder: Path,
    wheels: Path,
    uv: Path,
    *,
    locks: Sequence[Path],
    pythons: Sequence[str],
    packs: Sequence[Path] = (),
    models: Sequence[Model] = (),
) -> None:
    """Lay out a bundle in a folder that is not there yet.

    Args:
        wheels: filled by :mod:`wheelhouse`.
        uv: the wheel of uv.
        locks: name and hash every wheel but corral's and the engine's.
        pythons: the versions of Python that the wheels are for.
        packs: engine packs, a folder each.

    Raises:
        SystemExit: a pack is refused, or a wheel is missing.
    """
    folder.mkdir(parents=True)
    shutil.copytree(wheels, folder / "wheels")
    extra = [_uv(uv, folder), *_packs(packs, folder), *_models(models, folder)]
    text = "".join(lock.read_text(encoding="utf-8") for lock in locks)
    _write(folder / "requirements.lock", text + "".join(_own(wheels)))
    scripts = [PACKAGING / "install.sh", PACKAGING / "install.ps1", HERE / "extras.py"]
    if sys.platform == "win32":
        scripts.append(PACKAGING / "windows" / "shortcut.ps1")
    for script in scripts:
        shutil.copyfile(script, folder / script.name)
    (folder / "install.sh").chmod(0o755)
    share.write(folder / "share")
    with tempfile.TemporaryDirectory() as temporary:
        everything = Path(temporary)
        for path in [*wheels.glob("*.whl"), uv]:
            shutil.copy(path, everything)
        licences.collect(everything, folder / "licenses")
    sbom.write(wheels, folder / "sbom.cdx.json", extra)
    about = json.dumps(_manifest(folder, uv, pythons), indent=2)
    _write(folder / "MANIFEST.json", about + "\n")
    sums.write(folder)


def _own(wheels: Path) -> Iterator[str]:
    """Lines of a lock for what no lock of the checkout holds: corral, and the engine as built."""
    for found in ("llama_cpp_python", "corral"):
        paths = list(wheels.glob(f"{found}-*.whl"))
        if len(paths) != 1:
            sys.exit(f"{wheels} has to hold one wheel of {found.replace('_', '-')}")
        version = paths[0].name.split("-")[1]
        digest = sums.sha256(paths[0])
        yield f"{found.replace('_', '-')}=={version} \\\n    --hash=sha256:{digest}\n"


def _uv(wheel: Path, folder: Path) -> sbom.Component:
    """Take the program out of uv's wheel, which holds nothing else that is needed."""
    program = "uv.exe" if sys.platform == "win32" else "uv"
    (folder / "bin").mkdir()
    target = folder / "bin" / program
    with zipfile.ZipFile(wheel) as packed:
        inside = [one for one in packed.namelist() if one.endswith(f".data/scripts/{program}")]
        if len(inside) != 1:
            sys.exit(f"{wheel.name} does not hold {program}")
        target.write_bytes(packed.read(inside[0]))
    target.chmod(0o755)
    version = wheel.name.split("-")[1]
    purl = f"pkg:pypi/uv@{version}"
    return sbom.Component("uv", version, purl, "MIT OR Apache-2.0", sums.sha256(target))


def _packs(packs: Sequence[Path], folder: Path) -> Iterator[sbom.Component]:
    for pack in packs:
        try:
            known, digest = checking.check(pack)
        except CorralError as error:
            sys.exit(error.message)
        shutil.copytree(pack, folder / "engines" / known.name)
        purl = f"pkg:generic/{known.name}@{known.binding}"
        yield sbom.Component(known.name, known.binding, purl, "MIT", digest)


def _models(models: Sequence[Model], folder: Path) -> Iterator[sbom.Component]:
    for one in models:
        place = folder / "models" / one.file.stem
        place.mkdir(parents=True)
        for path in (one.file, *one.texts):
            shutil.copyfile(path, place / path.name)
        digest = sums.sha256(one.file)
        purl = f"pkg:generic/{one.file.stem}@{digest[:12]}"
        terms = f"see {one.texts[0].name}"
        yield sbom.Component(one.file.name, digest[:12], purl, terms, digest)


def _manifest(folder: Path, uv: Path, pythons: Sequence[str]) -> dict[str, Any]:
    pinned, _ = engine_wheel.flagsets()
    (engine,) = (folder / "wheels").glob("llama_cpp_python-*.whl")
    packs = [
        Manifest.model_validate_json((path / "manifest.json").read_bytes())
        for path in sorted(folder.glob("engines/*"))
    ]
    return {
        "format": 1,
        "name": product.NAME,
        "version": product.VERSION,
        "platform": binding.platform_tag(),
        "pythons": " ".join(pythons),
        "built": product.epoch(),
        "engine": {
            "wheel": engine.name,
            "sha256": sums.sha256(engine),
            "llama_cpp": pinned["llama_cpp"],
            "ggml": pinned["ggml"],
            "native": native.is_native(engine),
        },
        "packs": {pack.name: {"backend": pack.backend, "flags": pack.flags} for pack in packs},
        "models": [path.relative_to(folder).as_posix() for path in _files(folder / "models")],
        "uv": uv.name.split("-")[1],
        "files": {
            path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)
        },
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _files(folder: Path) -> list[Path]:
    """Sorted as ``LC_ALL=C sort`` does."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(found, key=lambda path: path.as_posix().encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where the bundle goes")
    parser.add_argument("--engine", type=Path, required=True, help="wheel of llama-cpp-python")
    parser.add_argument("--native", action="store_true", help="for processors like this one only")
    parser.add_argument(
        "--python", action="append", metavar="3.12", help="for this version; repeat"
    )
    parser.add_argument(
        "--pack", action="append", type=Path, default=[], help="engine pack; repeat"
    )
    parser.add_argument("--starter", action="store_true", help="with the starter model")
    parser.add_argument("--model", type=Path, help="with this model, a .gguf file")
    parser.add_argument("--licence", type=Path, help="folder with the texts of its licence")
    parser.add_argument("--zip", action="store_true", help="a .zip beside the .tar.gz, too")
    chosen = parser.parse_args()
    target = chosen.out / name()
    if target.exists():
        sys.exit(f"{target} is there already")
    models = [model(chosen.model, chosen.licence)] if chosen.model else []
    if not chosen.native:
        native.refuse(chosen.engine)
    pythons = chosen.python or [wheelhouse.MINOR]
    with tempfile.TemporaryDirectory(prefix="corral-bundle-") as temporary:
        work = Path(temporary)
        wheels = work / "wheels"
        wheelhouse.fill(wheels, engine=chosen.engine, starter=chosen.starter, pythons=pythons)
        wheelhouse.download("offline.txt", work / "uv")
        (uv,) = (work / "uv").glob("uv-*.whl")
        locks = [ROOT / "requirements" / "app.txt"]
        if chosen.starter:
            locks.append(ROOT / "requirements" / "starter.txt")
        make(
            work / target.name,
            wheels,
            uv,
            locks=locks,
            pythons=pythons,
            packs=chosen.pack,
            models=models,
        )
        chosen.out.mkdir(parents=True, exist_ok=True)
        shutil.move(work / target.name, target)
    archive.pack(target, target.with_name(f"{target.name}.tar.gz"))
    print(target)
    print(f"{target}.tar.gz")
    if chosen.zip:
        archive.pack_zip(target, target.with_name(f"{target.name}.zip"))
        print(f"{target}.zip")


if __name__ == "__main__":
    main()
