"""The licences a person has accepted: when, and which text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import decode, storable


@dataclass(frozen=True, slots=True)
class Accepted:
    """One licence as it was accepted."""

    name: str
    title: str
    accepted: float
    """Seconds since the epoch."""
    sha256: str
    """Of the text, in UTF-8."""
    text: str


class Licences(Part):
    def licence(self, name: str) -> Accepted | None:
        """What was accepted under this name, or None."""
        with self._database.read() as connection:
            found = row(
                connection,
                "SELECT CAST(name AS BLOB), CAST(title AS BLOB), accepted, CAST(sha256 AS BLOB),"
                " CAST(text AS BLOB) FROM licence WHERE name = ?",
                (storable(name),),
            )
        if found is None:
            return None
        name_, title, accepted, sha256, text = found
        return Accepted(
            name=decode(name_) or "",
            title=decode(title) or "",
            accepted=accepted,
            sha256=decode(sha256) or "",
            text=decode(text) or "",
        )

    def accept_licence(self, name: str, title: str, text: str) -> None:
        """Keep that a person has read and accepted this text, now."""
        text = storable(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        with self._database.write() as connection:
            rows(
                connection,
                "INSERT OR REPLACE INTO licence VALUES (?, ?, ?, ?, ?)",
                (storable(name), self._clock(), sha256, storable(title), text),
            )
