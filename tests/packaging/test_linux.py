"""What a Linux desktop gets: entry, icon, manual page, AppStream data, and the .deb around it."""

from __future__ import annotations

import configparser
import gzip
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.support.scripts import PACKAGING, script

import corral
from corral.cli import manual
from corral.cli.tree import whole
from corral.models.catalog import find_catalogue
from corral.tui import slash
from corral.tui.keys import KEYS

LINUX = PACKAGING / "linux"
EPOCH = "1795219200"


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A share folder, written by the script as a person would run it."""
    folder = tmp_path_factory.mktemp("prefix") / "share"
    subprocess.run(
        [sys.executable, str(LINUX / "share.py"), str(folder)],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        timeout=60,
    )
    return folder


def test_the_desktop_entry_is_one(share: Path) -> None:
    path = share / "applications" / "corral.desktop"
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(path, encoding="utf-8")
    told = entry["Desktop Entry"]
    assert told["Type"] == "Application" and told["Terminal"] == "true"
    assert told["Exec"] == told["TryExec"] == told["Icon"] == "corral"
    assert told["Categories"] == "Utility;ConsoleOnly;"
    assert (share / "icons/hicolor/scalable/apps" / f"{told['Icon']}.svg").is_file()
    if checker := shutil.which("desktop-file-validate"):
        done = subprocess.run([checker, str(path)], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and not done.stdout + done.stderr


def test_the_icon_is_a_square_picture_that_fetches_nothing(share: Path) -> None:
    text = (share / "icons/hicolor/scalable/apps/corral.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.get("width") == root.get("height") == "128"
    assert "href" not in text and "<script" not in text and "<image" not in text


def test_the_appstream_data_names_what_is_installed(share: Path) -> None:
    (path,) = (share / "metainfo").glob("*.metainfo.xml")
    root = ET.parse(path).getroot()
    assert path.name == f"{root.findtext('id')}.metainfo.xml"
    assert root.findtext("launchable") == "corral.desktop"
    release = root.find("releases/release")
    assert release is not None and release.get("version") == corral.__version__
    assert release.get("date") == "2026-11-21"
    if checker := shutil.which("appstreamcli"):
        done = subprocess.run(
            [checker, "validate", "--no-net", str(path)],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def page(share: Path) -> str:
    return gzip.decompress((share / "man/man1/corral.1.gz").read_bytes()).decode("ascii")


def test_the_manual_page_tells_every_command_option_key_and_variable(page: str) -> None:
    plain = page.replace("\\-", "-").replace("\\(dq", '"').replace("\n", " ")
    for command in whole().all():
        if command.path:
            assert f'.SS "corral {" ".join(command.path)}' in plain, command.path
        for option in command.options:
            for name in option.names:
                assert f"\\fB{name}\\fR" in plain, (command.path, name)
    assert page.count("\n.TP") > len(KEYS) + len(slash.COMMANDS)
    assert "Stop the answer, keep its text" in plain and "\\fB/preset NAME\\fR" in plain
    for line in (*manual.ENVIRONMENT, *manual.EXIT_CODES):
        assert f"\\fB{line.term}\\fR" in plain


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")
def test_the_manual_page_is_roff_without_a_warning(page: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"],
        input=page.encode(), capture_output=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    shown = done.stdout.decode()
    assert "--temperature" in shown and "Ctrl+↑" in shown and "~/.config/corral" in shown


def test_the_manual_page_cannot_be_made_to_obey_a_text() -> None:
    sys.path.insert(0, str(LINUX))
    page = script("linux/manual.py")
    assert page._text(".so /etc/passwd").startswith("\\&.so")
    assert page._text("\\fBbold") == "\\efBbold"
    lines = page._prose("word " * 15 + ".hidden " * 20).splitlines()
    assert len(lines) > 1 and not [line for line in lines if line.startswith((".", "'"))]


def test_the_same_program_gives_the_same_files(share: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(LINUX / "share.py"), str(tmp_path)],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": "7"},
        timeout=60,
    )
    files = [path for path in share.rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert (tmp_path / path.relative_to(share)).read_bytes() == path.read_bytes()


# --- the .deb -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of corral itself that borrows the libraries of this environment."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not here")
    folder = tmp_path_factory.mktemp("deb")
    site = folder / "site"
    ignore = shutil.ignore_patterns("__pycache__", "tui")  # the command line alone is quicker
    shutil.copytree(Path(corral.__file__).parent, site / "corral", ignore=ignore)
    shutil.copy(find_catalogue(), site / "corral" / "models.toml")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = str(Path(sys.executable).resolve())
    program = (
        f"import sys; sys.path.insert(0, {str(LINUX)!r})\n"
        "import deb, pathlib\n"
        f"site, out = pathlib.Path({str(site)!r}), pathlib.Path({str(folder)!r})\n"
        f"print(deb.build(site, out, python={python!r}, architecture='all'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True, text=True, timeout=120, umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_the_package_holds_what_it_should(deb: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "-c", str(deb)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = {line.split()[5].removeprefix("."): line.split() for line in listed}
    assert all(words[1] == "root/root" for words in names.values())
    modes = {words[0] for words in names.values()}
    assert modes <= {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}
    files = {name for name in names if not name.endswith("/")}
    outside = {name for name in files if not name.startswith(("/opt/corral/", "/usr/share/"))}
    assert outside == {"/usr/bin/corral"}
    assert names["/usr/bin/corral"][-1] == "/opt/corral/bin/corral"
    assert names["/opt/corral/bin/corral"][0] == "-rwxr-xr-x"
    assert "/usr/share/zsh/vendor-completions/_corral" in names
    assert "/usr/share/doc/corral/copyright" in names
    site = f"/opt/corral/lib/python3.{sys.version_info.minor}/site-packages/corral"
    assert f"{site}/__pycache__/__main__.cpython-3{sys.version_info.minor}.pyc" in names
    control = subprocess.run(
        ["dpkg-deb", "-f", str(deb)], capture_output=True, text=True, check=True
    ).stdout
    assert f"Version: {corral.__version__}\n" in control and "libgomp1" in control
    assert not [line for line in control.splitlines() if len(line) > 82]


def test_it_installs_runs_and_goes_again_under_another_root(
    deb: Path, tmp_path: Path, private_home: Path
) -> None:
    root = tmp_path / "root of another system"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/updates").mkdir()
    (root / "var/lib/dpkg/status").touch()
    path = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
    dpkg = ["dpkg", f"--root={root}", "--force-depends,not-root", "--log=/dev/null"]

    def do(*arguments: str) -> None:
        done = subprocess.run(
            [*dpkg, *arguments], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    do("-i", str(deb))
    do("-V", "corral")  # every file is as the package lists it
    command = [str(root / "opt/corral/bin/corral")]
    program = subprocess.run(
        [*command, "history", "list", "--json"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"},
    )  # fmt: skip
    assert program.returncode == 0 and program.stdout == "[]\n", program.stderr
    assert (private_home / "data" / "corral.db").is_file()
    written = [path for path in root.rglob("*.pyc") if b"root of another" in path.read_bytes()]
    assert not written, "nothing is compiled where it was installed"
    do("-r", "corral")
    assert not (root / "opt" / "corral").exists()
    assert (private_home / "data" / "corral.db").is_file(), "conversations are nobody's package"


def test_what_was_taken_away_is_not_listed_with_its_hash(tmp_path: Path) -> None:
    """pip notes from where a wheel came, and a RECORD would differ from one machine to the next."""
    info = tmp_path / "one-1.0.dist-info"
    info.mkdir()
    (info / "direct_url.json").write_text("{}")
    (tmp_path / "one, with a comma.py").write_text("")
    kept = '"one, with a comma.py",sha256=a,0\none-1.0.dist-info/RECORD,,\n'
    gone = "one-1.0.dist-info/direct_url.json,sha256=b,2\n../../bin/one,sha256=c,9\n"
    (info / "RECORD").write_text(gone + kept)
    sys.path.insert(0, str(LINUX))
    script("linux/deb.py").tidy(tmp_path)
    assert (info / "RECORD").read_text() == kept


def test_libraries_are_kept_once(tmp_path: Path) -> None:
    sys.path.insert(0, str(LINUX))
    folder = tmp_path / "llama_cpp" / "lib"
    folder.mkdir(parents=True)
    for name in ("libllama.so", "libllama.so.0", "libllama.so.0.5.0"):
        (folder / name).write_bytes(b"the same")
    (folder / "libggml.so").write_bytes(b"another")
    (tmp_path / "lib").mkdir()
    script("linux/deb.py").tidy(tmp_path)
    links = {path.name: os.readlink(path) for path in folder.iterdir() if path.is_symlink()}
    assert links == {"libllama.so": "libllama.so.0.5.0", "libllama.so.0": "libllama.so.0.5.0"}
    assert stat.S_ISREG((folder / "libggml.so").lstat().st_mode)
    assert not (tmp_path / "lib").exists()
