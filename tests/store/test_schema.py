from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from corral.errors import StoreError
from corral.store.database import Database
from corral.store.model_files import ModelFile
from corral.store.schema import APPLICATION_ID, MIGRATIONS, migrate
from corral.store.store import Store


def query(path: Path, sql: str) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).get
    finally:
        connection.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def used(path: Path) -> Iterator[Path]:
    """A file that holds a conversation and was closed."""
    store = Store.open(path)
    store.add_user(store.create_conversation().id, "hello", None)
    store.close()
    yield path


def test_a_new_file_is_ours_and_has_all_tables(used: Path) -> None:
    assert query(used, "PRAGMA application_id") == APPLICATION_ID
    assert query(used, "PRAGMA user_version") == len(MIGRATIONS)
    assert query(used, "PRAGMA journal_mode") == "wal"
    names = query(used, "SELECT json_group_array(name ORDER BY rowid) FROM migration")
    assert names == str([name for name, _ in MIGRATIONS]).replace("'", '"').replace(", ", ",")


def test_the_connection_is_durable_and_careful(store: Store) -> None:
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "fullfsync": 1,  # only macOS obeys
        "checkpoint_fullfsync": 1,
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
        "temp_store": 2,
        "mmap_size": 0,
    }
    with store._database.read() as connection:
        found = {name: connection.execute(f"PRAGMA {name}").get for name in wanted}
    assert found == wanted


def test_the_library_is_new_enough_for_several_wal_connections() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


@pytest.mark.parametrize("done", range(len(MIGRATIONS)))
def test_each_older_version_is_brought_up_to_date(
    path: Path, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("corral.store.schema.MIGRATIONS", MIGRATIONS[:done])
        database = Database(path, patience=0)
        database.prepare()
        migrate(database, lambda: 1.0)
        database.close()
    store = Store.open(path)
    store.add_user(store.create_conversation().id, "hello", None)
    assert len(store.search("hello")) == 1
    store.close()
    assert query(path, "SELECT count(*) FROM migration") == len(MIGRATIONS)


def test_a_model_file_of_the_first_version_stays_and_can_be_salvaged(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("corral.store.schema.MIGRATIONS", MIGRATIONS[:4])
        database = Database(path, patience=0)
        database.prepare()
        migrate(database, lambda: 1.0)
        database.close()
    query(
        path,
        "INSERT INTO model_file VALUES"
        " (x'2f6d', 'm', NULL, 'Q4_0', 1, 2, NULL, 'import', NULL, 3.0, '{}')",
    )
    before = path.read_bytes()
    expected = [ModelFile("/m", "m", None, "Q4_0", 1, 2, None, "import", None, 3.0)]
    store = Store.open(path)
    assert store.model_files() == expected
    store.close()
    for damaged in (path.read_bytes(), before):
        path.write_bytes(bytes(100) + damaged[100:])
        store = Store.open(path)
        assert store.model_files() == expected
        store.close()


def test_a_failing_step_leaves_the_file_as_it_was(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (*MIGRATIONS, ("good", "CREATE TABLE good (x)"), ("bad", "CREATE TABLE good (x)"))
    monkeypatch.setattr("corral.store.schema.MIGRATIONS", steps)
    with pytest.raises(StoreError):
        Store.open(used)
    assert query(used, "PRAGMA user_version") == len(MIGRATIONS)
    assert query(used, "SELECT count(*) FROM sqlite_schema WHERE name = 'good'") == 0
    monkeypatch.undo()
    store = Store.open(used)
    assert store.conversations()[0].messages == 1
    store.close()


def test_a_newer_file_is_refused_and_stays_unchanged(used: Path) -> None:
    query(used, "PRAGMA user_version = 999")
    before = digest(used), sorted(used.parent.iterdir())
    with pytest.raises(StoreError, match="newer") as caught:
        Store.open(used)
    assert caught.value.hint
    assert (digest(used), sorted(used.parent.iterdir())) == before


def test_a_newer_version_that_is_only_in_the_wal_is_refused_too(used: Path) -> None:
    wal = Path(f"{used}-wal")
    newer = apsw.Connection(str(used))
    newer.execute("PRAGMA user_version = 999")
    before = digest(used), digest(wal)
    with pytest.raises(StoreError, match="newer"):
        Store.open(used)
    assert (digest(used), digest(wal)) == before
    newer.close()


def test_the_database_of_another_application_is_refused_and_stays_unchanged(path: Path) -> None:
    query(path, "CREATE TABLE theirs (x); PRAGMA application_id = 77")
    before = digest(path)
    with pytest.raises(StoreError, match="another application"):
        Store.open(path)
    assert digest(path) == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, "corral.db.lock"}


@pytest.mark.skipif(os.name != "posix", reason="mode bits")
def test_all_files_are_private_whatever_the_umask(path: Path) -> None:
    previous = os.umask(0)
    try:
        store = Store.open(path)
        store.add_user(store.create_conversation().id, "hello", None)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(previous)
    expected = ("", "-wal", "-shm", ".note", ".lock", ".reserve")
    assert files == {f"corral.db{suffix}": 0o600 for suffix in expected}


@pytest.mark.skipif(os.name != "posix", reason="mode bits")
def test_a_file_that_others_can_read_is_made_private(used: Path) -> None:
    used.chmod(0o644)
    store = Store.open(used)
    assert stat.S_IMODE(used.stat().st_mode) == 0o600
    assert ["private" in notice for notice in store.notices] == [True]
    store.close()


def test_a_folder_or_a_missing_folder_is_one_clear_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="no ordinary file"):
        Store.open(path)
    with pytest.raises(StoreError) as caught:
        Store.open(path / "missing" / "corral.db")
    assert caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_a_path_that_is_not_unicode_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    with pytest.raises(StoreError, match="not valid Unicode"):
        Store.open(folder / "corral.db")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_link_to_the_file_is_followed_also_by_repairs(used: Path, tmp_path: Path) -> None:
    link = tmp_path / "folder" / "link.db"
    link.parent.mkdir()
    link.symlink_to(used)
    used.write_bytes(bytes(100) + used.read_bytes()[100:])
    store = Store.open(link)
    assert len(store.conversations()) == 1
    store.close()
    assert link.is_symlink()
    assert list(link.parent.iterdir()) == [link]
