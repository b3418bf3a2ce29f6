"""Everything in one file and back again; whatever happens, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.moving.trees import Clock, grown, shape

from corral.errors import CorralError, DoesNotFit, NotFound, Refused, StoreError
from corral.models.files import Cancellation
from corral.moving import archive, backup, restoring
from corral.moving.backup import BackedUp, back_up
from corral.moving.restoring import restore
from corral.paths import Paths
from corral.store.schema import APPLICATION_ID, MIGRATIONS
from corral.store.store import Store

NOW = 1_800_000_000.0


class Home:
    """A person's folders with a history in them."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder / "config", folder / "data", folder / "cache", folder / "logs")
        self.paths.make()

    def open(self) -> Store:
        return Store.open(self.paths.database, Clock())

    def fill(self) -> int:
        store = self.open()
        id = grown(store)
        store.trash(store.create_conversation(title="In the trash").id)
        store.remember("recent", "yes")
        store.close()
        self.paths.settings_file.write_text('theme = "puna"\n')
        (self.paths.config / "presets").mkdir(exist_ok=True)
        (self.paths.config / "presets" / "mine.toml").write_text("[mine]\n")
        (self.paths.config / "models.toml").write_text("# own\n")
        (self.paths.config / "unrelated.bin").write_bytes(b"0")
        return id

    def back_up(self, target: Path, **more: Any) -> BackedUp:
        store = self.open()
        try:
            return back_up(self.paths, store, target, now=NOW, **more)
        finally:
            store.close()

    def restore(self, path: Path) -> restoring.Restored:
        return restore(self.paths, path, clock=time.time)

    def titles(self) -> list[str]:
        store = self.open()
        try:
            assert store.notices == []
            return sorted(c.title for c in store.conversations())
        finally:
            store.close()

    def files(self) -> dict[str, bytes]:
        """Everything but the locks and the reserve."""
        return {
            str(path.relative_to(self.paths.data.parent)): path.read_bytes()
            for path in sorted(self.paths.data.parent.rglob("*"))
            if path.is_file() and path.suffix not in (".lock", ".reserve", ".note")
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def away(tmp_path: Path) -> Home:
    return Home(tmp_path / "away")


@pytest.fixture
def saved(home: Home, tmp_path: Path) -> Iterator[Path]:
    home.fill()
    yield home.back_up(tmp_path / "b.zip").path


def test_everything_comes_back_in_an_empty_home(home: Home, away: Home, tmp_path: Path) -> None:
    id = home.fill()
    done = home.back_up(tmp_path / "b.zip")
    assert (done.manifest.conversations, done.manifest.messages) == (2, 7)
    assert done.bytes == done.path.stat().st_size and done.path.stat().st_mode & 0o077 == 0
    names = [entry.name for entry in done.manifest.files]
    assert names == ["corral.db", "config.toml", "models.toml", "presets/mine.toml"]
    back = away.restore(done.path)
    assert back.kept == () and back.settings == tuple(names[1:])
    here, there = home.open(), away.open()
    assert shape(there, id) == shape(here, id) and there.notices == []
    assert there.recall("recent") == "yes"
    assert [one.conversation.title for one in there.in_trash()] == ["In the trash"]
    assert [hit.conversation.id for hit in there.search("vicuña")] == [id]
    for store in (here, there):
        store.close()
    assert away.paths.settings_file.read_text() == 'theme = "puna"\n'
    assert (away.paths.config / "presets/mine.toml").read_text() == "[mine]\n"
    assert away.paths.settings_file.stat().st_mode & 0o077 == 0
    assert not list(away.paths.data.glob(".moving*"))


def test_what_was_there_is_kept_under_a_dated_name(saved: Path, away: Home, tmp_path: Path) -> None:
    store = away.open()
    store.create_conversation(title="Mine")
    store.close()
    away.paths.settings_file.write_text('theme = "terminal"\n')
    (away.paths.config / "presets").mkdir()
    (away.paths.config / "presets/other.toml").write_text("stays")
    done = away.restore(saved)
    assert away.titles() == ["Llama vs alpaca"]
    database, settings = done.kept
    assert "corral.db.before-restore-" in database.name and "before-restore" in settings.name
    assert settings.read_text() == 'theme = "terminal"\n'
    assert (away.paths.config / "presets/other.toml").read_text() == "stays"
    # The old one opens as it was.
    shutil.copy(database, tmp_path / "old.db")
    old = Store.open(tmp_path / "old.db")
    assert [c.title for c in old.conversations()] == ["Mine"]
    old.close()
    # Twice in one minute loses nothing either.
    again = away.restore(saved)
    assert again.kept[0] != database and database.exists() and again.kept[0].exists()


def test_a_damaged_history_is_kept_and_replaced(saved: Path, away: Home) -> None:
    away.fill()
    away.paths.database.write_bytes(b"not a database at all" * 1000)
    done = away.restore(saved)
    assert done.kept[0].read_bytes().startswith(b"not a database")
    assert away.titles() == ["Llama vs alpaca"]


def test_it_is_consistent_while_somebody_writes(home: Home, away: Home, tmp_path: Path) -> None:
    home.fill()
    store, writer = home.open(), home.open()
    made = writer.create_conversation(title="Busy")
    stop, written = threading.Event(), []

    def write() -> None:
        parent = None
        while not stop.is_set():
            parent = writer.add_user(made.id, "word " * 200, parent).id
            written.append(parent)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        copies = [back_up(home.paths, store, tmp_path / f"{n}.zip", now=NOW) for n in range(3)]
    finally:
        stop.set()
        thread.join()
        store.close()
        writer.close()
    assert len(written) > 3
    counts = [copy.manifest.messages for copy in copies]
    assert counts == sorted(counts)
    away.restore(copies[-1].path)
    back = away.open()
    assert sum(len(back.messages(c.id)) for c in back.conversations()) == counts[-1]
    back.close()


def test_an_older_backup_is_brought_up_to_date(saved: Path, away: Home, tmp_path: Path) -> None:
    changed = remade(saved, tmp_path / "old.zip", database=lambda path: downgrade(path))
    away.restore(changed)
    assert away.titles() == ["Old"]


def downgrade(path: Path) -> None:
    """A history as the very first versions wrote it."""
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("CREATE TABLE migration (name TEXT PRIMARY KEY NOT NULL, applied REAL)")
    for name, script in MIGRATIONS[:2]:
        connection.execute(script)
        connection.execute("INSERT INTO migration VALUES (?, 1.0)", (name,))
    connection.execute("PRAGMA user_version = 2")
    connection.execute(
        "INSERT INTO conversation (title, created, updated) VALUES ('Old', 1.0, 2.0)"
    )
    connection.close()


def remade(path: Path, target: Path, database: Any = None, **manifest: Any) -> Path:
    """The same backup with another manifest, or with something done to its history."""
    import hashlib

    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
        value = json.loads(source.read("manifest.json"))
        for name in source.namelist():
            content = source.read(name)
            if name == "corral.db" and database is not None:
                work = target.with_suffix(".db")
                work.write_bytes(content)
                database(work)
                content = work.read_bytes()
                value["files"][0] |= {
                    "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()
                }  # fmt: skip
            if name != "manifest.json":
                out.writestr(name, content)
        for extra in manifest.pop("extra", ()):
            out.writestr(extra, b"x")
            digest = hashlib.sha256(b"x").hexdigest()
            value["files"].append({"name": extra, "bytes": 1, "sha256": digest})
        out.writestr("manifest.json", json.dumps(value | manifest))
    return target


def newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "newer corral"),
        ({"tables": 99}, "newer corral"),
        ({"database": newer}, "newer corral"),
        ({"format": "zip"}, "no backup"),
        ({"files": []}, "damaged"),
        ({"conversations": "many"}, "damaged"),
        ({"extra": ["../evil.toml"]}, "no backup holds"),
        ({"extra": ["/etc/passwd"]}, "no backup holds"),
        ({"extra": ["presets/../../x.toml"]}, "no backup holds"),
        ({"extra": ["presets/.hidden.toml"]}, "no backup holds"),
        ({"extra": ["presets/a\\b.toml"]}, "no backup holds"),
        ({"database": lambda path: path.write_bytes(b"x" * 5000)}, "damaged"),
    ],
)
def test_what_is_newer_foreign_or_hostile_is_refused_and_changes_nothing(
    change: dict[str, Any], said: str, saved: Path, away: Home, tmp_path: Path
) -> None:
    away.fill()
    before = away.files()
    with pytest.raises(Refused, match=said):
        away.restore(remade(saved, tmp_path / "changed.zip", **change))
    assert away.files() == before


