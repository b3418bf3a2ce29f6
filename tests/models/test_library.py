"""Files that are imported, inspected, changed and forgotten."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.gguf_files import Gguf, string, tiny_llama

from corral.errors import NotFound, Refused, UsageError
from corral.models.catalog import Catalog
from corral.models.files import Cancellation, sha256_of
from corral.models.library.library import Library
from corral.models.library.local import recognise
from corral.store.store import Store

Other = Callable[..., Path]


def test_a_known_file_is_recognised_by_its_hash(library: Library, tiny: Path) -> None:
    renamed = tiny.rename(tiny.with_name("download (1).gguf"))
    model = library.import_file(renamed)
    assert (model.name, model.title, model.quant) == ("tiny-chat:Q8_0", "Tiny Chat", "Q8_0")
    assert (model.kind, model.size, model.licence) == ("chat", "0.1M", "mit")
    assert (model.format, model.format_source) == ("llama-2", "catalogue")
    assert (model.state, model.source) == ("installed", "import")
    assert model.default_system == "Be tiny" and model.sampling == {"temperature": 0.5}
    assert model.path == str(renamed)
    assert model.sha256 == hashlib.sha256(renamed.read_bytes()).hexdigest()
    assert library.models() == [model]
    assert library.inspect(renamed) == model


def test_an_unknown_file_is_known_by_what_it_says(other: Other, library: Library) -> None:
    model = library.import_file(other("m"))
    assert (model.name, model.title, model.family) == ("other", "Somebody's model", None)
    assert (model.quant, model.size) == ("F16", "0.1M")
    assert (model.format, model.format_source, model.kind) == (None, None, "unknown")
    assert model.licence is None and model.sampling == {} and not model.default_system


def test_the_template_of_an_unknown_file_is_its_format(
    library: Library, edited: Gguf, tmp_path: Path
) -> None:
    edited.set("general.license", string("cc-by-4.0"))
    model = library.inspect(edited.write(tmp_path / "tuned.gguf"))
    assert (model.format, model.format_source, model.kind) == ("template", "file", "chat")
    assert model.licence == "cc-by-4.0"
    assert (model.source, model.name, model.sha256) == ("file", "tuned", None)
    assert library.models() == []


def test_without_a_hash_name_size_and_numbers_decide(
    library: Library, tiny_catalog: Catalog, tiny: Path
) -> None:
    assert library.inspect(tiny).title == "Tiny Chat"
    header = library.header(library.inspect(tiny))
    assert recognise(tiny_catalog, tiny, header, None)
    assert not recognise(tiny_catalog, tiny.with_name("tiny.gguf"), header, None)
    for other in (
        dataclasses.replace(header, n_layer=3),
        dataclasses.replace(header, n_embd=128),
        dataclasses.replace(header, n_head=8),
        dataclasses.replace(header, n_head_kv=4),
        dataclasses.replace(header, n_ff=128),
        dataclasses.replace(header, bytes=header.bytes + 1),
    ):
        assert not recognise(tiny_catalog, tiny, other, None)
    assert not recognise(tiny_catalog, tiny, header, "1" * 64)
    assert library.inspect(tiny.rename(tiny.with_name("tiny.gguf"))).family is None


def test_a_changed_file_of_the_catalogue_is_refused(library: Library, tiny: Path) -> None:
    """G04 and G05: structure cannot see damaged weights, the hash can."""
    size = tiny.stat().st_size
    with tiny.open("r+b") as file:
        file.seek(size - 1000)
        byte = file.read(1)
        file.seek(size - 1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(Refused, match="damaged or was changed"):
        library.import_file(tiny)
    os.truncate(tiny, size // 2)
    os.truncate(tiny, size)
    with pytest.raises(Refused, match="damaged or was changed"):
        library.import_file(tiny)
    assert library.models() == []


def test_an_unsound_file_is_not_imported(library: Library, tiny: Path) -> None:
    os.truncate(tiny, 5000)
    with pytest.raises(Refused):
        library.import_file(tiny)
    assert library.models() == []


def test_importing_again_changes_nothing(
    library: Library, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = library.import_file(tiny, format="chatml")
    rows = store.model_files()

    def unexpected(*_: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr("corral.models.files.sha256_of", unexpected)
    assert library.import_file(tiny) == first
    assert store.model_files() == rows
    assert first.format == "chatml"


def test_progress_and_cancelling(library: Library, tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "large.gguf", n_layer=2, n_embd=512, n_ff=512)
    size = path.stat().st_size
    assert size > 3 << 20
    seen: list[tuple[int, int]] = []
    with pytest.raises(Cancellation) as stopped:
        library.import_file(
            path,
            progress=lambda done, total: seen.append((done, total)),
            cancelled=lambda: len(seen) == 2,
        )
    assert stopped.value.exit_code == 130
    assert seen == [(1 << 20, size), (2 << 20, size)]
    assert library.models() == []
    library.import_file(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (size, size)


def test_a_file_that_grows_while_it_is_hashed_is_refused(library: Library, tiny: Path) -> None:
    def grow(done: int, total: int) -> None:
        with tiny.open("ab") as file:
            file.write(b"more")

    with pytest.raises(Refused, match="changed while it was read"):
        library.import_file(tiny, progress=grow)
    assert library.models() == []


def test_a_disk_that_fails_while_hashing_is_said(
    library: Library, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.FileIO):
        def readinto(self, buffer: object, /) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("corral.models.gguf.header.io.FileIO", Broken)
    with pytest.raises(Refused, match="Input/output error"):
        sha256_of(tiny)


def test_names_never_clash(other: Other, library: Library, tiny: Path, tmp_path: Path) -> None:
    one = library.import_file(other("a"))
    two = library.import_file(other("b"))
    three = library.import_file(other("c", "OTHER.gguf"))
    assert [one.name, two.name, three.name] == ["other", "other-2", "OTHER-3"]
    known = library.import_file(tiny)
    copy = tmp_path / "d" / tiny.name
    copy.parent.mkdir()
    copy.write_bytes(tiny.read_bytes())
    assert known.name == "tiny-chat:Q8_0"
    assert library.import_file(copy).name == "tiny.Q8_0"


def test_a_file_with_a_blank_name_has_one(other: Other, library: Library) -> None:
    blank = [library.import_file(other("a", " .gguf")), library.import_file(other("b", "\n.gguf"))]
    assert [model.name for model in blank] == ["model", "model-2"]
    assert library.resolve("model").path == blank[0].path


def test_a_name_of_ones_own(other: Other, library: Library, tiny: Path) -> None:
    assert library.import_file(tiny, name="My Llama").name == "My Llama"
    assert library.resolve("my llama").path == str(tiny)
    assert library.resolve("tiny-chat:q8_0").path == str(tiny)
    path = other("m")
    for name in ("my LLAMA", "a/b", "x.gguf", " ", "-x", "a\nb", "n" * 81):
        with pytest.raises(UsageError):
            library.import_file(path, name=name)
    assert len(library.models()) == 1


def test_a_chosen_format_counts_more_than_anything(
    other: Other, library: Library, tiny: Path
) -> None:
    library.import_file(tiny)
    model = library.set_format(tiny, "vicuna")
    assert (model.format, model.format_source) == ("vicuna", "person")
    assert library.models() == [model]
    assert library.set_format(tiny, "template").format == "template"
    assert library.set_format(tiny, None).format_source == "catalogue"
    plain = library.import_file(other("m"), format="completion")
    assert (plain.format, plain.kind) == ("completion", "base")
    assert library.set_format(plain.path or "", "zephyr").kind == "chat"
    with pytest.raises(UsageError, match="no chat template of its own"):
        library.set_format(plain.path or "", "template")
    with pytest.raises(UsageError, match="no prompt format “lama”"):
        library.set_format(tiny, "lama")
    with pytest.raises(NotFound, match="not in the library"):
        library.set_format(other("n"), "zephyr")


def test_a_link_keeps_the_name_it_was_given(library: Library, tiny: Path, tmp_path: Path) -> None:
    blob = tiny.rename(tmp_path / "0123abcd")
    link = tmp_path / "snapshot" / "tiny.Q8_0.gguf"
    link.parent.mkdir()
    link.symlink_to(blob)
    model = library.import_file(link.parent / ".." / "snapshot" / link.name)
    assert model.path == str(link)
    assert model.title == "Tiny Chat"
    blob.unlink()
    assert [model.state for model in library.models()] == ["missing"]


def test_a_path_leads_where_the_system_says(library: Library, other: Other, tmp_path: Path) -> None:
    """Up from a linked folder is beside what it is linked to."""
    meant = other("far")
    (meant.parent / "sub").mkdir()
    (tmp_path / "link").symlink_to(meant.parent / "sub")
    (tmp_path / meant.name).write_bytes(b"another")
    assert library.import_file(tmp_path / "link" / ".." / meant.name).path == str(meant)


# --- files that go and change ---


def test_a_file_that_is_gone_is_missing(library: Library, tiny: Path) -> None:
    library.import_file(tiny)
    tiny.unlink()
    (model,) = library.models()
    assert (model.state, model.sha256) == ("missing", None)
    with pytest.raises(NotFound, match="is gone"):
        library.resolve("tiny-chat")
    assert library.forget(tiny)
    assert not library.forget(tiny)
    assert library.models() == []


def test_a_file_of_another_size_is_damaged(library: Library, tiny: Path, tmp_path: Path) -> None:
    library.import_file(tiny)
    os.truncate(tiny, 7000)
    (model,) = library.models()
    assert model.state == "damaged"
    with pytest.raises(Refused, match="no longer the one") as refused:
        library.resolve("tiny-chat:Q8_0")
    assert "corral models verify tiny-chat:Q8_0" in refused.value.hint


def test_a_touched_file_is_hashed_once_more(library: Library, tiny: Path) -> None:
    """It may have been replaced by one of the same size: only reading it can tell."""
    imported = library.import_file(tiny.rename(tiny.with_name("renamed.gguf")))
    path = Path(imported.path or "")
    os.utime(path, (1, 1))
    (model,) = library.models()
    assert (model.state, model.sha256) == ("damaged", None)
    assert (library.inspect(path).title, library.inspect(path).state) == ("Tiny Chat", "damaged")
    for name in (str(path), imported.name):
        with pytest.raises(Refused, match="no longer the one"):
            library.resolve(name)
    again = library.ensure_sha256(model)
    assert again == dataclasses.replace(imported, verified=again.verified)
    assert (again.verified or 0) > (imported.verified or 0)
    assert library.models() == [again]
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(Refused, match="not the one in the catalogue"):
        library.ensure_sha256(library.models()[0])


def test_a_changed_file_of_ones_own_is_noticed(other: Other, library: Library) -> None:
    path = other("m")
    library.import_file(path)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    os.utime(path, (1, 1))
    with pytest.raises(Refused, match="it had when it came"):
        library.ensure_sha256(library.models()[0])
    again = library.import_file(path)
    assert again.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_hash_is_computed_once(
    other: Other, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = other("m")
    calls: list[Path] = []

    def counted(path: Path, *rest: object) -> tuple[str, os.stat_result]:
        calls.append(path)
        return sha256_of(path)

    monkeypatch.setattr("corral.models.files.sha256_of", counted)
    model = library.inspect(path)
    hashed = library.ensure_sha256(model)
    assert library.ensure_sha256(model) == hashed
    assert calls == [path]
    assert hashed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_header_is_read_once(
    library: Library, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = library.import_file(tiny)
    assert library.header(model).n_layer == 2
    monkeypatch.setattr("corral.models.library.shelf.read_header", lambda path, **how: 1 / 0)
    assert library.header(model) is library.header(model)
    os.utime(tiny, (1, 1))
    with pytest.raises(ZeroDivisionError):
        library.header(model)


def test_rows_of_an_older_catalogue_still_list(library: Library, store: Store, tiny: Path) -> None:
    library.import_file(tiny)
    (row,) = store.model_files()
    store.put_model_file(dataclasses.replace(row, family="gone", header={}))
    (model,) = library.models()
    assert (model.family, model.title, model.format) == (None, "tiny.Q8_0", None)
