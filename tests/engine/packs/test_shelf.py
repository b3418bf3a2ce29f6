"""What is taken in as a pack, and what is refused: whole or not at all, nothing from outside."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine_packs import fake_pack, real_pack

from corral.engine.packs import binding, checking, making, manifest
from corral.engine.packs.shelf import BUILT_IN, Shelf, label, name_of
from corral.errors import CorralError, NotFound, Refused, UsageError

LIBRARY = binding.library_names()[0]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A pack that is right in every way, but for the code in it."""
    return fake_pack(tmp_path / "made", "small", b"\x7fELF and then nothing")


def rewrite(folder: Path, **values: Any) -> None:
    path = folder / manifest.FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def only_refusal(shelf: Shelf) -> str:
    (pack,) = (pack for pack in shelf.all({}) if not pack.is_built_in)
    return pack.refusal


# --- coming and going -------------------------------------------------------------------------


def test_a_folder_and_a_zip_file_come_in_whole(shelf: Shelf, copy: Path, tmp_path: Path) -> None:
    first = shelf.add(copy)
    assert first.folder == shelf.folder / copy.name and first.manifest is not None
    for name in first.manifest.files:
        assert (first.folder / name).read_bytes() == (copy / name).read_bytes()
    names = [pack.name for pack in shelf.all({})]
    assert names == [BUILT_IN, copy.name]
    assert shelf.remove(copy.name) == first.folder and not first.folder.exists()

    moved = tmp_path / "a folder" / copy.name
    shutil.copytree(copy, moved)
    again = shelf.add(making.zipped(moved))
    assert again.content == first.content and only_refusal(shelf) == ""
    assert [path.name for path in shelf.folder.iterdir()] == [copy.name]


def test_one_library_under_two_names_is_one_file(shelf: Shelf, copy: Path) -> None:
    pack = shelf.add(copy)
    assert pack.manifest is not None
    by_content: dict[str, set[int]] = {}
    for name, file in pack.manifest.files.items():
        by_content.setdefault(file.sha256, set()).add((pack.folder / name).stat().st_ino)
    assert len(by_content) < len(pack.manifest.files)
    assert all(len(inodes) == 1 for inodes in by_content.values())


def test_the_same_pack_is_always_the_same_bytes(tmp_path: Path, small: Path) -> None:
    first = making.zipped(small).read_bytes()
    os.utime(small / LIBRARY, (1, 1))
    assert making.zipped(small).read_bytes() == first


def test_a_name_that_is_taken_is_refused(shelf: Shelf, small: Path) -> None:
    shelf.add(small)
    with pytest.raises(Refused, match="remove that one first"):
        shelf.add(small)
    assert only_refusal(shelf) == ""


def test_what_a_killed_process_left_is_swept(shelf: Shelf, small: Path) -> None:
    left = shelf.folder / ".arriving-4194304000"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    shelf.add(small)
    assert [path.name for path in shelf.folder.iterdir()] == [small.name]


def test_removing_follows_no_link(shelf: Shelf, small: Path) -> None:
    shelf.folder.mkdir()
    (shelf.folder / "engine-x").symlink_to(small)
    assert only_refusal(shelf) == "it is a link or no folder"
    shelf.remove("engine-x")
    assert shelf.names() == [] and (small / LIBRARY).exists()
    with pytest.raises(NotFound):
        shelf.remove("../made/" + small.name)
    with pytest.raises(UsageError):
        shelf.remove(BUILT_IN)


def test_a_pack_is_found_by_its_flag_set(shelf: Shelf, tmp_path: Path, small: Path) -> None:
    shelf.add(small)
    assert shelf.called("small") == small.name == shelf.called(small.name)
    assert label(small.name) == "small" and label(BUILT_IN) == BUILT_IN
    for version in ("0.3.30", "0.3.31"):
        (shelf.folder / name_of(version, binding.platform_tag(), "small")).mkdir()
        (shelf.folder / name_of(version, binding.platform_tag(), "old")).mkdir()
    assert shelf.called("small") == small.name, "the one for this binding"
    with pytest.raises(UsageError, match="can be engine-"):
        shelf.called("old")
    for name in ("tiny", "", "..", "/"):
        with pytest.raises(NotFound):
            shelf.called(name)


# --- what is wrong with it --------------------------------------------------------------------


