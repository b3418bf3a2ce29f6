"""The messages of the conversation on the screen: a tree, and the path through it that is shown."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from corral.chat.conversation import Message, latest_leaf


class Dialogue:
    """A conversation's tree with its active path; changes cost little, whatever its length."""

    def __init__(self, messages: Iterable[Message] = (), active: int | None = None) -> None:
        self._messages: dict[int, Message] = {}
        self._branches: dict[tuple[int | None, str], list[int]] = {}
        self._path: tuple[int | None, list[Message]] | None = None
        """The end of the path, and the path, as it was asked for last."""
        self.active = active
        self.whole = True
        """False while only the end of a long conversation was read."""
        for message in messages:
            self.add(message)

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, id: int | None) -> bool:
        return id in self._messages

    def get(self, id: int) -> Message | None:
        return self._messages.get(id)

    def add(self, message: Message) -> None:
        """Put a message in, or a newer state of it."""
        before = self._messages.get(message.id)
        if before is not None and before.parent != message.parent:
            self._branches[before.parent, before.role].remove(message.id)
            before = None
        if before is None:
            insort(self._branches.setdefault((message.parent, message.role), []), message.id)
        self._messages[message.id] = message
        self._path = None

    def replace(self, messages: Iterable[Message], active: int | None) -> None:
        """Take what the store holds now in place of everything."""
        self._path, self.whole = None, True
        self._messages.clear()
        self._branches.clear()
        self.active = active
        for message in messages:
            self.add(message)

    def fill(self, messages: Iterable[Message]) -> None:
        """Take in the rest of a conversation; what is here already is newer."""
        newer = dict(self._messages)
        self.replace((newer.get(message.id, message) for message in messages), self.active)
        for message in newer.values():
            if message.id not in self._messages:
                self.add(message)

    def messages(self) -> list[Message]:
        """All of them, every branch, in no order."""
        return list(self._messages.values())

    def path(self) -> list[Message]:
        """From the first message to the active one; a damaged chain gives what hangs together.

        The list belongs to this: nobody changes it.
        """
        if self._path is not None and self._path[0] == self.active:
            return self._path[1]
        path: list[Message] = []
        at, seen = self.active, set[int]()
        while at is not None and at in self._messages and at not in seen:
            seen.add(at)
            path.append(self._messages[at])
            at = self._messages[at].parent
        path.reverse()
        self._path = (self.active, path)
        return path

    def place(self, message: Message) -> tuple[int, int]:
        """Which one of how many siblings a message is, counted from 1."""
        branches = self._branches.get((message.parent, message.role), [message.id])
        return bisect_left(branches, message.id) + 1, len(branches)

    def sibling(self, message: Message, step: int) -> Message | None:
        """The sibling before or after a message."""
        branches = self._branches.get((message.parent, message.role), [])
        if message.id not in self._messages:
            return None
        at = bisect_left(branches, message.id) + step
        return self._messages[branches[at]] if 0 <= at < len(branches) else None

    def leaf(self, message: Message) -> int:
        """The newest end below a message: where walking to it should land."""
        return latest_leaf(self._messages.values(), message.id)
