"""Small things to remember between two starts."""

from __future__ import annotations

from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import decode, storable


class Memo(Part):
    def remember(self, key: str, value: str) -> None:
        """Keep a value under a key, in place of the one before."""
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT OR REPLACE INTO memo VALUES (?, ?)",
                (storable(key), storable(value)),
            )

    def recall(self, key: str) -> str | None:
        """The value under a key, or None."""
        with self._database.read() as connection:
            found = row(
                connection, "SELECT CAST(value AS BLOB) FROM memo WHERE key = ?", (storable(key),)
            )
        return decode(found[0]) if found else None
