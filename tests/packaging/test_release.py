"""What has to be so before a release, and how a version is rolled, on repositories made here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.scripts import PACKAGING, script

release = script("release.py")
changelog, checks, rolling = release.changelog, release.checks, release.rolling

ROOT = PACKAGING.parent
SAYING = ("pyproject.toml", "app/corral/__init__.py", "CHANGELOG.md", "README.md",
          "packaging/engine/flags.toml", "requirements/engine.in",
          "requirements/engine.txt")  # fmt: skip

# --- check ----------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of this checkout that say a version, in a repository of their own."""
    root = tmp_path / "checkout"
    for name in SAYING:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    return root


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def test_the_versions_of_this_checkout_agree() -> None:
    assert not list(checks.versions(ROOT))


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("app/corral/__init__.py", '"0.', '"9.', "__init__.py says 9"),
        ("CHANGELOG.md", "## 0.", "## 9.", "CHANGELOG.md says 9"),
        ("README.md", "corral_0.", "corral_9.", "README.md names a file of 9"),
        ("packaging/engine/flags.toml", 'binding = "0', 'binding = "9', "flags.toml is for"),
        ("requirements/engine.in", "==0", "==9", "engine.in is for llama-cpp-python 9"),
        ("requirements/engine.txt", "==0", "==9", "engine.txt is for llama-cpp-python 9"),
        ("pyproject.toml", "python==0", "python>=0", "pins no exact version"),
    ],
)
def test_a_version_of_its_own_is_named(
    checkout: Path, name: str, before: str, after: str, told: str
) -> None:
    assert not list(checks.versions(checkout))
    edit(checkout / name, before, after)
    assert any(told in line for line in checks.versions(checkout))


def test_appstream_data_that_is_not_written_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.subprocess, "run", lambda *_args, **_more: None)
    assert list(checks.desktop(checkout)) == ["packaging/linux/share.py writes no AppStream data"]


def test_what_is_not_committed_is_named(checkout: Path) -> None:
    assert not list(checks.clean(checkout))
    (checkout / "new file").touch()
    edit(checkout / "CHANGELOG.md", "# Changelog", "# Changes")
    assert len(list(checks.clean(checkout))) == 2


def test_a_tag_is_the_version_with_its_date(checkout: Path) -> None:
    changes = checkout / "CHANGELOG.md"
    version = rolling.version_in(checkout, "pyproject.toml")
    changes.write_text(f"# Changelog\n\n## {version}, not yet released\n\n- a\n")
    assert next(checks.tagged(checkout, "v99.0")).startswith("the tag is v99.0")
    assert "no date" in next(checks.tagged(checkout, f"v{version}"))
    edit(changes, "not yet released", "2026-11-21")
    assert not list(checks.tagged(checkout, f"v{version}"))
    edit(changes, "# Changelog\n", "# Changelog\n\n## Not yet released\n\n- b\n")
    assert "more than" in next(checks.tagged(checkout, f"v{version}"))


@pytest.mark.parametrize(
    "line",
    [
        "see https://py" + "pi.org/project/x",
        "url = files.python" + "hosted.org/packages",
        "registry.n" + "pmjs.org",
        "made in /ho" + "me/somebody/corral",
        "made in /Us" + "ers/somebody",
        "made in /ro" + "ot/corral",
        "C:\\Us" + "ers\\somebody",
    ],
)
def test_hosts_and_machines_are_found(checkout: Path, line: str) -> None:
    (checkout / "notes.md").write_text(f"first\n{line}\n")
    assert not list(checks.leaks(checkout)), "what git does not know is not delivered"
    git(checkout, "add", "-A")
    (found,) = checks.leaks(checkout)
    assert found.startswith("notes.md:2 has a")


@pytest.mark.parametrize("line", ["~/home/x", "https://a.b/home/x", "py" + "pi.organic", "$HOME/x"])
def test_what_only_looks_so_is_not(checkout: Path, line: str) -> None:
    (checkout / "notes.md").write_text(line)
    git(checkout, "add", "-A")
    assert not list(checks.leaks(checkout))


