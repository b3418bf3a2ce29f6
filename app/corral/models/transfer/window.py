"""The few pieces that are on their way: who fetches them, and what hashing and writing still need.

This is all that the threads of a transfer share, behind one lock. Memory is bounded because a piece
leaves the window only when it is hashed and written, and only so many are in it at a time.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Mapping
from typing import Protocol

from corral.models.transfer.pieces import PIECE, Digest, count, span

AHEAD = 7
"""Pieces that may be in the window at most, besides the one that is hashed: 64 MiB."""
EACH = 2
"""Pieces for each connection. More would let receiving run so far ahead of hashing and writing that
the bytes have left the processor's cache by then, which costs a third of the speed."""
TELL = 1024 * 1024
"""Bytes after which hashing and writing are told that there is more."""


class Taker(Protocol):
    """A connection, as the window sees it."""

    abandoned: bool
    """It hangs: whatever it still brings is too late."""
    leaving: bool
    """It gets no other piece."""


class Piece:
    """A piece that is being fetched, or waits to be hashed and written."""

    __slots__ = (
        *("begun", "buffer", "crc", "hashed", "number", "received"),
        *("start", "stop", "taker", "told", "written"),
    )

    def __init__(self, number: int, start: int, stop: int, begun: int, buffer: mmap.mmap) -> None:
        self.number = number
        self.start = start
        self.stop = stop
        self.begun = begun
        """Where fetching began; what is before it was on the disk."""
        self.received = self.told = self.written = begun
        self.buffer = buffer
        self.crc = Digest()
        self.hashed = False
        self.taker: Taker | None = None

    def move(self) -> None:
        """What was received, in another buffer."""
        buffer, length = mmap.mmap(-1, PIECE), self.received - self.start
        buffer[:length] = self.buffer[:length]
        self.buffer = buffer

    def view(self, start: int, stop: int) -> memoryview:
        """Bytes of the file that were received."""
        return memoryview(self.buffer)[start - self.start : stop - self.start]


