"""Models that are linked, moved or copied to corral's folder: nothing overwritten, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.gguf_files import tiny_llama

from corral.errors import DoesNotFit, Refused, UsageError
from corral.models.catalog import Catalog
from corral.models.files import Cancellation
from corral.models.library.importing import How
from corral.models.library.library import Library
from corral.store.model_files import ModelFile
from corral.store.store import Store

Other = Callable[..., Path]
Split = Callable[..., list[Path]]
HOWS: tuple[How, ...] = ("hard link", "move", "copy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data/models/imported"


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the temporary ones."""
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    made = place / f"corral-test-{os.getpid()}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("how", HOWS)
def test_a_file_is_brought_in(how: How, library: Library, tiny: Path, folder: Path) -> None:
    contents, inode = tiny.read_bytes(), tiny.stat().st_ino
    seen: list[tuple[int, int]] = []
    model = library.import_file(tiny, how=how, progress=lambda *told: seen.append(told))
    assert (model.name, model.title) == ("tiny-chat:Q8_0", "Tiny Chat")
    assert (model.source, model.state, model.path) == (
        "import",
        "installed",
        str(folder / tiny.name),
    )
    assert tree(folder) == {tiny.name: contents}
    assert tiny.exists() == (how != "move")
    assert ((folder / tiny.name).stat().st_ino == inode) == (how != "copy")
    assert seen[-1] == (len(contents), len(contents))
    assert library.models() == [library.resolve("tiny-chat")] == [model]


def test_a_move_to_another_disk(
    library: Library, tiny: Path, folder: Path, other_disk: Path
) -> None:
    source = Path(shutil.move(tiny, other_disk / "my model 🦙.gguf"))
    contents = source.read_bytes()
    seen: list[tuple[int, int]] = []
    model = library.import_file(source, how="move", progress=lambda *told: seen.append(told))
    assert tree(folder) == {source.name: contents} and not source.exists()
    assert seen[-1] == (2 * len(contents), 2 * len(contents)), "it is read back before it goes"
    assert (model.state, model.family and model.family.name) == ("installed", "tiny-chat")


def test_another_disk_cannot_be_linked_to(
    library: Library, tiny: Path, folder: Path, other_disk: Path
) -> None:
    source = Path(shutil.move(tiny, other_disk / tiny.name))
    with pytest.raises(Refused, match="lies on another disk") as refused:
        library.import_file(source, how="hard link")
    assert "copy" in refused.value.hint and source.exists()
    assert tree(folder) == {} and library.models() == []


@pytest.mark.parametrize("how", HOWS)
def test_nothing_is_ever_overwritten(
    how: How, library: Library, other: Other, tiny: Path, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / tiny.name).write_bytes(b"somebody else's")
    (folder / "2").mkdir()
    (folder / "2" / f"{tiny.name}.part").symlink_to("victim")
    model = library.import_file(tiny, how=how)
    assert model.path == str(folder / "3" / tiny.name)
    assert (folder / tiny.name).read_bytes() == b"somebody else's"
    assert not (folder / "2/victim").exists()
    library.remove(model)
    assert not (folder / "3").exists() and (folder / tiny.name).exists()


@pytest.mark.parametrize("how", HOWS)
def test_stopping_leaves_everything_as_it_was(
    how: How, library: Library, tmp_path: Path, folder: Path
) -> None:
    path = tiny_llama(tmp_path / "large.gguf", n_layer=2, n_embd=512, n_ff=512)
    contents, seen = path.read_bytes(), list[int]()
    with pytest.raises(Cancellation):
        library.import_file(
            path,
            how=how,
            progress=lambda done, total: seen.append(done),
            cancelled=lambda: len(seen) == 2,
        )
    assert path.read_bytes() == contents
    assert tree(folder) == {} and library.models() == []
    assert library.import_file(path, how=how).state == "installed"


def test_a_damaged_file_is_not_brought_in(library: Library, tiny: Path, folder: Path) -> None:
    with tiny.open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(b"\x55" * 9)
    for how in HOWS:
        with pytest.raises(Refused, match="damaged or was changed"):
            library.import_file(tiny, how=how)
    assert tiny.exists() and tree(folder) == {} and library.models() == []