def test_every_kind_of_damage_is_found_before_anything_is_touched(
    saved: Path, away: Home, tmp_path: Path
) -> None:
    away.fill()
    before = away.files()
    content = saved.read_bytes()
    bad = tmp_path / "bad.zip"
    step = max(1, len(content) // 60)
    refused = 0
    for at in range(0, len(content), step):
        broken = bytearray(content)
        broken[at] ^= 0x55
        bad.write_bytes(broken)
        try:
            restoring.check(away.paths, bad)
        except (Refused, DoesNotFit):
            refused += 1
        assert away.files() == before
    assert refused > 50, "but for bytes that mean nothing, such as a date"
    for size in (0, 10, len(content) // 2, len(content) - 10):
        bad.write_bytes(content[:size])
        with pytest.raises(Refused):
            away.restore(bad)
    assert away.files() == before


def test_no_file_a_folder_and_a_pipe(away: Home, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        away.restore(tmp_path / "nothing.zip")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(Refused):
            away.restore(path)


def test_nobody_may_have_the_history_open(saved: Path, away: Home) -> None:
    store = away.open()
    store.create_conversation(title="Mine")
    with pytest.raises(StoreError, match="open") as caught:
        away.restore(saved)
    assert str(os.getpid()) in caught.value.hint
    store.close()
    assert away.titles() == ["Mine"]
    away.restore(saved)
    assert away.titles() == ["Llama vs alpaca"]


_KILLED = """
import os, pathlib, sys, time
import corral.store.salvage as salvage
from corral.moving.restoring import restore
from corral.paths import Paths
root = pathlib.Path(sys.argv[1])
paths = Paths(root / "config", root / "data", root / "cache", root / "logs")
real = salvage.{where}
def die(*arguments, **named):
    {when}
    os._exit(9)
salvage.{where} = die
restore(paths, pathlib.Path(sys.argv[2]), clock=time.time)
"""


@pytest.mark.parametrize(
    ("where", "when", "title"),
    [
        ("_set_aside", "pass", "Mine"),
        ("_set_aside", "real(*arguments, **named)", "Llama vs alpaca"),
        ("finish_replacing", "pass", "Llama vs alpaca"),
    ],
)
def test_killed_in_the_middle_it_is_the_old_one_or_the_new_one(
    where: str, when: str, title: str, saved: Path, away: Home
) -> None:
    store = away.open()
    store.create_conversation(title="Mine")
    store.close()
    program = _KILLED.format(where=where, when=when)
    done = subprocess.run(
        [sys.executable, "-c", program, str(away.paths.data.parent), str(saved)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9, done.stderr
    store = away.open()
    assert [c.title for c in store.conversations()] == [title]
    store.close()
    if title != "Mine":
        assert list(away.paths.data.glob("corral.db.before-restore-*"))
    # What it left behind, a whole history, goes with the next one.
    away.restore(saved)
    assert not list(away.paths.data.glob(".moving*"))


def test_a_backup_never_writes_over_one_that_is_there(home: Home, tmp_path: Path) -> None:
    home.fill()
    target = tmp_path / "b.zip"
    target.write_text("precious")
    with pytest.raises(Refused, match="already"):
        home.back_up(target)
    assert target.read_text() == "precious"
    home.back_up(target, replace=True)
    assert zipfile.is_zipfile(target)
    made = home.back_up(tmp_path)
    assert made.path.parent == tmp_path and made.path.name.startswith("corral-backup-2027-01-15")


def test_stopped_or_failed_leaves_no_half_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.fill()
    with pytest.raises(Cancellation):
        home.back_up(tmp_path / "b.zip", cancelled=lambda: True)
    with pytest.raises(NotFound):
        home.back_up(tmp_path / "nowhere" / "b.zip")

    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_pack", full)
        with pytest.raises(DoesNotFit, match="no room"):
            home.back_up(tmp_path / "b.zip")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: type("U", (), {"free": 1000}))
        with pytest.raises(DoesNotFit, match="MB are needed"):
            home.back_up(tmp_path / "b.zip")
    assert not [p for p in tmp_path.iterdir() if p.is_file()]
    assert not list(home.paths.data.glob(".moving*"))


def test_the_backup_holds_nothing_that_was_deleted_for_good(home: Home, tmp_path: Path) -> None:
    home.fill()
    store = home.open()
    gone = store.create_conversation(title="Gone")
    store.add_user(gone.id, "Xyzzyplugh " * 50, None)
    store.delete(gone.id)
    store.close()
    path = home.back_up(tmp_path / "b.zip").path
    with zipfile.ZipFile(path) as file:
        assert b"Xyzzyplugh" not in file.read("corral.db")


def test_what_models_read_of_the_old_history_goes(saved: Path, away: Home) -> None:
    away.fill()
    folder = away.paths.cache / "kv" / ("ab" * 8) / "1"
    folder.mkdir(parents=True)
    away.restore(saved)
    assert away.titles() == ["Llama vs alpaca"]


def test_progress_ends_at_its_end(home: Home, tmp_path: Path) -> None:
    home.fill()
    seen: list[tuple[int, int]] = []
    home.back_up(tmp_path / "b.zip", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] and all(done <= total for done, total in seen)
    manifest = restoring.check(home.paths, tmp_path / "b.zip")
    assert manifest.tables and manifest.corral
    assert not archive.is_allowed("presets/x.txt") and archive.is_allowed("presets/ä b.toml")
    assert issubclass(Refused, CorralError)
