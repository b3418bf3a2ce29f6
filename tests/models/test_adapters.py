"""Adapters of this machine: taken in where they lie, found beside models, named and forgotten."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.lora_files import lora

from corral.errors import NotFound, Refused, UsageError
from corral.models.library.library import Library
from corral.store.store import Store


def nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["blk.0.attn_q.weight.lora_a"][0, 0] = np.nan


def test_is_taken_in_where_it_lies(library: Library, store: Store, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    taken = library.import_adapter(path)
    assert (taken.name, taken.state, taken.path) == ("cats", "installed", str(path))
    assert taken.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (taken.rank, taken.alpha, taken.pairs, taken.base) == ("4", 8.0, 8, "Tiny Llama")
    assert library.adapters() == [taken]
    assert library.adapter("CATS") == library.adapter(str(path)) == taken
    # A second program sees the same.
    assert Library(store, library.catalog).adapters() == [taken]


def test_is_no_model(library: Library, tiny: Path) -> None:
    library.import_file(tiny)
    path = lora(tiny.parent / "cats.gguf")
    library.import_adapter(path)
    assert [model.file for model in library.models()] == [tiny.name]
    with pytest.raises(NotFound):
        library.resolve("cats")
    with pytest.raises(Refused, match="an adapter"):
        library.resolve(str(path))
    with pytest.raises(Refused, match="it is a model, not an adapter"):
        library.import_adapter(tiny)
    with pytest.raises(Refused, match="an adapter"):
        library.import_file(path)


def test_names_are_given_and_taken_once(library: Library, tiny: Path, tmp_path: Path) -> None:
    library.import_file(tiny, name="llamas")
    (tmp_path / "a").mkdir()
    first = library.import_adapter(lora(tmp_path / "cats.gguf"))
    second = library.import_adapter(lora(tmp_path / "a" / "cats.gguf", seed=2))
    assert (first.name, second.name) == ("cats", "cats-2")
    with pytest.raises(UsageError, match="called “llamas” already"):
        library.import_adapter(Path(first.path), name="llamas")
    with pytest.raises(UsageError, match="cannot be the name"):
        library.import_adapter(Path(first.path), name="a/b")
    renamed = library.import_adapter(Path(first.path), name="Felis catus")
    assert library.adapter("felis catus") == renamed
    # Taken in again it keeps what it was called.
    assert library.import_adapter(Path(first.path)).name == "Felis catus"


def test_is_found_beside_models(library: Library, tiny: Path, tmp_path: Path) -> None:
    library.import_file(tiny)
    lora(tiny.parent / "dogs.gguf")
    lora(
        tiny.parent / "broken.gguf", change=lambda arrays: arrays.pop("blk.0.attn_q.weight.lora_a")
    )
    own = tmp_path / "data" / "models" / "adapters"
    own.mkdir(parents=True)
    lora(own / "birds.gguf")
    found = library.adapters()
    assert [(one.name, one.state) for one in found] == [("birds", "found"), ("dogs", "found")]
    assert library.adapter("dogs").path == str(tiny.parent / "dogs.gguf")
    taken = library.import_adapter(Path(found[1].path))
    assert [(one.name, one.state) for one in library.adapters()] == [
        ("dogs", "installed"),
        ("birds", "found"),
    ]
    assert library.adapters(found=False) == [taken]


def test_one_that_is_gone_or_changed_is_not_used(library: Library, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    library.import_adapter(path)
    kept = shutil.copy2(path, tmp_path / "kept")
    lora(path, seed=9)
    os.utime(path, ns=(1, 1))
    assert library.adapters()[0].state == "damaged"
    assert library.adapters()[0].sha256 is None
    for name in ("cats", str(path)):
        with pytest.raises(Refused, match="was changed since it came"):
            library.adapter(name)
    path.unlink()
    assert library.adapters()[0].state == "missing"
    with pytest.raises(NotFound, match="is gone"):
        library.adapter("cats")
    shutil.copy2(kept, path)
    assert library.adapter("cats").state == "installed"


def test_a_changed_one_taken_in_again_is_the_new_one(library: Library, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    before = library.import_adapter(path)
    lora(path, seed=9)
    after = library.import_adapter(path)
    assert after.name == "cats" and after.sha256 != before.sha256
    assert library.adapter("cats") == after


def test_damaged_weights_are_refused_when_it_comes(library: Library, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf", change=nan)
    with pytest.raises(Refused, match="no numbers"):
        library.import_adapter(path)
    assert library.adapters() == []
    with pytest.raises(Refused, match="no numbers"):
        library.hashed(library.adapter(str(path)))


def test_belongs_or_not(library: Library, other: Callable[..., Path], tmp_path: Path) -> None:
    model = library.import_file(other("models"))
    cats = library.import_adapter(lora(tmp_path / "cats.gguf"))
    assert library.adapter_mismatch(cats, model) == ""
    library.check_adapter(cats, model)
    large = library.import_adapter(
        lora(tmp_path / "large.gguf", {"blk.0.attn_q.weight": (128, 128)})
    )
    with pytest.raises(Refused) as refused:
        library.check_adapter(large, model)
    assert refused.value.title == "Adapter refused"
    assert refused.value.message == (
        f"The adapter large does not belong to {model.name}: blk.0.attn_q.weight is 64 × 64 in "
        "this model, the adapter is made for 128 × 128"
    )


def test_is_forgotten_and_stays(library: Library, tmp_path: Path) -> None:
    path = lora(tmp_path / "cats.gguf")
    taken = library.import_adapter(path)
    library.forget_adapter(taken)
    assert library.adapters() == [] and path.exists()
    with pytest.raises(UsageError, match="never taken in"):
        library.forget_adapter(taken)


def test_a_file_that_was_not_taken_in_is_hashed_once(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lora(tmp_path / "cats.gguf")
    one = library.adapter(str(path))
    assert (one.state, one.sha256) == ("file", None)
    hashed = library.hashed(one)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashed == replace(one, sha256=sha256, mtime_ns=path.stat().st_mtime_ns)
    monkeypatch.setattr("corral.models.library.adapters.check_numbers", None)
    assert library.hashed(one) == hashed


def test_a_name_nobody_has(library: Library, tmp_path: Path) -> None:
    library.import_adapter(lora(tmp_path / "cats.gguf"))
    with pytest.raises(NotFound) as missing:
        library.adapter("cast")
    assert "Did you mean cats?" in missing.value.hint
    with pytest.raises(NotFound, match="There is no adapter file"):
        library.adapter(str(tmp_path / "no.gguf"))