@pytest.mark.parametrize("how", HOWS)
def test_a_split_model_comes_whole(
    how: How, library: Library, split: Split, tmp_path: Path, folder: Path
) -> None:
    parts = split(tmp_path / "from")
    before = tree(tmp_path / "from")
    model = library.import_file(parts[0], how=how)
    assert tree(folder) == before
    assert [path.exists() for path in parts] == [how != "move"] * 2
    assert model.bytes == sum(map(len, before.values()))
    assert library.header(model).split_count == 2
    removal = library.removal(model)
    assert removal.deletes == [folder / path.name for path in parts]
    library.remove(model)
    assert tree(folder) == {} and library.models() == []


def test_a_split_model_gets_its_names_when_all_of_it_is_here(
    library: Library, split: Split, tmp_path: Path, folder: Path
) -> None:
    """What a kill leaves behind is a leftover, and never looks like a model."""
    seen: list[str] = []
    library.import_file(
        split(tmp_path / "from")[0],
        how="copy",
        progress=lambda *_: seen.extend(tree(folder)),
    )
    assert {Path(name).suffix for name in seen} == {".part"}
    assert {Path(name).suffix for name in tree(folder)} == {".gguf"}


@pytest.mark.parametrize("disk", ["same", "other"])
def test_a_file_that_took_the_place_of_a_moved_one_stays(
    disk: str,
    library: Library,
    store: Store,
    tiny: Path,
    other_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tiny if disk == "same" else Path(shutil.move(tiny, other_disk / tiny.name))
    put = store.put_model_file

    def replaced(row: ModelFile) -> None:
        put(row)
        source.unlink()
        source.write_bytes(b"another")

    monkeypatch.setattr(store, "put_model_file", replaced)
    assert library.import_file(source, how="move").state == "installed"
    assert source.read_bytes() == b"another"


@pytest.mark.parametrize("how", [*HOWS, "in place"])
def test_a_split_model_may_have_a_strange_name(
    how: How, library: Library, split: Split, tmp_path: Path
) -> None:
    parts = split(tmp_path / "from", "m\n🦙")
    model = library.import_file(parts[0], how=how)
    assert library.verify(model).ok and library.models() == [library.resolve(model.name)]


def test_a_split_model_in_place(library: Library, split: Split, tmp_path: Path) -> None:
    parts = split(tmp_path / "from")
    model = library.import_file(parts[0])
    assert (model.path, model.state) == (str(parts[0]), "installed")
    assert library.import_file(parts[0]) == model, "nothing is hashed again"
    with pytest.raises(Refused, match="not the first of the model's 2 parts"):
        library.import_file(parts[1])
    os.utime(parts[1], (1, 1))
    assert library.models()[0].state == "damaged"
    assert library.verify(model).ok
    assert library.models()[0].sha256 == model.sha256
    parts[1].rename(tmp_path / "away")
    assert library.models()[0].state == "missing"
    with pytest.raises(Refused, match="1 of the model's 2 parts are missing"):
        library.import_file(parts[0])


def test_a_file_that_was_used_where_it_lay_moves_with_all_that_was_chosen(
    library: Library, other: Other, folder: Path
) -> None:
    path = other("m")
    library.import_file(path, name="Mine", format="zephyr")
    moved = library.import_file(path, how="move")
    assert (moved.name, moved.format, moved.path) == ("Mine", "zephyr", str(folder / path.name))
    assert library.models() == [moved]
    with pytest.raises(UsageError, match="in corral's folder already"):
        library.import_file(Path(moved.path or ""), how="copy")


def test_a_file_of_ours_is_not_moved_by_another_way(
    library: Library, other: Other, folder: Path, tmp_path: Path
) -> None:
    model = library.import_file(other("m"), how="move")
    (tmp_path / "link").symlink_to(folder)
    for how in HOWS:
        with pytest.raises(UsageError, match="in corral's folder already"):
            library.import_file(tmp_path / "link" / model.file, how=how)
    assert library.models() == [model]


def test_a_file_that_was_put_elsewhere_is_found_again(library: Library, other: Other) -> None:
    """By its contents: conversations know the model by the name that it had."""
    path = other("m")
    library.import_file(path, name="Mine", format="zephyr")
    again = library.import_file(path.rename(path.with_name("new.gguf")))
    assert (again.name, again.format) == ("Mine", "zephyr")
    assert library.models() == [again]


def test_a_link_is_copied_but_not_moved(library: Library, tiny: Path, folder: Path) -> None:
    link = tiny.with_name("link.gguf")
    link.symlink_to(tiny)
    with pytest.raises(UsageError, match="only a link"):
        library.import_file(link, how="move")
    model = library.import_file(link, how="copy")
    assert not Path(model.path or "").is_symlink() and model.state == "installed"
    loop = tiny.with_name("loop.gguf")
    loop.symlink_to(loop.name)
    for how in (*HOWS, "in place"):
        with pytest.raises(Refused, match="cannot be read"):
            library.import_file(loop, how=how)


@pytest.mark.parametrize("name", ["a b.gguf", "🦙.gguf", "new\nline.gguf"])
def test_strange_names(name: str, library: Library, tiny: Path, folder: Path) -> None:
    path = tiny.rename(tiny.with_name(name))
    here = library.import_file(path)
    assert library.verify(here).ok and library.resolve(here.name) == library.models()[0]
    copied = library.import_file(path, how="copy")
    assert copied.path == str(folder / path.name) and copied.state == "installed"
    assert library.verify(copied).ok
    library.remove(copied)
    assert path.exists() and tree(folder) == {}


def test_the_disk_is_looked_at_first(
    library: Library, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (10**12, 10**12, 1000))
    with pytest.raises(DoesNotFit, match="does not fit the disk: a copy needs"):
        library.import_file(tiny, how="copy")
    assert tiny.exists() and tree(folder) == {}
    assert library.import_file(tiny, how="move").state == "installed", "that takes no room"


def test_a_disk_that_fills_meanwhile(
    library: Library, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DoesNotFit, match="filled while the file was copied"):
        library.import_file(tiny, how="copy")
    assert tiny.exists() and tree(folder) == {} and library.models() == []


def test_a_copy_that_the_disk_garbles_keeps_the_original(
    library: Library, tiny: Path, folder: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.move(tiny, other_disk / "x.gguf"))

    def garble(descriptor: int) -> None:
        os.pwrite(descriptor, b"\x55" * 9, source.stat().st_size - 9)

    monkeypatch.setattr(os, "fsync", garble)
    with pytest.raises(Refused, match="not what was read"):
        library.import_file(source, how="move")
    assert source.exists() and tree(folder) == {} and library.models() == []


@pytest.mark.parametrize("how", HOWS)
def test_a_file_that_grows_while_it_is_copied(
    how: How, library: Library, tiny: Path, folder: Path
) -> None:
    def grow(done: int, total: int) -> None:
        with tiny.open("ab") as file:
            file.write(b"more")

    with pytest.raises(Refused, match="changed while it was read"):
        library.import_file(tiny, how=how, progress=grow)
    assert tiny.exists() and tree(folder) == {}


CHILD = """
import sys
from pathlib import Path
from corral.models.catalog import Catalog
from corral.models.library.library import Library
from corral.store.store import Store
database, folder, file, how = sys.argv[1:]
library = Library(Store.open(Path(database)), Catalog({}, {}), folder=Path(folder))
def progress(done, total):
    print(done, flush=True)
library.import_file(Path(file), how=how, progress=progress)
print("end", flush=True)
"""


@pytest.mark.parametrize("lines", [1, 5, 9, 10])
def test_a_kill_in_the_middle_of_a_move_loses_nothing(
    lines: int, tmp_path: Path, other_disk: Path
) -> None:
    """At whatever point: the whole model is in one place at least."""
    source = tiny_llama(other_disk / "large.gguf", n_layer=2, n_embd=512, n_ff=512)
    contents = source.read_bytes()
    data = tmp_path / "data/models"
    data.mkdir(parents=True)
    arguments: list[Any] = [tmp_path / "c.db", data, source, "move"]
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        for _ in range(lines):
            child.stdout.readline()
        child.kill()
    there = [path for path in (source, *data.rglob("*.gguf")) if path.exists()]
    assert there and all(path.read_bytes() == contents for path in there)
    store = Store.open(tmp_path / "c.db")
    library = Library(store, Catalog({}, {}), folder=data)
    assert all(model.state == "installed" for model in library.models())
    if source.exists():
        assert library.import_file(source, how="move").state == "installed"
    store.close()


def test_a_closed_folder(library: Library, tiny: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="cannot be used"):
        library.import_file(tiny, how="copy")
    assert tiny.exists() and not any((tmp_path / "elsewhere").iterdir())
