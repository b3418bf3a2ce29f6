"""One SQLite connection: durable, shared by threads, and with errors a person can read.

With ``synchronous=FULL`` in WAL mode a commit that returned survives a power cut; with ``NORMAL``
it does not. Every write begins with ``BEGIN IMMEDIATE``: a read that turns into a write fails at
once when another process wrote in between, and no timeout helps against that.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from corral.errors import DoesNotFit, NotFound, StoreError
from corral.store import reserve

MEMORY = Path(":memory:")

Row = tuple[Any, ...]

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    # macOS only: its fsync leaves what was written in the cache of the disk.
    "fullfsync = ON",
    "checkpoint_fullfsync = ON",
    "foreign_keys = ON",
    "secure_delete = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    # VACUUM would else write the whole history to a file in /tmp.
    "temp_store = MEMORY",
    "journal_size_limit = 4194304",
)

_CLOSING_PATIENCE = 0.25


class DamagedError(StoreError):
    """The file is not a database, or pages of it are damaged."""


class DiskFullError(StoreError):
    title = "The disk is full"
    exit_code = DoesNotFit.exit_code


class LockedError(StoreError):
    """Another program holds the lock for longer than we wait."""


def rows(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
    """All rows. Reading to the end matters: an unfinished statement pins an old snapshot."""
    return list(connection.execute(sql, bindings))


def row(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> Row | None:
    """The first row, or None."""
    found = rows(connection, sql, bindings)
    return found[0] if found else None


class Database:
    """An open connection and its lock.

    Args:
        path: the file; :data:`MEMORY` for a database that is gone when it is closed.
        patience: seconds to wait for another program's lock.

    Raises:
        StoreError: the file cannot be opened.
        DamagedError: it is not a database.
    """

    def __init__(self, path: Path, *, patience: float) -> None:
        self.path = path
        self.damaged = False
        """True once any statement met damage."""
        self._patience = patience
        self._lock = threading.RLock()
        self._connection: apsw.Connection | None = None
        with self._plain_errors():
            connection = apsw.Connection(str(path))
            self._connection = connection
            connection.set_busy_timeout(int(patience * 1000))
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)

    def prepare(self) -> None:
        """Set the pragmas. It may write to a new file, so the caller looks at the version first."""
        with self.read() as connection:
            for pragma in _PRAGMAS:
                rows(connection, f"PRAGMA {pragma}")

    @contextlib.contextmanager
    def read(self) -> Iterator[apsw.Connection]:
        """The connection, alone, for single statements."""
        with self._lock, self._plain_errors():
            yield self._open()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """The connection for several reads that must agree with each other."""
        with self.read() as connection:
            rows(connection, "BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[apsw.Connection]:
        """A transaction: committed and on the disk when the block ends, undone when it raises."""
        with self.read() as connection:
            rows(connection, "BEGIN IMMEDIATE")
            try:
                yield connection
                rows(connection, "COMMIT")
            finally:
                _roll_back(connection)

    def scrub(self) -> bool:
        """Rewrite the file so that nothing of what was deleted is left in it.

        ``secure_delete`` alone leaves copies: cells that moved to a neighbour when a page was
        split stay behind in the unused part of the page they left. Only VACUUM writes every page
        anew, and only the checkpoint clears what the -wal file remembers.

        Returns:
            False if another program is reading and the -wal file cannot be cleared now.
        """
        with self.read() as connection:
            try:
                rows(connection, "VACUUM")
            finally:
                cleared = _checkpoint(connection)
            return cleared

    def checkpoint(self) -> bool:
        """Move everything from the -wal file into the database and empty it.

        Returns:
            False if another program is reading and part of it has to stay.
        """
        with self.read() as connection:
            return _checkpoint(connection)

    @property
    def closed(self) -> bool:
        return self._connection is None

    def close(self, *, untouched: bool = False) -> None:
        """Close; harmless when closed already.

        Args:
            untouched: leave the file and its -wal as they are, for a damaged or foreign file.
        """
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                if untouched:
                    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                else:
                    connection.set_busy_timeout(int(_CLOSING_PATIENCE * 1000))
                    # Without it the -wal file only stays longer: every commit is safe in there.
                    with contextlib.suppress(apsw.Error):
                        _checkpoint(connection)
            finally:
                connection.close(force=True)

    def _open(self) -> apsw.Connection:
        if self._connection is None:
            raise StoreError("The history is closed", hint="Start corral again")
        return self._connection

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (apsw.Error, UnicodeError, OverflowError) as error:
            plain = _plain(error)
            if isinstance(plain, DiskFullError):
                # Not for this attempt any more, but the next one, a delete say, has room.
                reserve.give_back(self.path)
            self.damaged = self.damaged or isinstance(plain, DamagedError)
            raise plain from error


def _checkpoint(connection: apsw.Connection) -> bool:
    result = row(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    return result is None or result[0] == 0


def _roll_back(connection: apsw.Connection) -> None:
    """End a transaction that is still open; SQLite has ended it itself after the worst errors."""
    if connection.in_transaction:
        with contextlib.suppress(apsw.Error):
            rows(connection, "ROLLBACK")


def _plain(error: Exception) -> Exception:
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return LockedError(
                "The history is locked by another program",
                hint="Close the other program that uses it, then try again",
            )
        case apsw.FullError():
            return DiskFullError(
                "There is no room left, so nothing more can be saved",
                hint="Free some space and try again; what was saved before is safe",
            )
        case apsw.CorruptError() | apsw.NotADBError() | UnicodeDecodeError():
            return DamagedError(
                "The history file is damaged",
                hint="Start corral again: it sets the damaged file aside and saves what it can",
            )
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError():
            return StoreError(
                "The history file cannot be opened for writing",
                hint="Check that its folder exists, belongs to you and can be written to",
            )
        case apsw.IOError():
            return StoreError(
                f"The disk reported an error while the history was read or written: {error}",
                hint="Check the disk; what was saved before this is not affected",
            )
        case UnicodeEncodeError():
            return StoreError(
                "The path of the history file cannot be used: it is not valid Unicode",
                hint="Choose another folder with CORRAL_HOME",
            )
        case OverflowError():
            return NotFound("A number that large names nothing in the history")
    return StoreError(f"The history cannot be read or written: {error}")
