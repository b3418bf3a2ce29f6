"""How the list of conversations is laid out: folders, the archive, and what of them is unfolded."""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw

from corral.chat.conversation import Conversation
from corral.chat.finding import Filters, tidy_folder
from corral.store.database import Row, row, rows
from corral.store.parts import Part
from corral.store.records import SELECT_CONVERSATION, decode, storable, to_conversation
from corral.store.search import admitted, conversations_of

ARCHIVE = "/"
"""Stands for the archive among the folders; no folder is called so."""

_FOLD = "fold:"
_IN_ORDER = " ORDER BY c.pinned DESC, c.updated DESC, c.id DESC LIMIT ?"
_LISTED = "WHERE c.deleted IS NULL AND c.archived = 0 "


@dataclass(frozen=True, slots=True)
class Filed:
    """A folder, or the archive, in the list."""

    count: int
    """Conversations in it that stand nowhere else: pinned ones stay on top."""
    shown: list[Conversation] | None
    """The most recently used ones; None while it is folded."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list of conversations shows, as of one moment."""

    recent: list[Conversation] = field(default_factory=list)
    """Pinned ones first, then those in no folder."""
    folders: dict[str, Filed] = field(default_factory=dict)
    """By name, in the order of the alphabet."""
    archive: Filed = Filed(0, None)


class Filing(Part):
    _seen: Row | None = None

    def listing(self, limit: int) -> Listing:
        """The list, with at most ``limit`` conversations in each of its parts."""
        with self._database.snapshot() as connection:
            folded = _folds(connection)

            def listed(condition: str, *bindings: str) -> list[Conversation]:
                return _listed(connection, condition, *bindings, limit=limit)

            counts = _folders(connection, pinned=False)
            folders = {
                name: Filed(
                    counts[name],
                    None
                    if folded.get(name, False)
                    else listed(_LISTED + "AND c.pinned = 0 AND c.folder = ?", name),
                )
                for name in counts
            }
            archived = row(
                connection,
                "SELECT count(*) FROM conversation WHERE deleted IS NULL AND archived = 1",
            )
            shown = None
            if not folded.get(ARCHIVE, True):
                shown = listed("WHERE c.deleted IS NULL AND c.archived = 1")
            return Listing(
                listed(_LISTED + "AND (c.pinned = 1 OR c.folder = '')"),
                folders,
                Filed(int(archived[0]) if archived else 0, shown),
            )

    def fold(self, folder: str, *, folded: bool) -> None:
        """Remember whether a folder, or :data:`ARCHIVE`, shows what is in it."""
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT OR REPLACE INTO memo VALUES (?, ?)",
                (_FOLD + storable(folder), "1" if folded else "0"),
            )

    def folders(self) -> dict[str, int]:
        """How many conversations outside the archive and the trash are in each folder, by name.

        A folder that only holds others is there, too.
        """
        with self._database.read() as connection:
            return _folders(connection)

    def presets_used(self) -> list[str]:
        """The names of the presets that conversations were begun with."""
        with self._database.read() as connection:
            found = rows(
                connection,
                "SELECT DISTINCT CAST(preset AS BLOB) FROM conversation"
                " WHERE deleted IS NULL AND preset <> ''",
            )
        return sorted((decode(name) or "" for (name,) in found), key=str.casefold)

    def filtered(self, filters: Filters, limit: int | None = None) -> list[Conversation]:
        """What the filters admit, pinned ones first, then the most recently used."""
        with self._database.snapshot() as connection:
            ids = list(admitted(connection, filters))[:limit]
            found = conversations_of(connection, ids)
        return [found[id] for id in ids]

    def folder_named(self, name: str) -> str:
        """A folder's name as it is kept, each level spelled like the one that is there already."""
        spelled = {one.casefold(): one for one in self.folders()}
        found = ""
        for level in tidy_folder(storable(name)).split("/"):
            found = f"{found}/{level}" if found else level
            found = spelled.get(found.casefold(), found)
        return found

    def changed_elsewhere(self) -> bool:
        """Whether another program wrote to the history since this was asked last."""
        with self._database.read() as connection:
            found = row(connection, "PRAGMA data_version")
        before, self._seen = self._seen, found
        return before is not None and found != before


def _listed(
    connection: apsw.Connection, condition: str, *bindings: str, limit: int
) -> list[Conversation]:
    found: list[Row] = rows(
        connection, SELECT_CONVERSATION + condition + _IN_ORDER, (*bindings, limit)
    )
    return [to_conversation(values) for values in found]


def _folds(connection: apsw.Connection) -> dict[str, bool]:
    found = rows(
        connection,
        "SELECT CAST(key AS BLOB), value = '1' FROM memo WHERE key GLOB ?",
        (_FOLD + "*",),
    )
    return {(decode(key) or "").removeprefix(_FOLD): bool(folded) for key, folded in found}


def _folders(connection: apsw.Connection, *, pinned: bool = True) -> dict[str, int]:
    found = rows(
        connection,
        "SELECT CAST(folder AS BLOB), count(*) FROM conversation WHERE deleted IS NULL"
        " AND archived = 0 AND folder <> '' AND pinned <= ? GROUP BY folder",
        (pinned,),
    )
    counts = {decode(name) or "": int(count) for name, count in found}
    for name in list(counts):
        while name := name.rpartition("/")[0]:
            counts.setdefault(name, 0)
    return dict(sorted(counts.items(), key=lambda one: one[0].casefold().split("/")))