class Window:
    """What is wanted, on its way, and done with.

    Args:
        size: bytes of the whole file.
        known: pieces that are on the disk with this digest; b"" for one whose digest nobody noted.
        tail: where fetching begins in the first piece that is not known.
    """

    def __init__(self, size: int, known: Mapping[int, bytes], tail: int = 0) -> None:
        self.changed = threading.Condition()
        self.size = size
        self.count = count(size)
        self.known = dict(known)
        self.position = 0
        """The piece that is hashed now; all before it are."""
        self.walked = 0
        """Byte that is hashed now, as far as it came from the disk."""
        self.fetched = 0
        self.over = False
        self.alone = True
        """One connection: it asks for everything up to the next piece that is known."""
        self.ahead = EACH
        self._tail = tail
        self._active: dict[int, Piece] = {}
        self._free: list[mmap.mmap] = []

    def serve(self, connections: int) -> None:
        """Make room for so many."""
        with self.changed:
            self.alone = connections == 1
            self.ahead = min(AHEAD, EACH * connections)

    # --- for connections

    def take(self, taker: Taker) -> Piece | None:
        """The next piece to fetch; waits for room, None when there is nothing left for this one."""
        with self.changed:
            while not self.over and not taker.abandoned and not taker.leaving:
                number = self._candidate()
                if number is not None:
                    piece = self._piece(number)
                    piece.taker = taker
                    return piece
                if self.complete:
                    return None
                self.changed.wait()
            return None

    def room(self, taker: Taker, piece: Piece, most: int) -> memoryview:
        """Where its next bytes may be received, so that ``give`` need not copy them."""
        with self.changed:
            if taker.abandoned:
                return memoryview(bytearray(most))  # somebody else fills the piece
            return piece.view(piece.received, min(piece.stop, piece.received + most))

    def give(self, taker: Taker, piece: Piece, chunk: bytes | memoryview) -> bool:
        """Take over what arrived; False where nobody wants it any more."""
        with self.changed:
            if self.over or taker.abandoned:
                return False
            if not isinstance(chunk, memoryview) or chunk.obj is not piece.buffer:
                at = piece.received - piece.start
                piece.buffer[at : at + len(chunk)] = chunk
            piece.received += len(chunk)
            self.fetched += len(chunk)
            if piece.received - piece.told >= TELL or piece.received == piece.stop:
                piece.told = piece.received
                self.changed.notify_all()
            return True

    def drop(self, taker: Taker) -> None:
        """Whatever this connection had taken is for the others."""
        with self.changed:
            for piece in self._active.values():
                if piece.taker is taker:
                    piece.taker = None
                    if taker.abandoned:
                        piece.move()  # it may still be receiving into the old place
            self.changed.notify_all()

    def run_end(self, piece: Piece) -> int:
        """How far it can be read on without meeting a piece that is known or somebody else's."""
        with self.changed:
            number = piece.number + 1
            while number < self.count and self._missing(number):
                number += 1
            return span(number - 1, self.size)[1]

    @property
    def wanted(self) -> bool:
        """Could a further connection take something?"""
        with self.changed:
            return not self.over and self._candidate() is not None

    @property
    def complete(self) -> bool:
        """Has every byte arrived, as far as is known?"""
        with self.changed:
            return all(p.received == p.stop for p in self._active.values()) and not any(
                self._missing(number) for number in range(self.position, self.count)
            )

    @property
    def done(self) -> int:
        """Bytes of the file that are here."""
        with self.changed:
            if self.position == self.count:
                return self.size
            here = max(self.walked, span(self.position, self.size)[0])
            if current := self._active.get(self.position):
                here = max(here, current.received)
            for number, piece in self._active.items():
                if number > self.position:
                    here += piece.received - piece.start
            return here

    # --- for the one that hashes

    def arriving(self, number: int) -> Piece | None:
        """The piece as soon as somebody fetches it; None when it is over."""
        with self.changed:
            while number not in self._active and not self.over:
                self.changed.wait()
            return None if self.over else self._active[number]

    def more(self, piece: Piece, position: int) -> memoryview | None:
        """What arrived after ``position``; waits for it, None when it is over."""
        with self.changed:
            while piece.received == position and not self.over:
                self.changed.wait()
            return None if self.over else piece.view(position, piece.received)

    def whole(self, number: int) -> Piece | None:
        """The piece as soon as all of it arrived; None when it is over."""
        with self.changed:
            while not self.over:
                piece = self._active.get(number)
                if piece and piece.received == piece.stop:
                    return piece
                self.changed.wait()
            return None

    def lost(self, number: int) -> None:
        """This piece is not on the disk after all."""
        with self.changed:
            del self.known[number]
            self.changed.notify_all()

    def passed(self, number: int) -> None:
        """Hashed; the window moves on."""
        with self.changed:
            self.position = number + 1
            self.walked = span(number, self.size)[1]
            if piece := self._active.get(number):
                piece.hashed = True
                self._retire(piece)
            self.changed.notify_all()

    # --- for the one that writes

    def unwritten(self, patience: float) -> list[Piece] | None:
        """Pieces of which something waits to be written, in order, after so many seconds at most.

        Empty when nothing came; None when nothing will come.
        """
        with self.changed:
            if not self._unwritten() and not self.over and not self._all_written:
                self.changed.wait(patience)
            return None if self.over or self._all_written else self._unwritten()

    def written(self, piece: Piece) -> None:
        """The whole piece is on the disk."""
        with self.changed:
            self.known[piece.number] = piece.crc.digest()
            self._retire(piece)

    # ---

    def finish(self) -> None:
        """Everybody leaves."""
        with self.changed:
            self.over = True
            self.changed.notify_all()

    @property
    def _all_written(self) -> bool:
        return self.position == self.count and not self._active

    def _unwritten(self) -> list[Piece]:
        return [p for _, p in sorted(self._active.items()) if p.written < p.received]

    def _retire(self, piece: Piece) -> None:
        if piece.hashed and piece.number in self.known:
            del self._active[piece.number]
            self._free.append(piece.buffer)
            self.changed.notify_all()

    def _missing(self, number: int) -> bool:
        return number not in self.known and number not in self._active

    def _candidate(self) -> int | None:
        """The first piece within reach that nobody fetches.

        The one that is hashed next gets a place where all others would wait for it.
        """
        for number in range(self.position, min(self.count, self.position + self.ahead)):
            piece = self._active.get(number)
            if piece is not None:
                if piece.taker is None and piece.received < piece.stop:
                    return number
            elif number not in self.known:
                full = len(self._active) >= self.ahead
                stuck = number == self.position and min(self._active, default=number) >= number
                return None if full and not stuck else number
        return None

    def _piece(self, number: int) -> Piece:
        if number not in self._active:
            start, stop = span(number, self.size)
            begun = self._tail if start < self._tail < stop else start
            buffer = self._free.pop() if self._free else mmap.mmap(-1, PIECE)
            self._active[number] = Piece(number, start, stop, begun, buffer)
            self.changed.notify_all()
        return self._active[number]
