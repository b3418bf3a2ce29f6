"""A model file is read into the page cache while its worker starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.loading import ahead
from corral.loading.ahead import BLOCK, ReadAhead, is_cached

linux = pytest.mark.skipif(sys.platform != "linux", reason="others do not tell what is cached")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(1 << 20) * 20)
    return path


def forget(path: Path) -> bool:
    """Put a file out of the page cache; False where its file system has no other place for it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return not is_cached(file.fileno(), path.stat().st_size)


def cached(path: Path) -> bool:
    with path.open("rb") as file:
        return is_cached(file.fileno(), path.stat().st_size)


@linux
def test_what_is_not_cached_is_read_and_what_is_there_is_left_alone(file: Path) -> None:
    if not forget(file):
        pytest.skip("this file system keeps its files in memory")
    reading = ReadAhead([file])
    reading.start()
    assert reading.join(30) and reading.asked == file.stat().st_size
    file.read_bytes()
    assert cached(file)
    again = ReadAhead([file, file])
    again.start()
    assert again.join(30) and again.asked == 0


def test_it_stops_after_the_block_in_work(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "is_cached", lambda descriptor, size: False)
    reading = ReadAhead([file])
    real = ahead.fetch

    def fetch(descriptor: int, offset: int, length: int) -> None:
        reading.stop()
        real(descriptor, offset, length)

    monkeypatch.setattr(ahead, "fetch", fetch)
    reading.start()
    assert reading.join(30) and reading.asked == BLOCK


@pytest.mark.parametrize(
    "break_it",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"G")],
    ids=["gone", "empty", "one byte"],
)
def test_a_file_that_cannot_be_read_is_no_fault_of_it(
    file: Path, break_it: Callable[[Path], object]
) -> None:
    break_it(file)
    reading = ReadAhead([file, file.parent])
    reading.start()
    assert reading.join(30) and reading.asked <= 1


def test_without_the_systems_help_it_is_read_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("posix_fadvise", "preadv"):
        monkeypatch.delattr(os, name, raising=False)
    reading = ReadAhead([file])
    reading.start()
    assert reading.join(30) and reading.asked == file.stat().st_size