def test_one_changed_byte_is_found_also_after_it_was_known(shelf: Shelf, small: Path) -> None:
    pack = shelf.add(small)
    hashes: dict[str, str] = {}
    assert checking.check(pack.folder, hashes)[1] == pack.content
    library = pack.folder / LIBRARY
    status = library.stat()
    library.write_bytes(b"\x7fELF and then nothinG")
    os.utime(library, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(Refused, match="changed or damaged"):
        checking.check(pack.folder, hashes)


def cut(folder: Path) -> None:
    (folder / LIBRARY).write_bytes((folder / LIBRARY).read_bytes()[:-1])


def lose(folder: Path) -> None:
    (folder / LIBRARY).unlink()


def add_more(folder: Path) -> None:
    (folder / "libggml-evil.so").write_bytes(b"x")


def add_folder(folder: Path) -> None:
    (folder / "lib").mkdir()


def link(folder: Path) -> None:
    (folder / LIBRARY).rename(folder.parent.parent / "elsewhere")
    (folder / LIBRARY).symlink_to(folder.parent.parent / "elsewhere")


def lose_manifest(folder: Path) -> None:
    (folder / manifest.FILE).unlink()


def link_manifest(folder: Path) -> None:
    (folder / manifest.FILE).rename(folder.parent.parent / "elsewhere")
    (folder / manifest.FILE).symlink_to(folder.parent.parent / "elsewhere")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, "copied only in part"),
        (lose, "is missing: it was copied only in part"),
        (add_more, "libggml-evil.so is not in its manifest"),
        (add_folder, "lib is a link or no file"),
        (link, "is a link or no file"),
        (lose_manifest, "no manifest.json: it is no engine pack, or half copied"),
        (link_manifest, "no manifest.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_pack_that_is_not_what_it_says_is_not_used(
    shelf: Shelf, small: Path, harm: Callable[[Path], None], reason: str
) -> None:
    harm(shelf.add(small).folder)
    assert reason in only_refusal(shelf)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, "does not have the 21 bytes|does not have the 20 bytes"),
        (lose, "copied only in part"),
        (add_more, "not in its manifest"),
        (link, "is a link"),
        (lose_manifest, "no manifest.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nor_is_it_taken_in(
    shelf: Shelf, small: Path, harm: Callable[[Path], None], reason: str
) -> None:
    harm(small)
    with pytest.raises(Refused, match=reason):
        shelf.add(small)
    assert shelf.names() == [] and list(shelf.folder.glob(".*")) == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"binding": "0.3.35"}, "it is for llama-cpp-python 0.3.35, and this is 0.3.36"),
        ({"platform": "amiga_m68k"}, "it is for amiga_m68k, and this is "),
        ({"name": "engine-other"}, "its manifest is that of engine-other"),
        ({"name": "../../etc"}, "manifest.json is wrong at name"),
        ({"name": "engine-a/b"}, "manifest.json is wrong at name"),
        ({"files": {"../evil.so": {"bytes": 1, "sha256": "0" * 64}}}, "name that is none here"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, "name that is none here"),
        ({"files": {"CON.so": {"bytes": 1, "sha256": "0" * 64}}}, "name that is none here"),
        ({"files": {"a.so": {"bytes": 1, "sha256": "0" * 64},
                    "A.so": {"bytes": 1, "sha256": "0" * 64}}}, "upper and lower case"),
        ({"files": {"a.so": {"bytes": 1 << 60, "sha256": "0" * 64}}}, "is wrong at files"),
        ({"files": {"a.so": {"bytes": 1, "sha256": "0" * 64}}}, "is not in it"),
        ({"format": 2}, "is wrong at format"),
        ({"surprise": 1}, "is wrong at surprise"),
    ],
)  # fmt: skip
def test_a_manifest_is_believed_nothing(
    shelf: Shelf, small: Path, values: dict[str, Any], reason: str
) -> None:
    folder = shelf.add(small).folder
    rewrite(folder, **values)
    assert reason in only_refusal(shelf)
    rewrite(small, **values)
    if "name" not in values:
        with pytest.raises(Refused):
            shelf.add(small)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b" " * (2 << 20)])
def test_a_manifest_may_be_anything(shelf: Shelf, small: Path, data: bytes) -> None:
    (shelf.add(small).folder / manifest.FILE).write_bytes(data)
    assert manifest.FILE in only_refusal(shelf)


# --- zip files ----------------------------------------------------------------------------------


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_zip_file_without_a_folder_is_one_too(shelf: Shelf, small: Path, tmp_path: Path) -> None:
    assert shelf.add(zip_of(tmp_path / "flat.zip", contents(small))).name == small.name


@pytest.mark.parametrize(
    "name", ["../evil.so", "/evil.so", "a/../../evil.so", "a/b/evil.so", "..\\evil.so", "a/b.", "ä"]
)
def test_no_name_in_a_zip_file_leads_outside(
    shelf: Shelf, small: Path, tmp_path: Path, name: str
) -> None:
    path = zip_of(tmp_path / "evil.zip", {**contents(small), name: b"x"})
    with pytest.raises(Refused):
        shelf.add(path)
    assert not list(tmp_path.rglob("evil.so")) and shelf.names() == []


def test_a_link_in_a_zip_file_is_refused(shelf: Shelf, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("libggml.so")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(Refused, match="a link"):
        shelf.add(path)


def test_what_unpacks_to_more_than_it_says_is_refused(
    shelf: Shelf, small: Path, tmp_path: Path
) -> None:
    files = contents(small)
    files[LIBRARY] += b"\0" * (64 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(Refused, match="does not have the"):
        shelf.add(path)
    assert shelf.names() == []


def test_every_damage_to_a_zip_file_is_refused_or_harmless(
    shelf: Shelf, small: Path, tmp_path: Path
) -> None:
    whole = making.zipped(small).read_bytes()
    damaged = tmp_path / "damaged.zip"
    taken = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        damaged.write_bytes(changed)
        try:
            pack = shelf.add(damaged)
        except CorralError:
            assert shelf.names() == []
            continue
        taken += 1
        assert contents(pack.folder) == contents(small), "only what no content depends on"
        shelf.remove(pack.name)
    assert taken < len(whole) / 14
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:size])
        with pytest.raises(Refused):
            shelf.add(damaged)


def test_what_is_no_pack_at_all_is_told(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        shelf.add(tmp_path / "nowhere")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(Refused, match="neither a folder nor a whole zip file"):
        shelf.add(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="no engine pack"):
        shelf.add(tmp_path / "empty")


def test_a_full_name_is_all_that_may_be_made(tmp_path: Path) -> None:
    pack = real_pack(tmp_path, "other")
    known = manifest.parse(manifest.read(pack), "it")
    assert known.name == pack.name and known.bytes > 1_000_000
    assert LIBRARY in known.files and f"{LIBRARY}.0.5.0" not in known.files
