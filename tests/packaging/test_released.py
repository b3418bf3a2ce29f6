"""What a release is built from, and what somebody who got it can check."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.support.scripts import PACKAGING, script
from tests.support.wheels import wheel

release = script("release.py")
sums = script("sums.py")
checks, signing, verifying = release.checks, release.signing, release.verifying

ROOT = PACKAGING.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release of this checkout: wheel and source archive, and a bill about them."""
    folder = tmp_path_factory.mktemp("release")
    work = tmp_path_factory.mktemp("work")
    for path in release.building.reproducible(work):
        shutil.copy(path, folder)
    name = f"corral-{release.product.VERSION}-{release.product.system()}.cdx.json"
    release.building.sbom.write(folder, folder / name)
    return folder


def test_the_wheel_is_the_same_from_checkout_and_source_archive(built: Path) -> None:
    """The fixture refuses another; here: what the archive has to hold beside that."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "corral/requirements/engine.txt" in archive.namelist()
    (sdist,) = built.glob("*.tar.gz")
    members = release.building._members(sdist)
    inside = {name.partition("/")[2] for name in members}
    if (ROOT / ".git").exists():
        tracked = checks._git(ROOT, "ls-files", "-z").decode().split("\0")[:-1]
        assert tracked and not set(tracked) - inside, "all that git has is in it"
    for name in ("Makefile", ".ci/run", "requirements/dev.txt", "docs/chat-dark.svg",
                 "tests/packaging/test_release.py", "packaging/release.py", "CHANGELOG.md",
                 ".github/workflows/test.yml"):  # fmt: skip
        assert name in inside, name
    assert not [name for name in inside if name.endswith(".pyc")]


def test_what_differs_between_two_builds_is_named(tmp_path: Path) -> None:
    for number in ("1", "2"):
        with zipfile.ZipFile(tmp_path / f"{number}.whl", "w") as archive:
            archive.writestr("same", "same")
            archive.writestr("other", number)
    assert release.building.differing(sorted(tmp_path.glob("*.whl"))) == "other"


# --- sums, sign, verify ---------------------------------------------------------------------------


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A release of one's own, with its sums."""
    out = tmp_path / "dist of mine"
    shutil.copytree(built, out)
    (out / f"corral_{release.product.VERSION}_amd64.deb").write_bytes(b"package")
    sums.write(out)
    return out


def problems(folder: Path, signers: Path | None = None) -> list[str]:
    return list(verifying.everything(folder, signers))


def test_sums_are_those_of_sha256sum(folder: Path) -> None:
    (folder / "Sub folder").mkdir()
    (folder / "Sub folder" / "ü").write_text("x")
    (folder / "a").write_text("x")
    (folder / "B").write_text("x")
    sums.write(folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    names = [line.partition("  ")[2] for line in lines]
    assert names == sorted(names, key=os.fsencode) and names[0] == "B"
    assert not list(sums.problems(folder))
    if checker := shutil.which("sha256sum"):
        subprocess.run([checker, "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_a_whole_release_is_one(folder: Path) -> None:
    assert problems(folder) == []


def test_a_flipped_byte_is_found_in_every_file(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        assert problems(folder), path.name
        path.write_bytes(content)
    assert problems(folder) == []


def test_a_missing_and_an_extra_file_are_named(folder: Path) -> None:
    (folder / "notes.txt").touch()
    next(folder.glob("*.deb")).unlink()
    found = problems(folder)
    assert "notes.txt is not in SHA256SUMS" in found
    assert any(line.endswith(".deb is missing") for line in found)
    sums.write(folder)
    lines = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  notes.txt\n{lines}")
    assert "SHA256SUMS says two things of notes.txt" in problems(folder)
    (folder / "SHA256SUMS").unlink()
    assert any("cannot be read" in line for line in problems(folder))


def test_what_sums_cannot_see_is_found(folder: Path) -> None:
    """Sums of wrong files are right sums: names, the wheel's RECORD, the bill."""
    (wheel,) = folder.glob("*.whl")
    (bill,) = folder.glob("*.cdx.json")
    (folder / "corral_9.9_amd64.deb").write_bytes(b"of another release")
    (folder / "engine-0.0.1-linux_x86_64-cpu-avx2.zip").write_bytes(b"of another engine")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("corral/more.py", "import os")
    sums.write(folder)
    found = "\n".join(problems(folder))
    assert "corral_9.9_amd64.deb is of 9.9" in found
    assert "engine-0.0.1-linux_x86_64-cpu-avx2.zip is of 0.0.1" in found
    assert "corral/more.py is not what its RECORD says" in found
    assert f"{bill.name} has another hash of {wheel.name}" in found
    bill.write_text(json.dumps({"metadata": {}}))
    next(folder.glob("*.tar.gz")).write_bytes(b"no archive")
    sums.write(folder)
    found = "\n".join(problems(folder))
    assert f"{bill.name} is no bill of materials" in found and ".tar.gz cannot be read" in found


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_wheel_that_is_two_or_another_one_is_found(folder: Path) -> None:
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("corral/__init__.py", archive.read("corral/__init__.py"))
    sums.write(folder)
    assert f"{path.name} has corral/__init__.py more than once" in problems(folder)
    shutil.copy(wheel(folder.parent, "other", "1.0"), path)
    sums.write(folder)
    assert f"{path.name} is a wheel of other" in problems(folder)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "a key")


def new_key(path: Path) -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not here")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def test_a_signature_holds_for_its_key_and_its_sums(
    folder: Path, key: Path, tmp_path: Path
) -> None:
    signers, others = tmp_path / "allowed signers", tmp_path / "others"
    signers.write_text(signing.sign(folder, key) + "\n")
    assert problems(folder, signers) == [] and problems(folder) == []
    assert "nobody vouches" in signing.check(folder, None)

    others.write_text(signing.sign(folder, new_key(tmp_path / "another key")) + "\n")
    (found,) = problems(folder, signers)
    assert "SHA256SUMS.sig is not good" in found
    assert problems(folder, others) == []

    (folder / "notes.txt").write_text("a file that was put there later")
    sums.write(folder)
    assert any("SHA256SUMS.sig is not good" in line for line in problems(folder))
    (folder / "SHA256SUMS.sig").unlink()
    assert problems(folder) == []
    assert problems(folder, signers) == ["SHA256SUMS.sig is missing"]


def test_a_signature_for_something_else_is_none(folder: Path, key: Path, tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    signers.write_text(signing.sign(folder, key).replace('namespaces="corral" ', "") + "\n")
    (folder / "SHA256SUMS.sig").unlink()
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "file"]
    subprocess.run([*command, str(folder / "SHA256SUMS")], check=True, capture_output=True)
    assert problems(folder, signers) and problems(folder)


def test_without_a_key_nothing_is_left(
    folder: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signing.sign(folder, key)
    release.sign(release.argparse.Namespace(folder=folder, key=None))
    assert capsys.readouterr().out.startswith("not signed")
    assert not (folder / "SHA256SUMS.sig").exists()
    with pytest.raises(signing.SigningError):
        signing.sign(folder, folder / "SHA256SUMS")
    assert not (folder / "SHA256SUMS.sig").exists()
