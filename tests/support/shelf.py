"""Kept prompts as they lie on the disk, without an engine that evaluated them: sparse files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from corral.engine.states.shelf import Card, Shelf
from corral.kept import KeptPrompts


@dataclass(frozen=True)
class Entry:
    """What one model evaluated of one conversation; ``ago`` is in seconds."""

    conversation: str
    model: str = "llama-2-7b-chat.Q4_K_M"
    tokens: int = 1204
    bytes: int = 642_000_000
    ago: float = 100.0


class StuckShelf(Shelf):
    """A shelf whose files of one conversation cannot be removed."""

    stuck = ""

    def clear(self, conversation: str | None = None) -> int:
        ids = {one.conversation for one in self.entries()} - {self.stuck}
        return sum(super(StuckShelf, self).clear(id) for id in ids if conversation in (None, id))


def fill(folder: Path, entries: Iterable[Entry]) -> Shelf:
    """A shelf that has these."""
    shelf = StuckShelf(folder)
    for entry in entries:
        key = sha256(entry.model.encode()).hexdigest()[:32]
        card = Card(name=entry.model, file=f"/models/{entry.model}.gguf", fingerprint="", engine="")
        shelf.label(key, card)
        place = folder / key / entry.conversation
        place.mkdir(mode=0o700, exist_ok=True)
        with (place / f"0-{entry.tokens}-{'0' * 16}.kv").open("wb") as file:
            file.truncate(entry.bytes)
        then = time.time() - entry.ago
        os.utime(place, (then, then))
    return shelf


def left(shelf: Shelf) -> set[str]:
    """The conversations of which something is kept."""
    return {entry.conversation for entry in shelf.entries()}


@dataclass
class TitleStore:
    """Knows the titles of conversations, and nothing else."""

    known: dict[int, str] = field(default_factory=dict)

    def titles(self) -> dict[int, str]:
        return dict(self.known)


THREE = (
    Entry("1"),
    Entry("2", "llama-2-13b-chat.Q4_K_M", 3801, 3_114_000_000, 2.2 * 86_400),
    Entry("2", "SmolLM2-135M-Instruct", 3899, 90_000_000, 3 * 86_400),
    Entry("3", tokens=211, bytes=110_000_000, ago=7200),
)
TITLES = {1: "Llama vs alpaca", 2: "Trip to Cusco", 3: ""}


def kept_prompts(
    folder: Path, entries: Iterable[Entry] = THREE, titles: dict[int, str] | None = None
) -> KeptPrompts:
    """What is kept of conversations."""
    return KeptPrompts(fill(folder, entries), TitleStore(TITLES if titles is None else titles))
