"""The queue of downloads, and a digest of every piece of a file that has arrived.

The rows are the only channel between two running corrals: what one writes, the other obeys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import apsw

from corral.store.database import Row, row, rows
from corral.store.parts import Part
from corral.store.records import decode, storable

State = Literal["queued", "running", "paused", "failed", "done"]

WAITING: tuple[State, ...] = ("queued", "running")
"""States of downloads that go on by themselves."""


_LONGEST_WAIT = 4000.0


@dataclass(frozen=True, slots=True)
class RemoteSegment:
    """One file of the hub that becomes a part of a file on the disk, or all of it."""

    file: str
    """Its path in the repository."""
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """One file on the disk."""

    name: str
    segments: tuple[RemoteSegment, ...]
    """To be joined in this order."""
    size: int
    sha256: str | None
    """None for a joined file: then each segment has its own."""


@dataclass(frozen=True, slots=True)
class Download:
    """One model on its way to this machine."""

    id: int
    name: str
    """``llama-2-7b-chat:Q4_K_M`` or ``owner/repository:QUANT``."""
    title: str
    family: str | None
    quant: str
    repository: str
    revision: str
    licence: str | None
    folder: str
    """Where its files will lie; absolute."""
    targets: tuple[Target, ...]
    """Several for a model that comes as llama.cpp shards, in order."""
    bytes: int
    state: State = "queued"
    done: int = 0
    """Bytes that are here."""
    fetched: int = 0
    """Bytes that came over the network, those of repairs and retries included."""
    rate: float = 0.0
    """Bytes per second, now."""
    eta: float | None = None
    """Seconds to the end."""
    stage: str = ""
    """``checking``, ``transfer``, ``verifying``, ``repairing`` or ``waiting``; else empty."""
    note: str = ""
    """What it is waiting for, in one plain sentence."""
    error: str = ""
    """Why it failed, or paused by itself; one plain sentence."""
    hint: str = ""
    repair: bool = False
    """Its contents were wrong: fetch what differs, piece by piece."""
    tries: int = 0
    """Attempts in a row that brought no byte."""
    retry_at: float = 0.0
    """Seconds since the epoch before which it is not tried again."""
    position: int = 0
    created: float = 0.0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files will lie, in the order of the targets."""
        return tuple(Path(self.folder, target.name) for target in self.targets)


_COLUMNS = tuple(field.name for field in fields(Download))
_TEXTS = (
    *("name", "title", "family", "quant", "repository", "revision", "licence"),
    *("targets", "state", "stage", "note", "error", "hint"),
)
_SELECTED = ", ".join(f"CAST({name} AS BLOB)" if name in _TEXTS else name for name in _COLUMNS)
_SELECT = f"SELECT {_SELECTED} FROM download "  # noqa: S608 - own names
_BELOW = "instr(folder, ?) = 1"
_LEFT_RUNNING = f"WHERE state = 'running' AND {_BELOW}"


