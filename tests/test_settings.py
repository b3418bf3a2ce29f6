"""The settings file: kept as the person wrote it, and never in the way."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from corral.settings import Settings, load, save


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


def test_no_file_is_defaults(file: Path) -> None:
    assert load(file) == (Settings(), [])


def test_one_key_is_changed_and_the_rest_is_kept(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('# my settings\ntheme = "puna"  # bright\n\n[engine]\nthreads = 2\n')
    assert save(file, "theme", "altiplano")
    assert file.read_text() == (
        '# my settings\ntheme = "altiplano"  # bright\n\n[engine]\nthreads = 2\n'
    )
    assert load(file)[0].engine.threads == 2
    assert file.stat().st_mode & 0o077 == 0
    save(file, "model", "llama-2-7b-chat:Q4_K_M")
    assert load(file)[0].model == "llama-2-7b-chat:Q4_K_M"
    save(file, "model", None)
    assert load(file)[0].model is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        'theme = "puna" # bright\n',
        "# mine\n[engine] # e\nthreads = 2  # two\n\n[downloads]\nlimit = 2\n",
        "engine.threads = 2\n",
        "engine = {threads = 2} # short\n",
        "engine = 3\n",
    ],
)
def test_a_key_of_a_table_is_changed_wherever_it_stands(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    threads = load(file)[0].engine.threads
    save(file, "engine.pace", "quiet")
    save(file, "downloads.limit", 3.5)
    save(file, "sidebar", False)
    found, problems = load(file)
    assert not problems and found.engine.threads == threads
    assert (found.engine.pace, found.downloads.limit, found.sidebar) == ("quiet", 3.5, False)
    assert content.count("#") == file.read_text().count("#")
    for key in ("engine.pace", "downloads.limit", "downloads.limit", "nowhere.limit"):
        save(file, key, None)
    assert load(file)[0].engine.pace == "auto" and "nowhere" not in file.read_text()


def test_each_problem_is_named_and_the_rest_is_used(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(
        "theme = 3\nsidebar = false\nnonsense = 1\n\n[engine]\nthreads = -1\nn_ctx = 2048\n"
    )
    found, problems = load(file)
    assert found.theme == Settings().theme and found.sidebar is False
    assert found.engine.n_ctx == 2048 and found.engine.threads == 0
    assert len(problems) == 3
    for line, key in ((1, "theme"), (3, "nonsense"), (6, "engine.threads")):
        assert any(f"line {line}, key {key}" in problem for problem in problems)


def test_settings_of_a_newer_corral_are_left_alone(file: Path) -> None:
    file.parent.mkdir()
    content = "later = 1\n\n[engine]\nwarp = 9\n\n[quantum]\nx = 1\n"
    file.write_text(content)
    found, problems = load(file)
    assert found == Settings()
    assert sorted(problems) == [
        f"config.toml line {line}, key {key}: this corral has no such setting and leaves it alone"
        for line, key in ((1, "later"), (4, "engine.warp"), (6, "quantum"))
    ]
    assert save(file, "theme", "puna")
    assert tomllib.loads(file.read_text()) == {**tomllib.loads(content), "theme": "puna"}


def test_a_file_that_lies_elsewhere_stays_there(file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles" / "corral.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text('theme = "puna"\n')
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    assert save(file, "theme", "altiplano")
    assert file.is_symlink() and elsewhere.read_text() == 'theme = "altiplano"\n'


@pytest.mark.parametrize(
    "content", [b"theme = [", b"\xff\xfe", b"a = 1\na = 2", b"[engine]\nthreads ="]
)
def test_a_broken_file_is_told_and_left_alone(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    found, problems = load(file)
    assert found == Settings() and len(problems) == 1
    assert not save(file, "theme", "puna")
    assert file.read_bytes() == content


def test_a_folder_in_its_place(file: Path) -> None:
    file.mkdir(parents=True)
    assert len(load(file)[1]) == 1


def test_a_wrong_sampling_value_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[sampling]\ntemperature = "hot"\n')
    found, problems = load(file)
    assert found.sampling == {} and "temperature" in problems[0] and "line 1" in problems[0]
    file.write_text("[sampling]\ntemprature = 1\n")
    assert "temprature" in load(file)[1][0]
    file.write_text("[sampling]\ntemperature = 1\nmax_tokens = 100\n")
    assert load(file) == (Settings(sampling={"temperature": 1, "max_tokens": 100}), [])


@pytest.mark.parametrize("folder", ["models", "~nobody-of-that-name/models", "/a\\u0000b"])
def test_a_folder_that_is_none_is_named(file: Path, folder: str) -> None:
    file.parent.mkdir()
    file.write_text(f'[downloads]\nfolder = "{folder}"\nlimit = 2\n')
    found, problems = load(file)
    assert (found.downloads.folder, found.downloads.limit) == ("", 2)
    assert len(problems) == 1 and "line 2, key downloads.folder" in problems[0]


def test_a_folder_at_home_is_one(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[downloads]\nfolder = "~/models"\n')
    assert load(file)[0].downloads.folder == "~/models" and load(file)[1] == []
