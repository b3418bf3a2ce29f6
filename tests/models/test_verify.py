"""Contents that are read again: what is sound, what is damaged, and where."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.arrivals import arrive
from tests.support.gguf_files import tiny_llama

from corral.errors import NotFound, Refused
from corral.models.files import Cancellation
from corral.models.library.library import Library
from corral.models.transfer.pieces import PIECE, count
from corral.store.store import Store

Other = Callable[..., Path]
Split = Callable[[Path], list[Path]]


def flip(path: Path, place: int, *, keep_time: bool = True) -> None:
    """Change one byte, as a disk does: nothing tells that the file was written to."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture(scope="session")
def _large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    return tiny_llama(path, n_layer=3, n_embd=768, n_ff=1024, n_head=12, n_head_kv=12)


@pytest.fixture
def large(_large: Path, tmp_path: Path) -> Path:
    """A model of several pieces."""
    (tmp_path / "models/o--r").mkdir(parents=True)
    return Path(shutil.copy2(_large, tmp_path / "models/o--r/large.gguf"))


def test_a_sound_file(library: Library, tiny: Path) -> None:
    model = library.import_file(tiny)
    size, seen = tiny.stat().st_size, list[tuple[int, int]]()
    verdict = library.verify(model, lambda *told: seen.append(told))
    assert (verdict.ok, verdict.sha256, verdict.reason) == (True, model.sha256, "")
    assert seen[-1] == (size, size)
    (now,) = library.models()
    assert (now.verified or 0) > (model.verified or 0)
    assert dataclasses.replace(now, verified=model.verified) == model


def test_a_flipped_byte_is_found_and_remembered(library: Library, tiny: Path) -> None:
    model = library.import_file(tiny)
    flip(tiny, tiny.stat().st_size - 1000)
    assert library.models()[0].state == "installed", "nobody has read it yet"
    verdict = library.verify(model)
    assert not verdict.ok and verdict.sha256 != model.sha256
    assert (verdict.path, verdict.damaged_pieces) == (tiny, [])
    assert verdict.reason == "its contents changed: the sha256 is another one"
    (now,) = library.models()
    assert (now.state, now.sha256, now.verified) == ("damaged", None, None)
    with pytest.raises(Refused, match="is damaged"):
        library.resolve("tiny-chat")
    with pytest.raises(Refused, match="not the one in the catalogue"):
        library.ensure_sha256(now)
    flip(tiny, tiny.stat().st_size - 1000)
    assert library.models()[0].state == "damaged", "until it is read again"
    assert library.verify(now).ok
    assert library.models()[0].state == "installed"


def test_the_damaged_pieces_of_a_download_are_located(
    library: Library, store: Store, large: Path
) -> None:
    model = arrive(library, store, large)
    assert (model.name, model.source, model.state) == ("o/r:F32", "download", "installed")
    assert (model.repository, model.revision) == ("o/r", "a" * 40)
    assert count(model.bytes) >= 4
    flip(large, 2 * PIECE + 77)
    verdict = library.verify(model)
    assert (verdict.ok, verdict.path, verdict.damaged_pieces) == (False, large, [2])
    assert verdict.reason == "one piece of it is not what was downloaded"
    flip(large, model.bytes - 1)
    assert library.verify(model).damaged_pieces == [2, count(model.bytes) - 1]
    with pytest.raises(Refused, match="not the one it had when it was downloaded"):
        library.import_file(large)
    assert library.models()[0].state == "damaged"


@pytest.mark.parametrize("change", [-1, -PIECE - 1, 1])
def test_another_size_needs_no_reading(
    change: int, library: Library, store: Store, large: Path
) -> None:
    model = arrive(library, store, large)
    os.truncate(large, model.bytes + change)
    assert library.models()[0].state == "damaged"
    verdict = library.verify(model)
    assert not verdict.ok and "bytes too" in verdict.reason
    assert bool(verdict.damaged_pieces) == (change < 0)
    os.truncate(large, model.bytes)
    assert library.models()[0].state == "damaged"


def test_a_replaced_file_is_damaged_at_once(library: Library, tiny: Path, tmp_path: Path) -> None:
    library.import_file(tiny)
    flip(tiny, 5, keep_time=False)
    assert library.models()[0].state == "damaged"


def test_the_damaged_part_of_a_split_model(library: Library, split: Split, tmp_path: Path) -> None:
    parts = split(tmp_path / "from")
    model = library.import_file(parts[0])
    seen: list[tuple[int, int]] = []
    assert library.verify(model, lambda *told: seen.append(told)).sha256 == model.sha256
    assert seen[-1] == (model.bytes, model.bytes)
    flip(parts[1], parts[1].stat().st_size - 1)
    verdict = library.verify(model)
    assert (verdict.ok, verdict.path) == (False, parts[1])
    parts[1].unlink()
    with pytest.raises(NotFound, match="is gone"):
        library.verify(model)


def test_stopping_and_failing_leave_what_was_known(library: Library, tiny: Path) -> None:
    model = library.import_file(tiny)
    flip(tiny, 4000)
    with pytest.raises(Cancellation):
        library.verify(model, cancelled=lambda: True)
    assert library.models() == [model]
    tiny.unlink()
    with pytest.raises(NotFound, match="is gone") as gone:
        library.verify(library.models()[0])
    assert "corral models pull tiny-chat:Q8_0" in gone.value.hint


def test_a_file_that_was_only_named(library: Library, tiny: Path, other: Other) -> None:
    assert library.verify(library.inspect(tiny)).ok
    assert library.verify(library.inspect(other("m"))).ok
    flip(tiny, tiny.stat().st_size - 9)
    assert not library.verify(library.inspect(tiny)).ok
    assert library.models() == []


def test_a_model_that_comes_again_is_sound_and_keeps_its_name(
    library: Library, store: Store, tiny: Path, large: Path
) -> None:
    """Conversations know it by its name."""
    mine = library.import_file(large, name="Mine")
    (other := large.with_name("elsewhere.gguf")).write_bytes(large.read_bytes())
    large.unlink()
    assert library.models()[0].state == "missing"
    model = arrive(library, store, other, name="Mine")
    assert (model.name, model.sha256) == ("Mine", mine.sha256)
    assert library.models() == [model]
    flip(other, 99)
    library.verify(model)
    flip(other, 99)
    download = store.downloads()[0]
    assert library.installed(download, other, model.sha256 or "").state == "installed"
    assert library.models()[0].state == "installed"