def test_a_lock_is_compared_by_name_marker_and_version(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "one==1.0 \\\n    --hash=sha256:00\n"
        "two==2 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        "two==3 ; sys_platform != 'win32'\n"
    )
    assert checks._locked(path) == {
        "one": "1.0",
        "two ; sys_platform == 'win32'": "2",
        "two ; sys_platform != 'win32'": "3",
    }
    assert len(checks._locked(ROOT / "requirements" / "app.txt")) > 20


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_a_lock_that_make_would_change_is_stale(checkout: Path) -> None:
    """With a Makefile that asks no index; the real one is tried by hand at a release."""
    lock = checkout / "requirements" / "app.txt"
    lock.write_text("one==1.0\nkept==1.0\n")
    made = "printf 'one==2.0\\nkept==1.0\\nmore==1\\n' > requirements/app.txt"
    (checkout / "Makefile").write_text(f"lock: $(VENV)/.dev\n\t{made}\n")
    assert list(checks.lock(checkout)) == [
        "requirements/app.txt: more is absent, and make lock makes it 1",
        "requirements/app.txt: one is 1.0, and make lock makes it 2.0",
    ]
    assert lock.read_text().startswith("one==1.0"), "nothing here is written"
    (checkout / "Makefile").write_text("lock:\n\t@echo no index >&2; exit 1\n")
    assert "make lock failed" in next(checks.lock(checkout))


def test_the_steps_say_what_they_do() -> None:
    done = subprocess.run(
        [sys.executable, str(PACKAGING / "release.py"), "--help"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    for step in ("check", "roll", "notes", "build", "sums", "sign", "verify"):
        assert re.search(rf"^    {step} ", done.stdout, re.MULTILINE), step


def test_what_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    steps = (["sums", "there"], ["sign", "there", "--key", "k"], ["roll", "x"],
             ["build", "--wheels", "there", "--out", "out"])  # fmt: skip
    for step in steps:
        done = subprocess.run(
            [sys.executable, str(PACKAGING / "release.py"), *step],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir())


# --- roll -----------------------------------------------------------------------------------------

CHANGES = "# Changelog\n\n## 0.2.0, not yet released\n\n- new\n\n## 0.1.0, 2026-01-31\n\n- old\n"


def test_rolling_dates_the_top_entry_and_begins_an_empty_one() -> None:
    rolled = changelog.roll(CHANGES, "0.2.0", "2026-11-21")
    assert rolled == (
        "# Changelog\n\n## Not yet released\n\n## 0.2.0, 2026-11-21\n\n- new\n\n"
        "## 0.1.0, 2026-01-31\n\n- old\n"
    )
    assert changelog.current(rolled).version == "0.2.0"
    with pytest.raises(ValueError, match="empty"):
        changelog.roll(rolled, "0.3.0", "2026-12-24")
    again = rolled.replace("## Not yet released\n", "## Not yet released\n\n- newer\n")
    rolled = changelog.roll(again, "0.3.0rc1", "2026-12-24")
    assert [entry.version for entry in changelog.entries(rolled)] == [
        "", "0.3.0rc1", "0.2.0", "0.1.0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("0.1.0", "not higher than 0.1.0, which was released"),
        ("0.0.9", "not higher"),
        ("0.2.0.dev1", "not higher than 0.2.0, which is being written"),
        ("1.0-final", "no version as PEP 440"),
        ("v0.2.0", "write v0.2.0 as 0.2.0"),
        ("0.2.0-rc1", "write 0.2.0-rc1 as 0.2.0rc1"),
        ("0.2.0+mine", "write"),
        ("", "no version"),
    ],
)
def test_only_a_higher_version_is_one(version: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        changelog.roll(CHANGES, version, "2026-11-21")


def test_a_changelog_that_cannot_be_rolled_says_why() -> None:
    with pytest.raises(ValueError, match="top entry is a release"):
        changelog.roll("## 0.1.0, 2026-01-31\n\n- old\n", "0.2.0", "2026-11-21")
    with pytest.raises(ValueError, match="no version and date: ## next"):
        changelog.entries("## next\n")
    with pytest.raises(ValueError, match="no entry"):
        changelog.entries("# Changelog\n")


@pytest.mark.parametrize("day", ["tomorrow", "2026-13-01", "21.11.2026"])
def test_a_day_that_is_none_is_refused(day: str) -> None:
    """The changelog would be one that nothing here can read any more."""
    done = subprocess.run(
        [sys.executable, str(PACKAGING / "release.py"), "roll", "x", "--date", day],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "--date" in done.stderr


def test_every_place_says_the_new_version_or_none_does(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(CHANGES)
    edit(checkout / "app/corral/__init__.py", "__version__", "__version")
    with pytest.raises(ValueError, match="says it 0 times"):
        rolling.roll(checkout, "0.2.0", "2026-11-21")
    assert (checkout / "CHANGELOG.md").read_text() == CHANGES
    edit(checkout / "app/corral/__init__.py", "__version", "__version__")
    rolling.roll(checkout, "0.2.0", "2026-11-21")
    assert not list(checks.versions(checkout)) and not list(checks.tagged(checkout, "v0.2.0"))
    assert "dpkg -i corral_0.2.0_amd64.deb" in (checkout / "README.md").read_text()
    with pytest.raises(ValueError, match=r"not higher than 0\.2\.0"):
        rolling.roll(checkout, "0.2.0", "2026-11-21")
