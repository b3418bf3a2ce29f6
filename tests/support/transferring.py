"""What the tests of transfers share: a journal in memory, and one call with short patience."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from corral.models.hub.client import Hub
from corral.models.hub.types import RemoteFile
from corral.models.transfer.transfer import (
    Control,
    Limit,
    Outcome,
    Progress,
    Segment,
    SegmentSource,
    Tuning,
    transfer,
)

REPOSITORY = "somebody/model-GGUF"
FILE = "model.Q4_K_M.gguf"
QUICK = Tuning(first_wait=0.01, longest_wait=0.05, report=0.0)


class Notes:
    """A journal that also remembers which digests changed."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        self.replaced: list[int] = []

    def pieces(self) -> dict[int, bytes]:
        return dict(self._pieces)

    def record(self, pieces: Mapping[int, bytes]) -> None:
        for number, digest in pieces.items():
            if self._pieces.get(number, digest) != digest:
                self.replaced.append(number)
        self._pieces.update(pieces)

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        for number in list(self._pieces) if numbers is None else list(numbers):
            self._pieces.pop(number, None)


class Downloading:
    """Calls ``transfer`` for the test file, or what a test says instead."""

    def __init__(self, hub: Hub, part: Path, notes: Notes) -> None:
        self.hub = hub
        self.part = part
        self.notes = notes
        self.told: list[Progress] = []

    def remote(self, file: str = FILE) -> RemoteFile:
        return self.hub.file(REPOSITORY, "main", file)

    def segments(self, *files: str) -> list[Segment]:
        remotes = [self.remote(file) for file in files]
        return [Segment(SegmentSource(self.hub, r), r.size, r.sha256) for r in remotes]

    def restart(self) -> None:
        self.part.unlink()
        self.notes.forget()

    def __call__(
        self,
        *,
        remote: RemoteFile | None = None,
        segments: Sequence[Segment] | None = None,
        control: Control | None = None,
        limit: Limit | None = None,
        progress: Callable[[Progress], None] | None = None,
        tuning: Tuning = QUICK,
        **more: Any,
    ) -> Outcome:
        self.told.clear()
        if segments is None:
            remote = remote or self.remote()
            segments = [Segment(SegmentSource(self.hub, remote), remote.size)]
            more.setdefault("sha256", remote.sha256)
        return transfer(
            self.part,
            segments,
            journal=self.notes,
            control=control or Control(),
            limit=limit or Limit(),
            progress=progress or self.told.append,
            tuning=tuning,
            **more,
        )


def after(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
