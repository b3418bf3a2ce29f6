"""What has to be so before a release: each check gives one sentence for each thing that is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from releasing import changelog, rolling

# Written so that this file does not say what it looks for.
LEAKS = {
    "a package registry's host": re.compile(
        rb"\b(?:py[p]i|python[h]osted|registry\.n[p]mjs)\.org\b"
    ),
    "a path of somebody's machine": re.compile(
        rb"(?<![\w.~])/(?:home|Users)/\w|(?<![\w.~])/ro[o]t/|\b[A-Z]:\\+Users\\+\w"
    ),
}
TESTS = ("tests/test_readme.py", "tests/cli/test_help.py")
"""They hold README and manual against the program."""


def versions(root: Path) -> Iterator[str]:
    """pyproject.toml, the package, the changelog, the engine's pin and what is made from them."""
    said = {name: rolling.version_in(root, name) for name in rolling.PLACES}
    version = said["pyproject.toml"]
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    said["CHANGELOG.md"] = changelog.current(text).version
    for name, found in said.items():
        if found != version:
            yield f"{name} says {found}, and pyproject.toml {version}"
    for found in rolling.FILES.findall((root / "README.md").read_text(encoding="utf-8")):
        if found != version:
            yield f"README.md names a file of {found}, and pyproject.toml says {version}"
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [re.fullmatch(r"llama-cpp-python==(\S+)", one) for one in project["dependencies"]]
    pinned = next((one[1] for one in pins if one), "no exact version")
    flags = tomllib.loads((root / "packaging/engine/flags.toml").read_text(encoding="utf-8"))
    engines = {"packaging/engine/flags.toml": flags["binding"]}
    for name in ("requirements/engine.in", "requirements/engine.txt"):
        locked = re.search(r"^llama-cpp-python==(\S+)", (root / name).read_text("utf-8"), re.M)
        engines[name] = locked[1] if locked else "no exact version"
    for name, found in engines.items():
        if found != pinned:
            yield f"{name} is for llama-cpp-python {found}, and pyproject.toml pins {pinned}"


def desktop(root: Path) -> Iterator[str]:
    """The AppStream data that is installed names this version as the release."""
    version = rolling.version_in(root, "pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(root / "packaging" / "linux" / "share.py"), folder]
        subprocess.run(command, check=True, stdout=sys.stderr)
        told = list(Path(folder).glob("metainfo/*.xml"))
        if not told:
            yield "packaging/linux/share.py writes no AppStream data"
        for path in told:
            found = re.findall(r'<release version="([^"]+)"', path.read_text(encoding="utf-8"))
            if found != [version]:
                yield f"{path.name} says {found}, and pyproject.toml {version}"


def tagged(root: Path, tag: str) -> Iterator[str]:
    """A tag is v and the version, and the changelog has its date and nothing newer."""
    version = rolling.version_in(root, "pyproject.toml")
    if tag != f"v{version}":
        yield f"the tag is {tag}, and the version {version}"
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    top, entry = changelog.entries(text)[0], changelog.current(text)
    if not entry.date:
        yield f"CHANGELOG.md has no date for {entry.version}: roll it first"
    if top != entry and top.text:
        yield f"CHANGELOG.md tells of more than {entry.version}: roll it first"


def clean(root: Path) -> Iterator[str]:
    """Everything is committed: what is built is what a tag means."""
    for line in _git(root, "status", "--porcelain").decode().splitlines():
        yield f"not committed: {line[3:]}"


def leaks(root: Path) -> Iterator[str]:
    """No tracked text names a registry's host or a place on somebody's machine."""
    for name in _git(root, "ls-files", "-z").decode().split("\0"):
        path = root / name
        if not name or not path.is_file():
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            for what, pattern in LEAKS.items():
                if pattern.search(line):
                    yield f"{name}:{number} has {what}"


def manuals(root: Path) -> Iterator[str]:
    """README, help and manual page say what the program does, by their own tests."""
    command = [sys.executable, "-m", "pytest", "-q", "--reruns", "0", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *TESTS], cwd=root, capture_output=True, text=True)
    if done.returncode:
        yield from (line for line in done.stdout.splitlines() if line.startswith("FAILED"))
        yield f"{' and '.join(TESTS)} do not pass"


def lock(root: Path) -> Iterator[str]:
    """``make lock`` would change no name and no version. Asks the package index.

    It runs in a copy, so that nothing here changes, beginning with the locks as they are: uv keeps
    what still satisfies pyproject.toml.
    """
    # Not resolved: the interpreter of an environment is a link.
    venv = Path(sys.executable).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(root / "requirements", copy / "requirements")
        for name in ("pyproject.toml", "Makefile"):
            shutil.copy(root / name, copy)
        # The environment is this one, and is not made again because the copies are newer.
        command = ["make", "-C", folder, f"VENV={venv}", "-o", f"{venv}/.dev", "lock"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield f"make lock failed: {done.stderr.strip().rpartition(chr(10))[2]}"
            return
        for path in sorted((root / "requirements").glob("*.txt")):
            before, now = _locked(path), _locked(copy / "requirements" / path.name)
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    yield (
                        f"requirements/{path.name}: {name} is {before.get(name, 'absent')}, "
                        f"and make lock makes it {now.get(name, 'absent')}"
                    )


def _locked(path: Path) -> dict[str, str]:
    """Names and versions, with their markers: one name may stand there twice."""
    lines = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))?(?: \\)?$", path.read_text(), re.M)
    return {f"{name} ; {marker}" if marker else name: version for name, version, marker in lines}


def _git(root: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout
