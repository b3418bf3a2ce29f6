"""What Homebrew, scoop, winget and macOS are told of a release; none of them is here to read it."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import plistlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.scripts import PACKAGING, script

import corral
from corral import program

yaml: Any = importlib.import_module("yaml")  # comes with the hub's library

VERSION = corral.__version__
HOSTS = re.compile(r"^https://\S+$")


def tar_of(path: Path, inside: str) -> None:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(inside)
        info.size, info.mode = len(path.name), 0o755
        archive.addfile(info, io.BytesIO(path.name.encode()))


def zip_of(path: Path, inside: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(inside, path.name)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Small files under the names that a release has."""
    folder = tmp_path / "a release"
    folder.mkdir()
    for system in ("darwin-arm64", "darwin-x86_64", "linux-x86_64"):
        name = f"corral-{VERSION}-{system}"
        tar_of(folder / f"{name}.tar.gz", f"{name}/corral")
    zip_of(folder / f"corral-{VERSION}-windows-amd64.zip", "corral.exe")
    tar_of(folder / f"corral-{VERSION}-linux-x86_64-offline.tar.gz", "install.sh")
    for name in (
        f"corral-{VERSION}-py3-none-any.whl",
        f"corral-{VERSION}.tar.gz",
        f"corral_{VERSION}_amd64.deb",
        "engine-0.3.36-linux_x86_64-cpu-avx2.zip",
        "corral.spdx.json",
    ):
        (folder / name).write_text(name)
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PACKAGING / "channels.py"), *map(str, arguments)],
        capture_output=True, text=True, timeout=60,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1795219200"},
    )  # fmt: skip


@pytest.fixture
def made(release: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    done = run(*release.iterdir(), "--out", out)
    assert done.returncode == 0, done.stderr
    assert sorted(map(Path, done.stdout.splitlines())) == sorted(
        path for path in out.rglob("*") if path.is_file()
    )
    return out


def test_the_formula_names_the_files_as_they_are(made: Path, release: Path) -> None:
    text = (made / "homebrew" / "corral.rb").read_text(encoding="utf-8")
    assert "@" not in text
    found = re.findall(r'url "(\S+)"\n +sha256 "([0-9a-f]{64})"', text)
    assert len(found) == 3
    for url, digest in found:
        assert HOSTS.match(url) and f"/v{VERSION}/" in url
        assert digest == sha256(release / url.rpartition("/")[2])
    blocks = {
        block: re.findall(r"on_(arm|intel) do\n +url \S+/corral-[^-]+-(\S+)\.tar\.gz", inside)
        for block, inside in re.findall(r"^  (on_\w+) do\n(.*?)^  end$", text, re.M | re.S)
    }
    assert blocks == {
        "on_macos": [("arm", "darwin-arm64"), ("intel", "darwin-x86_64")],
        "on_linux": [("intel", "linux-x86_64")],
    }
    assert f'version "{VERSION}"' in text
    # What it runs as its test, and for completions, is there.
    from corral.cli.tree import whole

    paths = {command.path for command in whole().all()}
    assert {("completion",), ("history", "list")} <= paths


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not here")
def test_the_formula_is_ruby(made: Path) -> None:
    done = subprocess.run(
        ["ruby", "-wc", str(made / "homebrew" / "corral.rb")],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


def test_scoop_gets_the_program_and_finds_the_next_one(made: Path, release: Path) -> None:
    told = json.loads((made / "scoop" / "corral.json").read_text(encoding="utf-8"))
    place = told["architecture"]["64bit"]
    name = place["url"].rpartition("/")[2]
    assert told["version"] == VERSION and HOSTS.match(place["url"])
    assert place["hash"] == sha256(release / name)
    with zipfile.ZipFile(release / name) as archive:
        assert told["bin"] in archive.namelist()
    assert told["shortcuts"] == [["corral.exe", "corral", program.OPENED]]
    newer = told["autoupdate"]["architecture"]["64bit"]["url"]
    assert newer.replace("$version", VERSION) == place["url"] and VERSION not in newer


def test_the_three_files_of_winget_say_what_their_schemas_want(made: Path, release: Path) -> None:
    files = sorted((made / "winget").iterdir())
    told = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    name = files[0].name.partition(".installer")[0]
    assert re.fullmatch(r"[^.\s\\/:*?\"<>|]{1,32}(\.[^.\s\\/:*?\"<>|]{1,32}){1,7}", name)
    assert list(told) == [f"{name}.installer.yaml", f"{name}.locale.en-US.yaml", f"{name}.yaml"]
    kinds = dict(zip(told, ("installer", "defaultLocale", "version"), strict=True))
    for file, values in told.items():
        assert values["PackageIdentifier"] == name and values["PackageVersion"] == VERSION
        assert values["ManifestType"] == kinds[file] and values["ManifestVersion"] == "1.10.0"
        first = (made / "winget" / file).read_text(encoding="utf-8").splitlines()[0]
        assert first.endswith(f"winget-manifest.{kinds[file]}.1.10.0.schema.json")
    installer, words, version = told.values()
    assert version["DefaultLocale"] == words["PackageLocale"] == "en-US"
    (one,) = installer["Installers"]
    package = one["InstallerUrl"].rpartition("/")[2]
    assert one["Architecture"] == "x64" and HOSTS.match(one["InstallerUrl"])
    assert one["InstallerSha256"] == sha256(release / package).upper()
    with zipfile.ZipFile(release / package) as archive:
        nested = [file["RelativeFilePath"] for file in installer["NestedInstallerFiles"]]
        assert nested == ["corral.exe"] and nested[0] in archive.namelist()
    assert installer["ReleaseDate"] == "2026-11-21"
    assert installer["ArchiveBinariesDependOnPath"] is True
    limits = {"Publisher": 256, "PackageName": 256, "License": 512, "ShortDescription": 256,
              "Description": 10_000, "Moniker": 40}  # fmt: skip
    for key, most in limits.items():
        assert 2 <= len(words[key]) <= most, key
    assert len(words["Tags"]) <= 16 and len(set(words["Tags"])) == len(words["Tags"])
    assert all(isinstance(tag, str) and 1 <= len(tag) <= 40 for tag in words["Tags"])
    assert all(HOSTS.match(words[key]) for key in words if key.endswith("Url"))


@pytest.mark.parametrize(
    "value", ["yes", "1.10", "2026-11-21", "a: b # c", "- x", "'\"\\", "ü–\u2028", "@x", "", "~"]
)
def test_nothing_in_a_value_means_anything_to_yaml(value: str) -> None:
    write = script("windows/manifests.py")._manifest
    values = {"A": value, "B": [value, {"C": value, "D": {"E": value}}], "F": True}
    read = yaml.safe_load(write("version", values))
    assert read == {**values, "ManifestType": "version", "ManifestVersion": "1.10.0"}


def test_the_same_release_gives_the_same_files(made: Path, release: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert run(*sorted(release.iterdir(), reverse=True), "--out", again).returncode == 0
    files = [path for path in made.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert (again / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_one_channel_needs_only_its_files(release: Path, tmp_path: Path) -> None:
    package = release / f"corral-{VERSION}-windows-amd64.zip"
    done = run(package, "--out", tmp_path / "out", "--only", "scoop")
    assert done.returncode == 0
    assert [path.name for path in tmp_path.rglob("*.*") if "out" in path.parts] == ["corral.json"]


# --- what is refused ------------------------------------------------------------------------------


def another_version(folder: Path) -> str:
    (folder / "corral-9.9.9-py3-none-any.whl").touch()
    return f"corral-9.9.9-py3-none-any.whl is of version 9.9.9, and this is {VERSION}"


def another_deb(folder: Path) -> str:
    (folder / "corral_0.0.9_amd64.deb").touch()
    return "corral_0.0.9_amd64.deb is of version 0.0.9"


def another_engine(folder: Path) -> str:
    (folder / "engine-0.3.35-linux_x86_64-cpu-avx2.zip").touch()
    return "is for llama-cpp-python 0.3.35, not 0.3.36"


def nothing_for_a_mac(folder: Path) -> str:
    (folder / f"corral-{VERSION}-darwin-arm64.tar.gz").unlink()
    return "homebrew needs the portable program for darwin-arm64"


def nothing_for_windows(folder: Path) -> str:
    (folder / f"corral-{VERSION}-windows-amd64.zip").unlink()
    return "scoop needs the portable program for windows-amd64"


def another_hash(folder: Path) -> str:
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines))
    name = f"corral-{VERSION}-linux-x86_64.tar.gz"
    tar_of(folder / name, f"corral-{VERSION}-linux-x86_64/corral ")
    return f"{name} is not what SHA256SUMS says"


def not_in_the_list(folder: Path) -> str:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ./another\n")
    return "is not what SHA256SUMS says"


def no_program(folder: Path) -> str:
    zip_of(folder / f"corral-{VERSION}-windows-amd64.zip", "corral/corral.exe")
    return f"corral-{VERSION}-windows-amd64.zip has no corral.exe in it"


def no_archive(folder: Path) -> str:
    path = folder / f"corral-{VERSION}-darwin-arm64.tar.gz"
    path.write_bytes(path.read_bytes()[:40])
    return f"{path.name} cannot be unpacked: "


def another_machine(folder: Path) -> str:
    (folder / f"corral-{VERSION}-linux-m68k.tar.gz").touch()
    return f"corral-{VERSION}-linux-m68k.tar.gz is for a machine that no channel"


def no_file(folder: Path) -> str:
    (folder / "gone").symlink_to("nowhere")
    return "gone is not there"


@pytest.mark.parametrize(
    "damage",
    [another_version, another_deb, another_engine, nothing_for_a_mac, nothing_for_windows,
     another_hash, not_in_the_list, no_program, no_archive, another_machine,
     no_file],
)  # fmt: skip
def test_what_does_not_agree_is_refused_in_one_line(
    damage: Callable[[Path], str], release: Path, tmp_path: Path
) -> None:
    said = damage(release)
    done = run(*release.iterdir(), "--out", tmp_path / "out")
    assert done.returncode == 1 and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_a_list_of_sums_that_agrees_is_no_hindrance(release: Path, tmp_path: Path) -> None:
    lines = [f"{sha256(path)}  ./{path.name}\n" for path in release.iterdir()]
    (release / "SHA256SUMS").write_text("".join(lines))
    (release / "SHA256SUMS.sig").write_text("It holds the list, not the list it.")
    done = run(*release.iterdir(), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_the_list_beside_a_file_counts_without_being_named(release: Path, tmp_path: Path) -> None:
    package = release / f"corral-{VERSION}-windows-amd64.zip"
    (release / "SHA256SUMS").write_text(f"{'0' * 64}  {package.name}\n")
    done = run(package, "--out", tmp_path / "out", "--only", "scoop")
    assert done.returncode == 1 and f"{package.name} is not what SHA256SUMS says" in done.stderr


# --- the app for macOS ----------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Path:
    made: Path = script("macos/build_app.py").build(tmp_path / "Ünter lagen")
    return made


def shell(path: Path, home: Path, *, programs: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(path)], input="\n", capture_output=True, text=True, timeout=20,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home)},
    )  # fmt: skip


def fake(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{folder.name}/{name} $* in $PWD"\n')
    (folder / name).chmod(0o755)


def test_macos_can_read_what_the_app_says(app: Path) -> None:
    with (app / "Contents" / "Info.plist").open("rb") as file:
        told = plistlib.load(file)
    assert told["CFBundleShortVersionString"] == told["CFBundleVersion"] == VERSION
    assert re.fullmatch(r"[A-Za-z0-9.-]+", told["CFBundleIdentifier"])
    started = app / "Contents" / "MacOS" / told["CFBundleExecutable"]
    assert started.stat().st_mode & 0o111
    for path in (started, app / "Contents" / "Resources" / "corral.command"):
        assert "@" not in path.read_text().replace('"$@"', "")
        assert subprocess.run(["sh", "-n", str(path)], timeout=20).returncode == 0


def test_the_app_opens_a_terminal_with_corral(app: Path, tmp_path: Path) -> None:
    home, programs = tmp_path / "home", tmp_path / "programs"
    home.mkdir()
    fake(programs, "open")
    done = shell(app / "Contents" / "MacOS" / "corral", home, programs=programs)
    assert done.stdout.startswith(f"programs/open {app}/Contents/Resources/corral.command in ")
    command = app / "Contents" / "Resources" / "corral.command"
    lacking = shell(command, home, programs=programs)
    assert lacking.returncode == 2 and "corral is not installed" in lacking.stdout
    fake(home / ".local" / "bin", "corral")
    installed = shell(command, home, programs=programs)
    assert installed.stdout == f"bin/corral {program.OPENED} in {home}\n"
    fake(app / "Contents" / "Resources" / "corral", "corral")
    own = shell(command, home, programs=programs)
    assert own.stdout == f"corral/corral {program.OPENED} in {home}\n"


@pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="rsvg-convert is not here")
def test_the_icon_holds_a_picture_of_every_size(app: Path) -> None:
    data = (app / "Contents" / "Resources" / "corral.icns").read_bytes()
    assert data[:4] == b"icns" and struct.unpack(">I", data[4:8])[0] == len(data)
    sizes, at = {}, 8
    while at < len(data):
        kind, length = struct.unpack(">4sI", data[at : at + 8])
        picture = data[at + 8 : at + length]
        assert picture.startswith(b"\x89PNG\r\n\x1a\n") and picture.endswith(b"IEND\xaeB`\x82")
        sizes[kind] = struct.unpack(">II", picture[16:24])
        at += length
    assert sizes[b"ic07"] == (128, 128) and sizes[b"ic10"] == (1024, 1024) and len(sizes) == 8
    with (app / "Contents" / "Info.plist").open("rb") as file:
        assert plistlib.load(file)["CFBundleIconFile"] == "corral.icns"


def test_without_a_drawing_program_the_app_has_no_icon_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = script("macos/build_app.py").build(tmp_path, renderer="no-such-program")
    assert "no-such-program is not here: the app has no icon" in capsys.readouterr().err
    with (app / "Contents" / "Info.plist").open("rb") as file:
        assert "CFBundleIconFile" not in plistlib.load(file)
    assert not list(app.rglob("*.icns"))
    with pytest.raises(SystemExit, match="is there already"):
        script("macos/build_app.py").build(tmp_path)
    with pytest.raises(SystemExit, match="has no program corral in it"):
        script("macos/build_app.py").build(tmp_path / "other", tmp_path)


def test_the_zip_file_keeps_what_can_be_run_and_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795219200")
    frozen = tmp_path / "frozen"
    fake(frozen, "corral")
    (frozen / "Python").symlink_to("Python.framework/Python")
    module, archive = script("macos/build_app.py"), script("archive.py")
    digests = set()
    for number in "12":
        module.build(tmp_path / number, frozen, renderer="none")
        packed = tmp_path / f"{number}.zip"
        archive.pack_zip(tmp_path / number, packed, below=False)
        digests.add(sha256(packed))
    assert len(digests) == 1
    with zipfile.ZipFile(packed) as read:
        modes = {info.filename: info.external_attr >> 16 for info in read.infolist()}
        inside = "corral.app/Contents/Resources/corral"
        assert read.read(f"{inside}/Python") == b"Python.framework/Python"
    assert modes[f"{inside}/Python"] == 0o120777
    assert modes[f"{inside}/corral"] == modes["corral.app/Contents/MacOS/corral"] == 0o100755
    assert modes["corral.app/Contents/Info.plist"] == 0o100644


# --- the Start menu -------------------------------------------------------------------------------


def test_the_shortcut_starts_what_there_is() -> None:
    """PowerShell is not here: only what can be seen without it."""
    text = (PACKAGING / "windows" / "shortcut.ps1").read_bytes().decode("ascii")
    assert f'"{{0}}" {program.OPENED}' in text
    code = re.sub(r"'[^'\n]*'|#[^\n]*", "", text)
    for opening, closing in ("{}", "()", "[]"):
        assert code.count(opening) == code.count(closing), opening
    assert text.index("wt.exe") < text.index("conhost.exe")
