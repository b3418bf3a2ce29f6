"""From the window to the disk: one thread hashes the file in order, one writes what arrives.

Hashing, writing and receiving all let go of Python's lock, so that two cores are enough for the
three of them. What is on the disk from before is read back and hashed when its turn comes.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from corral.models.transfer.part import Part
from corral.models.transfer.pieces import Digest, span
from corral.models.transfer.types import Control, Journal, Segment
from corral.models.transfer.window import Window

GATHER = 0.1
"""Seconds for which digests are gathered for one commit."""
SYNC = 32 * 1024 * 1024
"""Bytes after which the system is asked to bring them to the disk itself."""


class Hashes:
    """The running hash of the whole file, and of each segment where the whole has none."""

    def __init__(self, segments: Sequence[Segment], sha256: str | None) -> None:
        self._expected = sha256
        self._whole = hashlib.sha256()
        self._parts = [] if sha256 else [(hashlib.sha256(), part) for part in segments]
        self._edges = [sum(part.size for part in segments[: n + 1]) for n in range(len(segments))]
        self._at = 0

    def update(self, data: bytes | memoryview) -> None:
        self._whole.update(data)
        if self._parts:
            rest = memoryview(data)
            while rest:
                number = next(n for n, edge in enumerate(self._edges) if self._at < edge)
                piece = rest[: self._edges[number] - self._at]
                self._parts[number][0].update(piece)
                self._at += len(piece)
                rest = rest[len(piece) :]

    def copy(self) -> Hashes:
        other = Hashes.__new__(Hashes)
        other._expected, other._edges, other._at = self._expected, self._edges, self._at
        other._whole = self._whole.copy()
        other._parts = [(running.copy(), part) for running, part in self._parts]
        return other

    @property
    def hexdigest(self) -> str:
        return self._whole.hexdigest()

    @property
    def right(self) -> bool:
        """To be asked after the last byte."""
        if self._expected:
            return self.hexdigest == self._expected
        return not self.wrong

    @property
    def wrong(self) -> list[tuple[int, int]]:
        """Byte ranges that cannot all be right: the whole file, or segments of it."""
        if self._expected:
            return [] if self.right else [(0, self._edges[-1])]
        return [
            (edge - part.size, edge)
            for (running, part), edge in zip(self._parts, self._edges, strict=True)
            if part.sha256 not in (None, running.hexdigest())
        ]


class Crew(ABC):
    """Threads that work on one part file; ``finished`` when all is hashed and on the disk."""

    def __init__(self, window: Window, part: Part, control: Control, hashes: Hashes) -> None:
        self.window = window
        self.part = part
        self.hashes = hashes
        self.finished = False
        self.error: BaseException | None = None
        """What ended one of the threads."""
        self._control = control
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def begin(self) -> None:
        """Start the threads."""

    def start(self, *work: Callable[[], None]) -> None:
        for target in work:
            self.part.hold()
            thread = threading.Thread(target=self._run, args=(target,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def leave(self, seconds: float) -> None:
        """Wait so long for what they are about; a disk that hangs holds nobody up."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.part.release()
            self._control.wake.set()


class Flow(Crew):
    """Everything that is missing, hashed and written as it arrives."""

    def __init__(
        self,
        part: Part,
        control: Control,
        journal: Journal,
        hashes: Hashes,
        known: Mapping[int, bytes],
        tail: int = 0,
    ) -> None:
        super().__init__(Window(part.size, known, tail), part, control, hashes)
        self._journal = journal
        self._unrecorded: dict[int, bytes] = {}
        self._full = threading.Event()

    def begin(self) -> None:
        self.start(self._hash, self._write, self._sync)

    def leave(self, seconds: float) -> None:
        self._full.set()
        super().leave(seconds)

    def _hash(self) -> None:
        for number in range(self.window.count):
            if number in self.window.known and self._from_disk(number):
                continue
            piece = self.window.arriving(number)
            if piece is None:
                return
            for block in self.part.read(piece.start, piece.begun):
                self.hashes.update(block)
            position = piece.begun
            while position < piece.stop:
                data = self.window.more(piece, position)
                if data is None:
                    return
                self.hashes.update(data)
                position += len(data)
            self.window.passed(number)

    def _from_disk(self, number: int) -> bool:
        """Hash a piece that should be there; False where it is not as the journal has it."""
        start, stop = span(number, self.window.size)
        before, running = self.hashes.copy(), Digest()
        for block in self.part.read(start, stop):
            if self.window.over:
                return True
            self.hashes.update(block)
            running.update(block)
            start += len(block)
            self.window.walked = start
        found = running.digest()
        expected = self.window.known[number]
        if start < stop or expected not in (b"", found):
            self.hashes = before
            self.window.lost(number)
            return False
        if not expected:
            self._unrecorded[number] = found
        self.window.passed(number)
        return True

    def _write(self) -> None:
        try:
            self._write_all()
        except BaseException:
            with contextlib.suppress(Exception):  # on a full disk the journal has no room either
                self._record()
            raise
        self._record()
        if not self.window.over:
            self.part.sync()
            self.finished = True

    def _write_all(self) -> None:
        recorded, unsynced = time.monotonic(), 0
        while (pieces := self.window.unwritten(GATHER)) is not None:
            for piece in pieces:
                if self.window.over:
                    return
                data = piece.view(piece.written, piece.received)
                if piece.written == piece.begun:
                    for block in self.part.read(piece.start, piece.begun):
                        piece.crc.update(block)
                piece.crc.update(data)
                self.part.write(piece.written, data)
                piece.written += len(data)
                unsynced += len(data)
                if piece.written == piece.stop:
                    self._unrecorded[piece.number] = piece.crc.digest()
                    self.window.written(piece)
            if unsynced >= SYNC:
                unsynced = 0
                self._full.set()
            if self._unrecorded and time.monotonic() - recorded >= GATHER:
                self._record()
                recorded = time.monotonic()

    def _sync(self) -> None:
        """While more arrives, so that the end has little to wait for and a power cut to take."""
        while self._full.wait() and not self.finished and not self.window.over:
            self._full.clear()
            self.part.sync()

    def _record(self) -> None:
        """The journal may be behind the disk, never before it."""
        ready = dict(self._unrecorded)
        if ready:
            self._journal.record(ready)
            for number in ready:
                del self._unrecorded[number]
