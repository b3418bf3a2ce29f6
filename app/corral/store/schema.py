"""The tables, as ordered named steps, and how a file is recognised as ours.

A step that was released is never edited; a change is a new step at the end. ``user_version`` counts
the steps, and the ``migration`` table names them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from corral.errors import StoreError
from corral.store.database import Database, row, rows

APPLICATION_ID = 0x636F726C  # "corl"

_MAGIC = b"SQLite format 3\x00"
_HEADER = 100
_ABSURD_VERSION = 100_000
"""A version above it is damage, not the future."""

# AUTOINCREMENT: an id is never given out twice, so what was deleted cannot be mistaken for what is
# new. `parent` has no ON DELETE: a cascade along a long chat exceeds SQLite's trigger depth, so
# whoever deletes takes the descendants along.
_CONVERSATIONS = """
CREATE TABLE conversation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL DEFAULT '',
    titled INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    system TEXT NOT NULL DEFAULT '',
    model TEXT,
    parameters TEXT,
    active INTEGER REFERENCES message (id) ON DELETE SET NULL,
    draft TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    updated REAL NOT NULL,
    deleted REAL
) STRICT;
CREATE INDEX conversation_active ON conversation (active);

CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversation (id) DEFERRABLE INITIALLY DEFERRED,
    parent INTEGER REFERENCES message (id) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('complete', 'streaming', 'stopped', 'failed')),
    created REAL NOT NULL,
    stop_reason TEXT CHECK (stop_reason IN ('end', 'length', 'stopped', 'error')),
    error TEXT,
    model TEXT,
    parameters TEXT,
    usage TEXT,
    timings TEXT,
    writer TEXT
) STRICT;
CREATE INDEX message_conversation ON message (conversation);
CREATE INDEX message_parent ON message (parent);
CREATE INDEX message_streaming ON message (id) WHERE status = 'streaming';
"""

# The index holds no copy of the text. An answer that is being written is not in it: the trigger
# adds it once, when it is finished. With FTS5's own secure-delete a deleted message takes its words
# along instead of leaving a mark that hides them.
_SEARCH = """
CREATE VIRTUAL TABLE message_search USING fts5 (
    text, content = 'message', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO message_search (message_search, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER message_search_insert AFTER INSERT ON message WHEN new.status <> 'streaming' BEGIN
    INSERT INTO message_search (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER message_search_delete AFTER DELETE ON message WHEN old.status <> 'streaming' BEGIN
    INSERT INTO message_search (message_search, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER message_search_finish AFTER UPDATE OF status ON message
WHEN old.status = 'streaming' AND new.status <> 'streaming' BEGIN
    INSERT INTO message_search (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER message_search_resume AFTER UPDATE OF status ON message
WHEN old.status <> 'streaming' AND new.status = 'streaming' BEGIN
    INSERT INTO message_search (message_search, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER message_search_update AFTER UPDATE OF text ON message
WHEN old.status <> 'streaming' AND new.status <> 'streaming' AND old.text <> new.text BEGIN
    INSERT INTO message_search (message_search, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO message_search (rowid, text) VALUES (new.id, new.text);
END;

CREATE VIRTUAL TABLE title_search USING fts5 (
    title, content = 'conversation', content_rowid = 'id',
    tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO title_search (title_search, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER title_search_insert AFTER INSERT ON conversation BEGIN
    INSERT INTO title_search (rowid, title) VALUES (new.id, new.title);
END;
CREATE TRIGGER title_search_delete AFTER DELETE ON conversation BEGIN
    INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.id, old.title);
END;
CREATE TRIGGER title_search_update AFTER UPDATE OF title ON conversation
WHEN old.title <> new.title BEGIN
    INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.id, old.title);
    INSERT INTO title_search (rowid, title) VALUES (new.id, new.title);
END;
"""

# A path is bytes: a file name need not be valid Unicode.
_MODEL_FILES = """
CREATE TABLE model_file (
    path BLOB PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    family TEXT,
    quant TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT,
    source TEXT NOT NULL,
    format TEXT,
    added REAL NOT NULL,
    header TEXT
) STRICT;
"""

_MEMO = """
CREATE TABLE memo (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;
"""

# `path` is where the first of the files will lie. No CHECK and no UNIQUE, so that a single bad row
# does not stop the rescue of a damaged history; whoever adds a row looks first, in its transaction.
_DOWNLOADS = """
CREATE TABLE download (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path BLOB NOT NULL,
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    family TEXT,
    quant TEXT NOT NULL,
    repository TEXT NOT NULL,
    revision TEXT NOT NULL,
    licence TEXT,
    folder BLOB NOT NULL,
    targets TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    done INTEGER NOT NULL DEFAULT 0,
    fetched INTEGER NOT NULL DEFAULT 0,
    rate REAL NOT NULL DEFAULT 0,
    eta REAL,
    stage TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    hint TEXT NOT NULL DEFAULT '',
    repair INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    retry_at REAL NOT NULL DEFAULT 0,
    position INTEGER NOT NULL,
    created REAL NOT NULL
) STRICT;

CREATE TABLE piece (
    path BLOB NOT NULL,
    number INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (path, number)
) STRICT;
"""

_LICENCES = """
CREATE TABLE licence (
    name TEXT PRIMARY KEY NOT NULL,
    accepted REAL NOT NULL,
    sha256 TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
"""

# The UPDATE writes every row anew: ALTER leaves the old ones without the columns, and the rescue of
# a damaged history knows a row by its columns.
_ORIGIN = """
ALTER TABLE model_file ADD COLUMN repository TEXT;
ALTER TABLE model_file ADD COLUMN revision TEXT;
ALTER TABLE model_file ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model_file ADD COLUMN verified REAL;
UPDATE model_file SET damaged = 0;
"""

# As above, every row is written anew.
_KEEPING = """
ALTER TABLE conversation ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE conversation ADD COLUMN preset TEXT NOT NULL DEFAULT '';
ALTER TABLE conversation ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX conversation_origin ON conversation (origin) WHERE origin <> '';
UPDATE conversation SET folder = '';
ALTER TABLE message ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN summary TEXT NOT NULL DEFAULT '';
ALTER TABLE message ADD COLUMN deleted REAL;
CREATE INDEX message_deleted ON message (conversation, deleted) WHERE deleted IS NOT NULL;
UPDATE message SET pinned = 0;
"""

# A row for each contender of a blind comparison; those with the same ballot were in one.
_VOTES = """
CREATE TABLE vote (
    ballot INTEGER NOT NULL,
    name TEXT NOT NULL,
    won INTEGER NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (ballot, name)
) STRICT;
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("conversations and messages", _CONVERSATIONS),
    ("search", _SEARCH),
    ("model files", _MODEL_FILES),
    ("memo", _MEMO),
    ("downloads", _DOWNLOADS),
    ("licences", _LICENCES),
    ("origin of model files", _ORIGIN),
    ("folders and deleted branches", _KEEPING),
    ("votes", _VOTES),
)


def refuse_newer_file(path: Path) -> None:
    """Look at the version in the file's header, before SQLite touches anything.

    Raises:
        StoreError: a newer corral wrote the file.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except OSError:
        return
    if len(header) == _HEADER and header.startswith(_MAGIC):
        version = int.from_bytes(header[60:64], "big")
        if int.from_bytes(header[68:72], "big") == APPLICATION_ID:
            _refuse_newer(version)


def recognise(database: Database) -> bool:
    """Whether the open file is ours or empty; False for a database of another application.

    Raises:
        StoreError: a newer corral wrote the file.
        DamagedError: it is not a database.
    """
    with database.snapshot() as connection:
        application = _pragma(connection, "application_id")
        tables = row(connection, "SELECT count(*) FROM sqlite_schema")
        version = _pragma(connection, "user_version")
    if application == APPLICATION_ID:
        _refuse_newer(version)
        return True
    return tables == (0,)


def migrate(database: Database, clock: Callable[[], float]) -> None:
    """Bring the tables up to date, all steps in one transaction."""
    with database.read() as connection:
        # A lock raises here; it is never taken for version 0.
        if _pragma(connection, "user_version") == len(MIGRATIONS):
            return
    with database.write() as connection:
        done = _pragma(connection, "user_version")
        rows(connection, f"PRAGMA application_id = {APPLICATION_ID}")
        rows(
            connection,
            "CREATE TABLE IF NOT EXISTS migration"
            " (name TEXT PRIMARY KEY NOT NULL, applied REAL NOT NULL) STRICT",
        )
        for name, script in MIGRATIONS[done:]:
            rows(connection, script)
            rows(connection, "INSERT INTO migration VALUES (?, ?)", (name, clock()))
        rows(connection, f"PRAGMA user_version = {max(done, len(MIGRATIONS))}")


def _refuse_newer(version: int) -> None:
    if len(MIGRATIONS) < version < _ABSURD_VERSION:
        raise StoreError(
            f"The history was written by a newer corral: version {version} of its tables,"
            f" this one knows {len(MIGRATIONS)}",
            hint="The file is unchanged: use the newer corral, or another folder with CORRAL_HOME",
        )


def _pragma(connection: apsw.Connection, name: str) -> int:
    found = row(connection, f"PRAGMA {name}")
    return 0 if found is None else int(found[0])
