"""Evaluated prompts that are kept on disk: listed by conversation, cleared, and gone with it.

They hold nothing that cannot be made again. But they hold a person's words, so those of a deleted
conversation go, too: at once where corral deletes it, else at the next :meth:`KeptPrompts.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from corral.errors import Refused
from corral.text import shorten

if TYPE_CHECKING:
    from corral.parts import Parts


class Entry(Protocol):
    """What one model evaluated of one conversation."""

    @property
    def model(self) -> str: ...
    @property
    def conversation(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def used(self) -> float: ...


class Shelf(Protocol):
    """What is needed of :class:`corral.engine.states.shelf.Shelf`."""

    def entries(self) -> Sequence[Entry]: ...
    def clear(self, conversation: str | None = None) -> object: ...
    def forget(self, conversation: str) -> object: ...
    @staticmethod
    def default_limit(free_disk: int) -> int: ...


class Titles(Protocol):
    """What is needed of :class:`corral.store.store.Store`."""

    def titles(self) -> dict[int, str]: ...


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """What is kept of one conversation, whichever models evaluated it."""

    conversation: str
    title: str | None
    """None where the conversation is gone."""
    models: tuple[str, ...] = field(default=())
    tokens: int = 0
    """Of the longest prompt."""
    bytes: int = 0
    used: float = 0.0
    """Seconds since the epoch."""

    @property
    def name(self) -> str:
        """What a list calls it; cleaned."""
        if self.title is None:
            return f"deleted conversation {shorten(self.conversation, 20)}"
        return shorten(self.title, 120) or "Untitled"


class KeptPrompts:
    """The shelf with the titles of the conversations; every method may be called in any thread.

    Args:
        store: where conversations are kept that outlive the program.
    """

    def __init__(self, shelf: Shelf, store: Titles) -> None:
        self._shelf = shelf
        self._store = store

    def all(self) -> list[KeptPrompt]:
        """What is kept, the latest used first.

        Raises:
            StoreError: the history cannot be read.
        """
        entries = self._shelf.entries()
        titles = self._store.titles() if entries else {}
        of: dict[str, list[Entry]] = {}
        for entry in entries:
            of.setdefault(entry.conversation, []).append(entry)
        found = [
            KeptPrompt(
                conversation=id,
                title=titles.get(int(id)) if id.isdecimal() else None,
                models=tuple(dict.fromkeys(entry.model for entry in kept)),
                tokens=max(entry.tokens for entry in kept),
                bytes=sum(entry.bytes for entry in kept),
                used=max(entry.used for entry in kept),
            )
            for id, kept in of.items()
        ]
        return sorted(found, key=lambda one: one.used, reverse=True)

    def remove(self, prompt: KeptPrompt) -> None:
        """Clear what is kept of one conversation, which itself stays.

        Raises:
            Refused: some of it is still there.
        """
        self._shelf.clear(prompt.conversation)
        if any(entry.conversation == prompt.conversation for entry in self._shelf.entries()):
            raise Refused(
                f"What is kept of “{prompt.name}” could not be removed",
                title="Not removed",
                hint="Look at the permissions of its folder, and whether another corral uses it",
            )

    def forget(self, conversations: Iterable[int]) -> None:
        """These conversations are deleted."""
        for id in conversations:
            self._shelf.forget(str(id))

    def sweep(self) -> int:
        """Forget what belongs to conversations that are gone, however they went.

        Returns:
            How many there were.

        Raises:
            StoreError: the history cannot be read.
        """
        gone = [one for one in self.all() if one.title is None]
        for one in gone:
            self._shelf.forget(one.conversation)
        return len(gone)

    def limit(self, gigabytes: float, free: int) -> int:
        """Bytes that all of them may take.

        Args:
            gigabytes: as in the settings; below 0 it follows the free disk.
            free: bytes that would be free on the disk without them.
        """
        return self._shelf.default_limit(free) if gigabytes < 0 else int(gigabytes * 1e9)


def kept_of(parts: Parts) -> KeptPrompts | None:
    """What these parts keep; None where they keep nothing."""
    return KeptPrompts(parts.states, parts.disk or parts.store) if parts.states else None
