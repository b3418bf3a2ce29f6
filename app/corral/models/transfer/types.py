"""What a transfer is told, asks for and reports: its words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from corral.errors import Refused
from corral.models.files import Cancellation

if TYPE_CHECKING:
    from corral.models.hub.client import Hub
    from corral.models.hub.types import RemoteFile

Stage = Literal["checking", "transfer", "verifying", "repairing", "waiting"]


class Stopped(Cancellation):
    """Paused, cancelled or on the way out; what is on the disk stays."""


class Mismatch(Refused):
    """Every byte is there, and together they are not the file that was promised."""

    title = "Does not match"


Room = Callable[[int], memoryview]
"""Gives a place for the next bytes: at most so many, perhaps fewer, never none."""
Chunk = bytes | memoryview


class Source(Protocol):
    """Where the bytes of one remote file come from."""

    def open(
        self, start: int, stop: int, room: Room | None = None
    ) -> AbstractContextManager[Iterator[Chunk]]:
        """The bytes from ``start`` to before ``stop``, in chunks of any length.

        A chunk may be received in place: then it is the beginning of what ``room`` just gave.
        """
        ...


@dataclass(frozen=True, slots=True)
class SegmentSource:
    """One file of the hub as a source."""

    hub: Hub
    remote: RemoteFile

    def open(
        self, start: int, stop: int, room: Room | None = None
    ) -> AbstractContextManager[Iterator[Chunk]]:
        return self.hub.open(self.remote, start, stop, room)


@dataclass(frozen=True, slots=True)
class Segment:
    """One remote file of those that, joined in order, are the file."""

    source: Source
    size: int
    sha256: str | None = None
    """Compared where there is no hash for the whole."""


class Journal(Protocol):
    """Remembers the digest of every piece that reached the disk.

    It is called by one thread at a time, which need not be the one that started the transfer.
    """

    def pieces(self) -> Mapping[int, bytes]: ...

    def record(self, pieces: Mapping[int, bytes]) -> None:
        """Add pieces, or replace their digests, in one step."""
        ...

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        """Forget these pieces; None: all."""
        ...


class Control:
    """Stops one transfer, from any thread."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        """Set when whoever waits for this transfer should look up."""
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        self.wake.set()

    @property
    def stopped(self) -> bool:
        return self._stopped


class Limit:
    """Bytes per second that all transfers with this limit may take together; 0: as many as come."""

    def __init__(self, bytes_per_second: float = 0.0) -> None:
        self.bytes_per_second = bytes_per_second
        self._debt = 0.0
        self._seen = time.monotonic()
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        if self.bytes_per_second <= 0:
            self._debt = 0.0
            return
        with self._lock:
            self._pay()
            self._debt += count

    def wait(self) -> float:
        """Seconds until the next byte may be asked for, if the limit stays as it is."""
        if self.bytes_per_second <= 0 or self._debt <= 0:
            return 0.0
        with self._lock:
            self._pay()
            return max(0.0, self._debt / self.bytes_per_second)

    def _pay(self) -> None:
        now = time.monotonic()
        self._debt = max(0.0, self._debt - (now - self._seen) * max(0.0, self.bytes_per_second))
        self._seen = now


@dataclass(frozen=True, slots=True)
class Tuning:
    """Numbers of the transfer that tests make smaller; times in seconds."""

    stall: float = 30.0
    """So long without ``stall_bytes`` is a stall: a trickle is one as well."""
    stall_bytes: int = 32 * 1024
    attempts: int = 6
    """Failures in a row, without ``stall_bytes`` between them, until it gives up."""
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_request: float = 3600.0
    """A server that wants to be left alone for longer than this is given up."""
    probe: float = 3.0
    """How long a number of connections is measured."""
    gain: float = 1.15
    """What one connection more must bring to be kept."""
    report: float = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    """Bytes of the file that are here, this time or from before."""
    total: int
    fetched: int
    """Bytes that came over the network this time."""
    rate: float
    """Bytes per second, of the last seconds."""
    eta: float | None
    """Seconds; None while nothing comes."""
    connections: int
    stage: Stage
    note: str = ""
    """One sentence about what is waited for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    sha256: str
    fetched: int
