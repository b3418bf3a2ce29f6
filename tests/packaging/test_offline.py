"""The offline bundle and its installer: the real corral, with this environment's libraries lent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.support.engine_packs import real_pack
from tests.support.gguf_files import tiny_llama
from tests.support.scripts import PACKAGING, script
from tests.support.wheels import wheel

import corral
from corral.models.catalog import find_catalogue

EPOCH = "1795219200"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
bundle = script("offline/bundle.py")

needs_sh = pytest.mark.skipif(os.name != "posix", reason="it is the installer for sh")
pytestmark = needs_sh

SHELLS = {
    os.path.realpath(found): pytest.param([found, *arguments], id=name)
    for name, arguments in (("sh", []), ("dash", []), ("busybox", ["sh"]))
    if (found := shutil.which(name))
}.values()
"""sh is often one of the others."""


def installable(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    return wheel(
        folder, name, version,
        headers="License: MIT\n",
        files={**files, "{info}/WHEEL": WHEEL, "{info}/RECORD": "", "{info}/LICENSE": "MIT"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle; only uv in it is a program that does not run here, as on another system."""
    folder = tmp_path_factory.mktemp("bundle")
    source = Path(corral.__file__).parent
    # The command line alone is quicker to install.
    files = {
        f"corral/{path.relative_to(source).as_posix()}": path.read_text(encoding="utf-8")
        for path in source.rglob("*")
        if path.is_file() and not {"__pycache__", "tui"} & set(path.parts)
    }
    files["corral/models.toml"] = find_catalogue().read_text(encoding="utf-8")
    files["{info}/entry_points.txt"] = "[console_scripts]\ncorral = corral.__main__:main\n"
    wheels = folder / "wheels"
    installable(wheels, "corral", corral.__version__, files)
    lent = {"borrowed.pth": sysconfig.get_paths()["purelib"] + "\n"}
    installable(wheels, "llama-cpp-python", "0.3.36", lent)
    uv = installable(folder / "uv", "uv", "0.0.1", {"uv-0.0.1.data/scripts/uv": "#!/bin/false\n"})
    (folder / "licence").mkdir()
    (folder / "licence" / "LICENSE").write_text("Do what you like.")
    model = tiny_llama(folder / "tiny.gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        bundle.make(
            folder / bundle.name(), wheels, uv,
            locks=[], pythons=[bundle.wheelhouse.MINOR],
            packs=[real_pack(folder / "packs")],
            models=[bundle.model(model, folder / "licence")],
        )  # fmt: skip
    return Path(folder / bundle.name())


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """One that may be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "bundle", copy_function=os.link))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "préfix ü"


def run(folder: Path, *arguments: str, shell: list[str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [*(shell or ["sh"]), str(folder / "install.sh"), *arguments],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
        env={**os.environ, "LC_ALL": "C", "PIP_INDEX_URL": "http://127.0.0.1:9/"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def mend_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    bundle.sums.write(folder)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


# --- what is in it --------------------------------------------------------------------------------


def test_the_sums_cover_every_other_file_in_the_order_of_c(made: Path) -> None:
    lines = (made / "SHA256SUMS").read_text().splitlines()
    names = [line[66:] for line in lines]
    assert names == sorted(names, key=str.encode)
    there = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert set(names) == there - {"SHA256SUMS"} and "MANIFEST.json" in names
    for line in lines:
        assert hashlib.sha256((made / line[66:]).read_bytes()).hexdigest() == line[:64]


def test_the_manifest_and_the_bill_of_materials_tell_what_it_is(made: Path) -> None:
    about = json.loads((made / "MANIFEST.json").read_text())
    assert about["version"] == corral.__version__ and about["built"] == int(EPOCH)
    assert about["pythons"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert about["engine"]["llama_cpp"] and len(about["packs"]) == 1
    assert about["files"]["install.sh"] == (made / "install.sh").stat().st_size
    bill = (made / "sbom.cdx.json").read_text()
    for part in ("llama-cpp-python", "uv", "tiny.gguf", *about["packs"]):
        assert part in bill
    assert [path for path in (made / "licenses").rglob("*") if "uv-0.0.1" in str(path)]
    lock = (made / "requirements.lock").read_text()
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\n", lock)) == 2
    assert os.access(made / "install.sh", os.X_OK) and os.access(made / "bin" / "uv", os.X_OK)


def test_the_same_input_gives_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    above = made.parent
    again = tmp_path / made.name
    bundle.make(
        again, above / "wheels", next((above / "uv").glob("*.whl")),
        locks=[], pythons=[bundle.wheelhouse.MINOR], packs=list((above / "packs").iterdir()),
        models=[bundle.model(above / "tiny.gguf", above / "licence")],
    )  # fmt: skip
    assert (again / "SHA256SUMS").read_text() == (made / "SHA256SUMS").read_text()
    digests = set()
    for number, folder in enumerate((made, again)):
        for path in (small := folder / "share").rglob("*"):
            os.utime(path, (number, number))
        packed = tmp_path / str(number) / "corral.zip"
        bundle.archive.pack_zip(small, packed)
        digests.add(hashlib.sha256(packed.read_bytes()).hexdigest())
    assert len(digests) == 1
    with zipfile.ZipFile(packed) as archive:
        info = archive.getinfo("corral/applications/corral.desktop")
    assert info.external_attr >> 16 == 0o100644 and info.date_time[0] == 2026


def test_a_zip_takes_files_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.gguf").write_bytes(b"x" * 5000)
    bundle.archive.pack_zip(tmp_path / "made", tmp_path / "made.zip")
    with zipfile.ZipFile(tmp_path / "made.zip") as archive:
        assert archive.read("made/model.gguf") == b"x" * 5000


def test_no_model_goes_without_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama(tmp_path / "some.gguf")
    (tmp_path / "texts").mkdir()
    for texts in (None, tmp_path / "texts"):
        with pytest.raises(SystemExit, match=r"some.gguf has no licence"):
            bundle.model(model, texts)
    for file, texts in ((tmp_path / "no.gguf", None), (model, tmp_path / "nowhere")):
        with pytest.raises(SystemExit, match="is not there"):
            bundle.model(file, texts)
    (tmp_path / "texts" / "LICENSE.txt").write_text("text")
    assert [path.name for path in bundle.model(model, tmp_path / "texts").texts] == ["LICENSE.txt"]
    families = tomllib.loads(find_catalogue().read_text())["family"]
    known = next(one for one in families.values() if one["licence"] == "llama2")["files"][0]
    monkeypatch.setattr(bundle.sums, "sha256", lambda path: known["sha256"])
    with pytest.raises(SystemExit, match=r"wants beside some.gguf: Notice, USE_POLICY.md"):
        bundle.model(model, tmp_path / "texts")


def test_a_pack_that_is_not_whole_is_refused(made: Path, tmp_path: Path) -> None:
    pack = shutil.copytree(
        next((made / "engines").iterdir()), tmp_path / next((made / "engines").iterdir()).name
    )
    next(Path(pack).glob("libggml*")).unlink()
    with pytest.raises(SystemExit, match="is missing"):
        list(bundle._packs([Path(pack)], tmp_path / "out"))


def test_the_lock_is_read_for_another_python() -> None:
    text = (PACKAGING.parent / "requirements" / "app.txt").read_text()
    found = {}
    for python in ("3.11", "3.13"):
        lines = "".join(bundle.wheelhouse._for_python(text, python))
        found[python] = re.findall(r"^numpy==(\S+) \\\n    --hash", lines, re.MULTILINE)
        assert ";" not in lines and "emscripten" not in lines
    assert len(found["3.11"]) == len(found["3.13"]) == 1 and found["3.11"] != found["3.13"]


def test_a_portable_wheel_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = script("engine/wheel.py")
    _, sets = engine.flagsets()
    portable = engine.key(sets["cpu-avx2"]["cmake"])
    native = engine.key()
    one_processor = engine.key(sets["cpu-native"]["cmake"])
    assert len({portable, native, one_processor, engine.key(sets["cpu-baseline"]["cmake"])}) == 4
    monkeypatch.setattr(engine, "processor_flags", lambda: "another processor")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    assert engine.key(sets["cpu-avx2"]["cmake"]) == portable and engine.key() != native
    assert engine.key(sets["cpu-native"]["cmake"]) != one_processor


# --- installing -----------------------------------------------------------------------------------


def test_both_installers_are_plain_and_know_the_same_index() -> None:
    texts = {name: (PACKAGING / name).read_text("utf-8") for name in ("install.sh", "install.ps1")}
    indexes = {re.search(r"https://[^'}\s]+/whl", text)[0] for text in texts.values()}  # type: ignore[index]
    assert len(indexes) == 1
    sets = [re.search(r"(?i)cuda_?indexes ?= ?'?([\d, ]+)", text) for text in texts.values()]
    assert len({tuple(re.findall(r"\d+", found[1])) for found in sets if found}) == 1
    assert texts["install.ps1"].isascii(), "Windows PowerShell reads it as it likes"
    for opening, closing in ("{}", "()", "[]"):
        assert texts["install.ps1"].count(opening) == texts["install.ps1"].count(closing)
    if checker := shutil.which("shellcheck"):
        done = subprocess.run(
            [checker, "-s", "sh", str(PACKAGING / "install.sh")], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_bundle_that_is_not_as_it_was_is_refused(
    copy: Path, prefix: Path, shell: list[str]
) -> None:
    goes = ["--dry-run", "--prefix", str(prefix)]
    code, said = run(copy, *goes, shell=shell)
    assert code == 0 and f"{prefix}/bin/corral" in said and "tiny" in said, said
    assert not prefix.exists()
    (copy / ".DS_Store").touch()
    assert run(copy, *goes, shell=shell)[0] == 0
    (copy / "wheels" / "more.whl").touch()
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and "does not belong to this bundle: wheels/more.whl\n" in said
    (copy / "wheels" / "more.whl").unlink()
    (copy / "engines" / "away").symlink_to("/etc")
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and "does not belong to this bundle: engines/away\n" in said
    (copy / "engines" / "away").unlink()
    (own,) = (copy / "wheels").glob("corral-*.whl")
    content = bytearray(own.read_bytes())
    content[100] ^= 1
    replace(own, bytes(content))
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and f"This bundle is damaged: wheels/{own.name}\n" in said
    own.unlink()
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and f"This bundle is not whole: wheels/{own.name} is missing\n" in said
    mend_sums(copy)
    listed = (copy / "SHA256SUMS").read_bytes().rstrip()
    last = copy / listed.rpartition(b"  ")[2].decode()
    replace(last, last.read_bytes() + b"more")
    replace(copy / "SHA256SUMS", listed)
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and "This bundle is damaged: " in said, "its last line has no end"
    replace(copy / "SHA256SUMS", f"{'0' * 64}  ../outside\n".encode())
    code, said = run(copy, *goes, shell=shell)
    assert code == 7 and "lists ../outside" in said and "Traceback" not in said


def test_what_the_lock_does_not_hold_is_not_installed(copy: Path, prefix: Path) -> None:
    """Somebody who changed a wheel, and its sum with it."""
    (own,) = (copy / "wheels").glob("corral-*.whl")
    replace(own, own.read_bytes())
    with zipfile.ZipFile(own, "a") as archive:
        archive.writestr("corral/more.py", "")
    mend_sums(copy)
    code, said = run(copy, "--yes", "--prefix", str(prefix))
    assert code == 7 and "a wheel is not what requirements.lock says" in said, said
    assert not (prefix / "bin").exists() and not (prefix / "lib").exists()


def test_what_cannot_be_done_ends_in_one_plain_line(copy: Path, tmp_path: Path) -> None:
    code, said = run(copy, "--prefix", str(tmp_path / "p"))
    assert code == 2 and "corral: There is no terminal to ask on\n" in said
    (tmp_path / "file").touch()
    code, said = run(copy, "--yes", "--prefix", str(tmp_path / "file" / "p"))
    assert code == 1 and "Nothing was changed." in said and said.count("corral: ") == 1
    code, said = run(copy, "--yes", "--prefix", str(tmp_path / "p"), "--python", "/bin/false")
    assert code == 1 and "which is not here" in said
    (tmp_path / "p" / "bin").mkdir(parents=True)
    (tmp_path / "p" / "bin" / "corral").write_text("somebody's")
    code, said = run(copy, "--yes", "--prefix", str(tmp_path / "p"))
    assert code == 7 and "was not installed by this script" in said
    assert (tmp_path / "p" / "bin" / "corral").read_text() == "somebody's"
    (tmp_path / "p" / "bin" / "corral").unlink()
    (tmp_path / "p" / "bin" / "corral").mkdir()
    code, said = run(copy, "--yes", "--force", "--prefix", str(tmp_path / "p"))
    assert code == 7 and "bin/corral is a folder" in said
    (tmp_path / "p" / "bin" / "corral").rmdir()
    if sys.platform == "linux":
        entry = tmp_path / "p" / "share" / "applications" / "corral.desktop"
        entry.parent.mkdir(parents=True)
        entry.write_text("somebody's")
        code, said = run(copy, "--yes", "--prefix", str(tmp_path / "p"))
        assert code == 7 and f"{entry} is there and was not installed by" in said
        assert entry.read_text() == "somebody's"
    for wrong in (["--prefix"], ["--what"], ["--prefix", "/a/../b"]):
        assert run(copy, *wrong)[0] == 2
    code, said = run(copy, "--uninstall", "--yes", "--prefix", str(tmp_path / "p"))
    assert code == 3 and "Nothing is installed here" in said


def test_it_installs_again_tells_that_it_runs_and_goes_without_the_data(
    made: Path, prefix: Path, private_home: Path
) -> None:
    lib = prefix / "lib" / "corral"
    code, said = run(made, "--yes", "--prefix", str(prefix))
    assert code == 0 and f"is installed: {prefix}/bin/corral\n" in said, said
    first = os.readlink(prefix / "bin" / "corral")
    if sys.platform == "linux":
        entry = (prefix / "share" / "applications" / "corral.desktop").read_text()
        assert f'\nExec="{prefix}/bin/corral"\n' in entry
    models = private_home / "data" / "models" / "imported"
    assert sorted(path.name for path in models.iterdir()) == ["LICENSE", "tiny.gguf"]
    (pack,) = (private_home / "data" / "engines").iterdir()

    code, said = run(made, "--yes", "--prefix", str(prefix))
    assert code == 0, said
    environments = [path for path in lib.iterdir() if path.is_dir()]
    assert len(environments) == 1 and str(environments[0]) not in first, "the old one is gone"
    assert len(list(models.iterdir())) == 2, "and nothing came twice"
    receipt = (lib / "receipt").read_text()
    assert receipt.count(f"pack {pack}\n") == receipt.count(f"tree {environments[0]}\n") == 1

    remove = ("--uninstall", "--yes")
    with subprocess.Popen([str(prefix / "bin" / "corral"), "ask"], stdin=subprocess.PIPE) as asks:
        # A path with a space in it takes a shell before the interpreter.
        while str(environments[0]) not in " ".join(psutil.Process(asks.pid).cmdline()):
            time.sleep(0.02)
        for folder, arguments in ((lib, remove), (made, ("--yes", "--prefix", str(prefix)))):
            code, said = run(folder, *arguments)
            assert code == 7 and f"is running: process {asks.pid}\n" in said, said
        asks.kill()
    assert environments[0].is_dir()

    (lib / "receipt").write_text(receipt + f"file {private_home}/data/corral.db\n")
    code, said = run(lib, *remove)
    assert code == 7 and "it is not as it was written" in said and environments[0].is_dir()

    (lib / "receipt").write_text(receipt)
    (prefix / "share").mkdir(exist_ok=True)
    (prefix / "share" / "mine").write_text("not corral's")
    code, said = run(lib, *remove)
    assert code == 0 and f"  {private_home}/data\n" in said and said.endswith("is removed.\n")
    left = [path for path in prefix.rglob("*") if not path.is_dir()]
    assert left == [prefix / "share" / "mine"] and not lib.exists()
    assert not pack.exists() and (models / "tiny.gguf").is_file()
    assert (private_home / "data" / "corral.db").is_file()


def test_a_model_on_its_way_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = script("offline/extras.py")
    rows = [{"path": None, "sha256": "a"}, {"path": "/m/b.gguf", "sha256": "b"}]
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps(rows))
    monkeypatch.setattr(extras.subprocess, "run", lambda *_, **__: done)
    assert [extras._where(one) for one in "abc"] == [None, Path("/m/b.gguf"), None]


# --- alone ----------------------------------------------------------------------------------------


Alone = Callable[..., tuple[int, str]]


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    """With programs that note what they are asked: neither a driver nor an index is here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fakes = {
        "nvidia-smi": 'echo "| NVIDIA-SMI 550.54  Driver Version: 550.54  CUDA Version: 12.4 |"',
        "uname": '[ "$1" = -m ] && echo x86_64 || echo Linux',
        "uv": f'echo "$@" >>"{tmp_path}/told"; echo "${{UV_TOOL_DIR:--}}" >>"{tmp_path}/places"\n'
        f'[ "$2" != dir ] || echo "{tmp_path}/tools"\n'
        f'[ ! -e "{tmp_path}/missing" ]',
    }
    for name, text in fakes.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    shutil.copy(PACKAGING / "install.sh", tmp_path)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}

    def run(*arguments: str, script: str = "install.sh") -> tuple[int, str]:
        done = subprocess.run(
            ["sh", script, *arguments], cwd=tmp_path, env=environment, timeout=30,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_alone_it_tells_what_it_found_and_never_compiles_silently(
    alone: Alone, tmp_path: Path
) -> None:
    code, said = alone("--dry-run")
    assert code == 2 and "Which corral?" in said
    own = wheel(tmp_path, "corral", "9.9")
    code, said = alone("--dry-run")
    assert code == 0 and "an NVIDIA driver" in said and said.rstrip().endswith("/whl/cu124")
    assert own.name in said and not (tmp_path / "home").exists()
    code, said = alone("--dry-run", "--sha256", "0" * 64)
    assert code == 7 and "not what was promised" in said
    (tmp_path / "missing").touch()
    code, said = alone("--yes", "--accelerator", "vulkan")
    assert code == 1 and "corral was not installed" in said
    assert not (tmp_path / "home" / ".local" / "lib" / "corral").exists()
    told = (tmp_path / "told").read_text().splitlines()[-1]
    assert "/whl/vulkan --no-build-package llama-cpp-python" in told and told.endswith(str(own))
    (tmp_path / "missing").unlink()
    code, said = alone("--yes", "--index", "http://127.0.0.1:9/", "--compile")
    assert code == 0 and "compiled here" in said
    told = (tmp_path / "told").read_text().splitlines()[-1]
    assert "--index http://127.0.0.1:9/ " in told and "--no-build" not in told
    (tmp_path / "tools" / "corral").mkdir(parents=True)
    code, said = alone("--uninstall", "--yes")
    assert code == 0 and (tmp_path / "told").read_text().endswith("tool uninstall corral\n")
    assert not (tmp_path / "home" / ".local" / "lib" / "corral").exists()


def test_a_place_has_one_spelling(alone: Alone, tmp_path: Path) -> None:
    wheel(tmp_path, "corral", "9.9")
    assert alone("--yes", "--prefix", "./here/.")[0] == 0
    assert f"\nprefix {tmp_path}/here\n" in (tmp_path / "here/lib/corral/receipt").read_text()
    code, said = alone("--uninstall", "--yes", "--prefix", "here")
    assert code == 0 and not (tmp_path / "here" / "lib").exists(), said


def test_the_installer_that_was_kept_installs_where_it_did(alone: Alone, tmp_path: Path) -> None:
    wheel(tmp_path, "corral", "9.9")
    kept = tmp_path / "home/.local/lib/corral/install.sh"
    assert alone("--yes")[0] == 0
    assert alone("--yes", "--wheel", "corral-9.9-py3-none-any.whl", script=str(kept))[0] == 0
    assert f"\nenv {tmp_path}/tools/corral/\n" in (kept.parent / "receipt").read_text()
    assert (tmp_path / "places").read_text() == "-\n" * 4
    assert alone("--uninstall", "--yes")[0] == 0
    assert "uninstall" not in (tmp_path / "told").read_text(), "uv has none any more"
    assert not kept.exists()


def test_a_wheel_from_elsewhere_is_compared_before_it_is_installed(
    alone: Alone, tmp_path: Path
) -> None:
    """uv itself installs another one than the sha256 in a URL."""
    own = wheel(tmp_path / "a folder", "corral", "9.9")
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    lib = tmp_path / "home" / ".local" / "lib" / "corral"
    url = f"{(tmp_path / 'a folder').as_uri()}/{own.name}"
    code, said = alone("--yes", "--wheel", url, "--sha256", "0" * 64)
    assert code == 7 and "not what was promised" in said
    assert "install" not in (tmp_path / "told").read_text() and not lib.exists()
    (tmp_path / "missing").touch()
    code, said = alone("--yes", "--wheel", url, "--sha256", digest)
    assert code == 1 and not lib.exists()
    (tmp_path / "missing").unlink()
    code, said = alone("--yes", "--wheel", url, "--sha256", digest.upper())
    assert code == 0 and (tmp_path / "told").read_text().endswith(f" {lib}/{own.name}\n"), said
    assert alone("--uninstall", "--yes")[0] == 0 and not lib.exists()
    assert alone("--yes", "--wheel", f"a folder/{own.name}", "--sha256", digest)[0] == 0
    assert (tmp_path / "told").read_text().endswith(f" {own}\n")


def test_pipx_is_not_let_put_it_over_somebodys_program(alone: Alone, tmp_path: Path) -> None:
    """It is told --force, to install again, and would."""
    wheel(tmp_path, "corral", "9.9")
    (tmp_path / "bin" / "uv").unlink()
    pipx = tmp_path / "bin" / "pipx"
    pipx.write_text(
        f'#!/bin/sh\necho "$@" >>"{tmp_path}/told"\n'
        f'[ "$1" != environment ] || echo "{tmp_path}/$3"\n'
    )
    pipx.chmod(0o755)
    place = tmp_path / "PIPX_BIN_DIR" / "corral"
    place.parent.mkdir()
    place.write_text("somebody's")
    code, said = alone("--yes")
    assert code == 7 and f"{place} is there and was not installed" in said
    assert "--force" not in (tmp_path / "told").read_text()
    place.unlink()
    place.symlink_to(tmp_path / "PIPX_LOCAL_VENVS" / "corral" / "bin" / "corral")
    assert alone("--yes")[0] == 0