class Downloads(Part):
    def downloads(self) -> list[Download]:
        """All of them in their order, those that are done included."""
        with self._database.read() as connection:
            return _all(connection)

    def download(self, id: int) -> Download | None:
        with self._database.read() as connection:
            found = row(connection, _SELECT + "WHERE id = ?", (id,))
        return None if found is None else _to_download(found)

    def next_download(self, now: float, folder: Path) -> Download | None:
        """The first one to work on: queued, or left running, and not to be left alone for now.

        Args:
            folder: only those that go below it; a corral with another folder does the others.
        """
        with self._database.read() as connection:
            found = row(
                connection,
                _SELECT + "WHERE state IN ('queued', 'running') AND NOT retry_at BETWEEN ? AND ?"
                f" AND {_BELOW} ORDER BY position, id LIMIT 1",
                # No server is obeyed for longer: the clock was set back.
                (now, now + _LONGEST_WAIT, _prefix(folder)),
            )
        return None if found is None else _to_download(found)

    def add_download(self, new: Download) -> Download:
        """Append a download to the queue; ``id``, ``position`` and ``created`` are set here.

        Returns:
            The one as it was stored, or the one that is there already for the same first file.
        """
        path = os.fsencode(new.paths[0])
        with self._database.write() as connection:
            found = row(connection, _SELECT + "WHERE path = ?", (path,))
            if found is not None:
                return _to_download(found)
            last = row(connection, "SELECT max(position) FROM download")
            position = (last[0] or 0) + 1 if last else 1
            new = replace(new, position=position, created=self._clock())
            columns = {name: _value(name, getattr(new, name)) for name in _COLUMNS}
            columns |= {"id": None, "path": path}
            rows(
                connection,
                f"INSERT INTO download ({', '.join(columns)})"  # noqa: S608 - own names
                f" VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            )
            return replace(new, id=connection.last_insert_rowid())

    def update_download(
        self, id: int, *, only: Collection[State] | None = None, **changes: Any
    ) -> bool:
        """Change fields of a download.

        Args:
            only: the states in which it may be changed; None for all.

        Returns:
            False if there is none, or it is in another state; then nothing was changed.
        """
        states: Collection[State] = get_args(State) if only is None else only
        columns = {name: _value(name, value) for name, value in changes.items()}
        with self._database.write() as connection:
            rows(
                connection,
                f"UPDATE download SET {', '.join(f'{name} = ?' for name in columns)}"  # noqa: S608
                f" WHERE id = ? AND state IN ({', '.join('?' * len(states))})",
                (*columns.values(), id, *states),
            )
            return connection.changes() > 0

    def requeue_downloads(self, folder: Path) -> None:
        """Put back what a corral that was killed left running.

        Args:
            folder: only below it; for the only one that downloads there.
        """
        prefix = (_prefix(folder),)
        with self._database.read() as connection:
            if row(connection, _SELECT + _LEFT_RUNNING, prefix) is None:
                return
        with self._database.write() as connection:
            rows(
                connection,
                "UPDATE download SET state = 'queued', rate = 0, eta = NULL, stage = '', note = '' "  # noqa: S608 - own names
                + _LEFT_RUNNING,
                prefix,
            )

    def remove_download(self, id: int) -> bool:
        """Forget a download and the digests of its pieces. False if there was none."""
        with self._database.write() as connection:
            found = row(connection, _SELECT + "WHERE id = ?", (id,))
            if found is None:
                return False
            for path in _to_download(found).paths:
                rows(connection, "DELETE FROM piece WHERE path = ?", (os.fsencode(path),))
            rows(connection, "DELETE FROM download WHERE id = ?", (id,))
            return True

    def move_download(self, id: int, step: int) -> None:
        """Move a download so many places down the queue, or up if ``step`` is negative."""
        with self._database.write() as connection:
            queue = [d.id for d in _all(connection) if d.state != "done"]
            if id not in queue:
                return
            place = queue.index(id)
            queue.insert(max(0, place + step), queue.pop(place))
            for position, other in enumerate(queue, 1):
                rows(connection, "UPDATE download SET position = ? WHERE id = ?", (position, other))

    # --- pieces, by the path the file will have when it is complete ---

    def pieces(self, path: str | Path) -> dict[int, bytes]:
        """The digest of each piece that has arrived, by its number."""
        with self._database.read() as connection:
            found = rows(
                connection,
                "SELECT number, digest FROM piece WHERE path = ? ORDER BY number",
                (os.fsencode(path),),
            )
        return dict(found)

    def put_pieces(self, path: str | Path, pieces: Mapping[int, bytes]) -> None:
        """Keep the digests of pieces, in place of those with the same number."""
        with self._database.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO piece VALUES (?, ?, ?)",
                [(os.fsencode(path), number, digest) for number, digest in pieces.items()],
            )

    def drop_pieces(self, path: str | Path, numbers: Iterable[int] | None = None) -> None:
        """Forget some pieces, or all of them."""
        with self._database.write() as connection:
            if numbers is None:
                rows(connection, "DELETE FROM piece WHERE path = ?", (os.fsencode(path),))
            else:
                connection.executemany(
                    "DELETE FROM piece WHERE path = ? AND number = ?",
                    [(os.fsencode(path), number) for number in numbers],
                )


def _all(connection: apsw.Connection) -> list[Download]:
    return [_to_download(values) for values in rows(connection, _SELECT + "ORDER BY position, id")]


def _prefix(folder: Path) -> bytes:
    return os.fsencode(folder) + os.sep.encode()


def _value(name: str, value: Any) -> Any:
    if name == "targets":
        return json.dumps([asdict(target) for target in value])
    if name == "folder":
        return os.fsencode(value)
    if isinstance(value, bool):
        return int(value)
    return storable(value) if isinstance(value, str) else value


def _to_download(values: Row) -> Download:
    columns: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    for name in _TEXTS:
        columns[name] = decode(columns[name])
    columns["folder"] = os.fsdecode(columns["folder"])
    columns["repair"] = bool(columns["repair"])
    columns["targets"] = _to_targets(columns["targets"])
    if not columns["targets"] or columns["state"] not in get_args(State):
        # A flipped bit in the row: it can only be removed.
        columns |= {"state": "failed", "error": "What is known about this download is damaged"}
    return Download(**columns)


def _to_targets(text: str) -> tuple[Target, ...]:
    try:
        return tuple(
            Target(
                name=target["name"],
                segments=tuple(RemoteSegment(**segment) for segment in target["segments"]),
                size=target["size"],
                sha256=target["sha256"],
            )
            for target in json.loads(text)
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()
