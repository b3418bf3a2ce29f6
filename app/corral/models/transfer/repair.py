"""After a mismatch: every piece again from the hub, and only what differs onto the disk."""

from __future__ import annotations

from collections.abc import Iterable

from corral.models.transfer.flow import Crew, Hashes
from corral.models.transfer.part import Part
from corral.models.transfer.pieces import count, span
from corral.models.transfer.types import Control, Journal
from corral.models.transfer.window import Window


class Repair(Crew):
    """Compares what comes now with what was noted, and ends as soon as the whole hash is right.

    Args:
        suspects: byte ranges that may be wrong; the rest is read from the disk.
        hashes: fresh ones.
    """

    def __init__(
        self,
        part: Part,
        control: Control,
        journal: Journal,
        hashes: Hashes,
        suspects: Iterable[tuple[int, int]],
    ) -> None:
        self._journal = journal
        self._noted = dict(journal.pieces())
        known = dict.fromkeys(range(count(part.size)), b"")
        for first, last in suspects:
            for number in [n for n in known if _overlap(span(n, part.size), (first, last))]:
                del known[number]
        super().__init__(Window(part.size, known), part, control, hashes)

    def begin(self) -> None:
        self.start(self._repair)

    def _repair(self) -> None:
        replaced = 0
        for number in range(self.window.count):
            if number in self.window.known:
                if not self._read(self.hashes, number, number + 1):
                    return
                self.window.passed(number)
                continue
            piece = self.window.whole(number)
            if piece is None:
                return
            data = piece.view(piece.start, piece.stop)
            self.hashes.update(data)
            piece.crc.update(data)
            if piece.crc.digest() != self._noted.get(number):
                self.part.write(piece.start, data)
                self._journal.record({number: piece.crc.digest()})
                replaced += 1
                # Each look reads the rest of the file; usually the first is the last.
                if replaced & (replaced - 1) == 0 and self._rest_is_right(number + 1):
                    break
            self.window.written(piece)
            self.window.passed(number)
        self.part.sync()
        self.finished = True

    def _rest_is_right(self, first: int) -> bool:
        hashes = self.hashes.copy()
        if not self._read(hashes, first, self.window.count) or not hashes.right:
            return False
        self.hashes = hashes
        return True

    def _read(self, hashes: Hashes, first: int, last: int) -> bool:
        """Hash these pieces as they are on the disk; False when it is over."""
        start, stop = first * span(0, self.part.size)[1], self.part.size
        if last < self.window.count:
            stop = span(last, self.part.size)[0]
        for block in self.part.read(start, stop):
            if self.window.over:
                return False
            hashes.update(block)
        return True


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
