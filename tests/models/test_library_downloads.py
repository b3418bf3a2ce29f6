"""What is being downloaded, what has arrived, and by which names both are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.arrivals import arrive, download

from corral.errors import NotFound, UsageError
from corral.models.catalog import Catalog
from corral.models.downloads.files import part_of
from corral.models.library.library import Library
from corral.models.library.shards import sha256_of_all
from corral.store.store import Store

Other = Callable[..., Path]
Split = Callable[[Path], list[Path]]


def states(library: Library, *, all: bool = False) -> list[tuple[str, str]]:
    return [(model.name, model.state) for model in library.models(all=all)]


def test_a_download_is_listed_until_it_has_arrived(
    library: Library, store: Store, tiny: Path
) -> None:
    new = download(
        [tiny], "tiny-chat:Q8_0", family="tiny-chat", quant="Q8_0", repository="somebody/tiny-GGUF"
    )
    row = store.add_download(new)
    part = tiny.rename(part_of(tiny))
    for state, said in (("queued", "downloading"), ("running", "downloading")):
        store.update_download(row.id, state=state, done=new.bytes // 2)
        assert states(library) == [("tiny-chat:Q8_0", said)]
    (model,) = library.models()
    assert model.download == store.download(row.id)
    assert (model.title, model.path, model.file) == ("Tiny Chat", None, "tiny.Q8_0.gguf")
    with pytest.raises(NotFound, match="still being downloaded: 50 % of it is here"):
        library.resolve("tiny-chat")
    for state in ("paused", "failed"):
        store.update_download(row.id, state=state)
        assert states(library) == [("tiny-chat:Q8_0", "paused")]
        with pytest.raises(NotFound, match="is paused: 50 % of it") as paused:
            library.resolve("tiny-chat:Q8_0")
        assert "corral models pull tiny-chat:Q8_0" in paused.value.hint
    assert states(library, all=True)[1:] == [("tiny-chat:Q4_0", "available")]
    part.rename(tiny)
    assert library.installed(row, tiny, new.targets[0].sha256 or "").title == "Tiny Chat"
    store.update_download(row.id, state="done")
    (model,) = library.models()
    assert (model.name, model.state, model.source) == ("tiny-chat:Q8_0", "installed", "download")
    assert model.download is None and model.verified
    assert library.verify(model).ok


def test_what_the_catalogue_does_not_know_is_found_by_where_it_came_from(
    library: Library, store: Store, other: Other
) -> None:
    model = arrive(library, store, other("one", "m.Q4_K_M.gguf"), name="Owner/Repo:Q4_K_M")
    assert (model.name, model.quant) == ("Owner/Repo:Q4_K_M", "Q4_K_M")
    assert (model.title, model.format) == ("Somebody's model", None)
    for name in ("owner/repo:q4_k_m", "Owner/Repo", "Owner/Repo/m.Q4_K_M.gguf"):
        assert library.resolve(name) == model
    with pytest.raises(NotFound) as missing:
        library.resolve("Owner/Repo:Q8_0")
    assert "corral models pull Owner/Repo:Q8_0" in missing.value.hint
    arrive(library, store, other("two", "m.Q8_0.gguf"), name="Owner/Repo:Q8_0")
    with pytest.raises(UsageError, match=r"Owner/Repo is here in several .*Q4_K_M, .*Q8_0"):
        library.resolve("Owner/Repo")
    Path(model.path or "").unlink()
    with pytest.raises(NotFound, match="is gone") as gone:
        library.resolve("Owner/Repo:Q4_K_M")
    assert "corral models pull Owner/Repo:Q4_K_M" in gone.value.hint


def test_a_repository_of_the_catalogue_names_its_files(library: Library, tiny: Path) -> None:
    with pytest.raises(NotFound) as missing:
        library.resolve("somebody/tiny-gguf:q4_0")
    assert "corral models pull tiny-chat:Q4_0" in missing.value.hint
    library.import_file(tiny)
    assert library.resolve("Somebody/tiny-GGUF").name == "tiny-chat:Q8_0"


def test_what_is_being_repaired_is_not_installed(
    library: Library, store: Store, other: Other
) -> None:
    path = other("m")
    model = arrive(library, store, path, name="o/r:F16")
    (row,) = store.downloads()
    store.update_download(row.id, state="queued")
    assert states(library) == [("o/r:F16", "installed")]
    path.rename(part_of(path))
    assert states(library) == [("o/r:F16", "downloading")]
    part_of(path).rename(path)
    store.update_download(row.id, state="done")
    assert library.models() == [model]


def test_a_split_model_arrives_in_one_piece(
    library: Library, store: Store, split: Split, tmp_path: Path
) -> None:
    parts = split(tmp_path / "models/o--r")
    model = arrive(library, store, *parts)
    (row,) = store.downloads()
    assert model.sha256 == sha256_of_all([target.sha256 or "" for target in row.targets])
    assert library.verify(model).ok
    assert library.import_file(parts[0]).sha256 == model.sha256
    assert library.models()[0].source == "download"


def test_a_name_that_another_model_has(library: Library, store: Store, other: Other) -> None:
    library.import_file(other("a"), name="Mine")
    model = arrive(library, store, other("b", "b.gguf"), name="Mine")
    assert [one.name for one in library.models()] == ["Mine", "b"]
    assert model.name == "b"


def test_a_lost_or_damaged_import_gives_its_name_to_the_download(
    library: Library, store: Store, other: Other
) -> None:
    one = library.import_file(other("a"), name="Mine")
    Path(one.path or "").write_bytes(b"damaged")
    assert arrive(library, store, other("b", "b.gguf"), name="Mine").name == "Mine"
    assert states(library) == [("Mine", "installed"), ("other", "damaged")]


LLAMA_1 = """
[licence.mit]
title = "MIT License"

[licence.llama1]
title = "LLaMA License"
download = false

[family.llama-7b]
title = "LLaMA 7B"
size = "7B"
kind = "base"
licence = "llama1"
format = "completion"
repository = "somebody/llama-7b-GGUF"
revision = "0123456789012345678901234567890123456789"
n_layer = 2
n_embd = 64
n_head = 4
n_head_kv = 2
n_ff = 96
recommended = "Q8_0"
files = [{ quant = "Q8_0", file = "tiny.Q8_0.gguf", gigabytes = 0.0002 }]
"""


def test_what_may_not_be_downloaded_is_recognised_only(
    store: Store, tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(LLAMA_1.replace("0.0002", str(tiny.stat().st_size / 1e9)))
    library = Library(store, Catalog.load(path))
    assert library.models(all=True) == []
    with pytest.raises(NotFound, match="LLaMA 7B Q8_0 is in the catalogue") as missing:
        library.resolve("llama-7b")
    assert "If you have tiny.Q8_0.gguf" in missing.value.hint
    assert "pull" not in missing.value.hint
    assert library.import_file(tiny).name == "llama-7b:Q8_0"


def test_duplicates(library: Library, store: Store, other: Other, tmp_path: Path) -> None:
    path = other("a")
    one = library.import_file(path)
    assert library.duplicates() == []
    (tmp_path / "link.gguf").symlink_to(path)
    (tmp_path / "hard.gguf").hardlink_to(path)
    library.import_file(tmp_path / "link.gguf")
    library.import_file(tmp_path / "hard.gguf")
    assert library.duplicates() == [], "several names of one file take no room"
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    two = library.import_file(copy)
    ((first, second),) = library.duplicates()
    assert {first.sha256, second.sha256} == {one.sha256} == {two.sha256}
    copy.unlink()
    assert library.duplicates() == []
