from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from corral.store.model_files import ModelFile
from corral.store.store import Store

FILE = ModelFile(
    path="/models/llama-2-7b-chat.Q4_K_M.gguf",
    name="llama-2-7b-chat:Q4_K_M",
    family="llama-2-7b-chat",
    quant="Q4_K_M",
    bytes=4_081_004_224,
    mtime_ns=1_700_000_000_123_456_789,
    sha256="08a5566d61d7cb6b420c3e4387a39e0078e1f2fe5f055f3a03887385304d4bfa",
    source="import",
    format=None,
    added=1_700_000_000.5,
    header={"architecture": "llama", "layers": 32},
)


def test_a_model_file_comes_back_as_it_was(store: Store, path: Path) -> None:
    store.put_model_file(FILE)
    store.close()
    again = Store.open(path)
    assert again.model_file(FILE.path) == FILE
    assert again.model_files() == [FILE]
    again.close()


def test_putting_a_path_again_replaces_its_row(store: Store) -> None:
    store.put_model_file(FILE)
    changed = replace(FILE, format="llama-2", sha256=None, header={})
    store.put_model_file(changed)
    assert store.model_files() == [changed]


def test_files_are_listed_by_name(store: Store) -> None:
    second = replace(FILE, path="/b", name="b")
    first = replace(FILE, path="/a", name="a", family=None)
    store.put_model_file(second)
    store.put_model_file(first)
    assert store.model_files() == [first, second]


def test_removing_tells_whether_there_was_a_row(store: Store) -> None:
    store.put_model_file(FILE)
    assert store.remove_model_file(FILE.path) is True
    assert store.remove_model_file(FILE.path) is False
    assert store.model_file(FILE.path) is None


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_path_that_is_not_unicode_is_kept(store: Store) -> None:
    file = replace(FILE, path=os.fsdecode(b"/models/\xff\xfe.gguf"))
    store.put_model_file(file)
    assert store.model_file(file.path) == file


def test_what_is_remembered_is_recalled_after_reopening(store: Store, path: Path) -> None:
    assert store.recall("licence") is None
    store.remember("licence", "old")
    store.remember("licence", "accepted \ud800")
    store.close()
    again = Store.open(path)
    assert again.recall("licence") == "accepted \ufffd"
    again.close()
