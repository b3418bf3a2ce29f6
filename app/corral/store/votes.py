"""What won blind comparisons, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.store.database import row, rows
from corral.store.parts import Part
from corral.store.records import decode, storable


@dataclass(frozen=True, slots=True)
class Tally:
    """How one contender did."""

    name: str
    """Of its model, with the preset and the parameters it was given."""
    wins: int
    votes: int
    """Comparisons it was in that were voted on."""


class Votes(Part):
    def vote(self, winner: str, others: Sequence[str]) -> None:
        """Keep which of several answers was found the best while nobody knew whose it was."""
        cast = dict.fromkeys(others, 0) | {winner: 1}
        with self._database.write() as connection:
            last = row(connection, "SELECT coalesce(max(ballot), 0) FROM vote")
            ballot = 1 + (last[0] if last else 0)
            for name, won in cast.items():
                rows(
                    connection,
                    "INSERT INTO vote VALUES (?, ?, ?, ?)",
                    (ballot, storable(name), won, self._clock()),
                )

    def votes(self) -> list[Tally]:
        """Everything that was ever voted on, what won most often first."""
        with self._database.read() as connection:
            found = rows(
                connection,
                "SELECT CAST(name AS BLOB), sum(won), count(*) FROM vote GROUP BY name"
                " ORDER BY sum(won) DESC, count(*), name",
            )
        return [Tally(decode(name) or "", wins, votes) for name, wins, votes in found]
