"""What the parts of the store share: the open database and the clock."""

from __future__ import annotations

from collections.abc import Callable

from corral.store.database import Database


class Part:
    """A group of methods of :class:`corral.store.store.Store`."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self.notices: list[str] = []
        """Plain sentences for the person about what was found or could not be done."""
