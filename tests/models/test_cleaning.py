"""What may be cleaned up, and what stays although it looks like it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.arrivals import download

from corral.errors import Refused
from corral.models.catalog import Catalog
from corral.models.downloads.downloads import Downloads
from corral.models.downloads.files import part_of
from corral.models.hub.client import Hub
from corral.models.library import cleaning
from corral.models.library.cleaning import QUIET_SECONDS
from corral.models.library.library import Library
from corral.settings import DownloadSettings
from corral.store.store import Store

NOW = 1_800_000_000.0


@pytest.fixture
def downloads(library: Library, store: Store, tmp_path: Path) -> Downloads:
    hub = Hub(tmp_path / "cache")
    catalog = Catalog({}, {})
    folder = tmp_path / "models"
    return Downloads(store, catalog, library, lambda: hub, folder, DownloadSettings())


def leave(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_only_quiet_files_at_the_places_of_models(library: Library, downloads: Downloads) -> None:
    assert cleaning.look(library, downloads, NOW).empty
    folder = downloads.folder
    old = leave(folder / "a--b" / "deep" / "x.gguf.part", QUIET_SECONDS)
    bad = leave(folder / "imported" / "y.gguf.bad", 2 * QUIET_SECONDS)
    fresh = leave(folder / "imported" / "z.gguf.part", QUIET_SECONDS - 1)
    for name in ("firefox.zip.part", "a--b.part", "other/torrent.part"):
        leave(folder / name, 9 * QUIET_SECONDS)
    found = cleaning.look(library, downloads, NOW)
    assert [one.path for one in found.leftovers] == [old, bad]
    assert [one.path for one in found.busy] == [fresh]
    assert [cleaning.kind(one) for one in found.leftovers] == ["incomplete", "wrong contents"]
    for one in found.leftovers:
        cleaning.remove(downloads, one)
        cleaning.remove(downloads, one)  # It is gone, which is what was wanted.
    assert not old.exists() and not bad.exists() and fresh.exists()


def test_what_a_download_took_up_again_stays(
    library: Library, store: Store, downloads: Downloads, other: Callable[..., Path]
) -> None:
    file = other("a--b", "x.gguf")
    row = replace(download([file], "a/b:F32"), folder=str(downloads.folder / "a--b"))
    left = leave(part_of(row.paths[0]), 2 * QUIET_SECONDS)
    (found,) = cleaning.look(library, downloads, NOW).leftovers
    store.add_download(row)
    with pytest.raises(Refused, match="could not be removed"):
        cleaning.remove(downloads, found)
    os.utime(left)
    with pytest.raises(Refused, match="is being written to"):
        cleaning.remove(downloads, found)
    assert left.exists()


def test_copies_know_what_removing_them_frees(
    library: Library, downloads: Downloads, other: Callable[..., Path], tmp_path: Path
) -> None:
    path = other("a")
    twin = tmp_path / "twin.gguf"
    twin.write_bytes(path.read_bytes())
    library.import_file(path)
    library.import_file(twin, how="copy", name="twin")
    ((one, two),) = cleaning.look(library, downloads, NOW).duplicates
    freed = {copy.model.name: copy.removal.bytes for copy in (one, two)}
    assert freed.pop("twin") == twin.stat().st_size and list(freed.values()) == [0]
    assert one.removable and two.removable
    assert not replace(one, model=replace(one.model, source="starter")).removable
