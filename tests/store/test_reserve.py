"""A history on a really full disk can be opened, read and thinned out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.errors import StoreError
from corral.store.store import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip("mounting a small file system needs more rights")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "fill"
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                if not file.write(os.urandom(4096)):
                    return path
            except OSError:
                return path


def test_an_old_history_is_readable_on_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "corral.db"
    store = Store.open(path)
    conversation = store.create_conversation(title="Kept")
    store.add_user(conversation.id, "an old message", None)
    store.close()
    filled = fill(small_disk)
    store = Store.open(path)
    assert any("full" in notice for notice in store.notices)
    assert [m.text for m in store.messages(conversation.id)] == ["an old message"]
    store.delete(conversation.id)
    assert store.conversations() == []
    with pytest.raises(StoreError) as caught:
        for _ in range(100):
            store.create_conversation(title=os.urandom(20_000).hex())
    assert caught.value.title == "The disk is full"
    store.close()
    filled.unlink()
    store = Store.open(path)
    assert store.notices == []
    assert Path(f"{path}.reserve").stat().st_size > 100_000
    store.create_conversation(title="It goes on")
    store.close()


def test_the_reserve_is_private(tmp_path: Path) -> None:
    Store.open(tmp_path / "corral.db").close()
    assert Path(f"{tmp_path / 'corral.db'}.reserve").stat().st_mode & 0o077 == 0
