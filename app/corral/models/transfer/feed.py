"""Connections that bring the missing pieces: how many, when again after a failure, when one hangs.

A connection is a thread that may block in a read for as long as it likes: one that hangs, or is in
the way when the person says stop, is left behind, and what it still brings is thrown away.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence

from corral.models.hub.types import HubError, RangeIgnored
from corral.models.transfer.types import Chunk, Control, Limit, Segment, Tuning
from corral.models.transfer.window import Piece, Window
from corral.units import duration


class Stream:
    """One request for one range of one segment; ``position`` is the next byte of the whole file."""

    def __init__(self, connection: Connection, start: int, stop: int) -> None:
        first = 0
        for segment in connection.segments:
            if start < first + segment.size:
                break
            first += segment.size
        self.position = start
        self._connection = connection
        self._stop = min(stop, first + segment.size)
        self._rest: Chunk = b""
        self._exit = contextlib.ExitStack()
        asked = first if connection.whole else start
        with connection.blocking():
            room = None if asked < start else connection.room
            source = segment.source.open(asked - first, self._stop - first, room)
            self._chunks: Iterator[Chunk] = self._exit.enter_context(source)
        self._skip = start - asked

    def read(self, most: int) -> Chunk:
        """The next chunk, of no more than ``most`` bytes; waits for the bandwidth limit."""
        chunk = self._rest or self._next()
        self._rest = b""
        if len(chunk) > most:
            self._rest = memoryview(chunk)[most:]
            chunk = memoryview(chunk)[:most]
        self.position += len(chunk)
        return chunk

    def close(self) -> None:
        """At the end of its range the connection can be used again, once the source saw the end."""
        with contextlib.suppress(Exception), self._connection.blocking(), self._exit:
            if self.position == self._stop:
                next(self._chunks, None)

    def _next(self) -> Chunk:
        while True:
            self._connection.pay()
            with self._connection.blocking():
                chunk = next(self._chunks, None)
            if chunk is None or self._connection.abandoned:
                raise HubError("The connection ended too early", title="Interrupted", retry=True)
            self._connection.brought(len(chunk))
            if not self._skip:
                return chunk
            if self._skip < len(chunk):
                rest = memoryview(chunk)[self._skip :]
                self._skip = 0
                return rest
            self._skip -= len(chunk)


class Connection(threading.Thread):
    """Fetches piece after piece, with one request for as many neighbours as it may."""

    def __init__(
        self,
        window: Window,
        segments: Sequence[Segment],
        control: Control,
        limit: Limit,
        tuning: Tuning,
        *,
        whole: bool,
    ) -> None:
        super().__init__(daemon=True)
        self.segments = segments
        self.limit = limit
        self.whole = whole
        """The server ignores ranges: every request is for the whole segment."""
        self.abandoned = False
        self.leaving = False
        self.ended = False
        self.error: Exception | None = None
        self._window = window
        self._control = control
        self._tuning = tuning
        self._piece: Piece | None = None
        self._blocked = 0.0
        self._since: float | None = None
        self._brought = 0

    def run(self) -> None:
        try:
            self._fetch()
        except Exception as error:
            self.error = error
        finally:
            self._window.drop(self)
            self.ended = True
            self._control.wake.set()

    def _fetch(self) -> None:
        stream: Stream | None = None
        try:
            while piece := self._window.take(self):
                self._piece = piece
                while piece.received < piece.stop:
                    if stream is None or stream.position != piece.received:
                        if stream:
                            stream.close()
                        stream = self._open(piece)
                    chunk = stream.read(piece.stop - piece.received)
                    if not self._window.give(self, piece, chunk):
                        return
        finally:
            if stream:
                stream.close()

    def _open(self, piece: Piece) -> Stream:
        stop = self._window.run_end(piece) if self._window.alone else piece.stop
        return Stream(self, piece.received, stop)

    def room(self, most: int) -> memoryview:
        assert self._piece
        return self._window.room(self, self._piece, most)

    # --- its clock: how long reads blocked since they last brought something worth it

    @contextlib.contextmanager
    def blocking(self) -> Iterator[None]:
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._blocked += time.monotonic() - self._since
            self._since = None

    def brought(self, count: int) -> None:
        self.limit.spend(count)
        self._brought += count
        if self._brought >= self._tuning.stall_bytes:
            self._brought, self._blocked = 0, 0.0

    def pay(self) -> None:
        """Wait for the bandwidth limit, which may change meanwhile."""
        while (wait := self.limit.wait()) and not self._window.over and not self.abandoned:
            with self._window.changed:
                self._window.changed.wait(min(wait, 0.1))

    @property
    def stalled(self) -> bool:
        since = self._since
        waiting = time.monotonic() - since if since is not None else 0.0
        return self._blocked + waiting > self._tuning.stall


class Tuner:
    """Adds a connection, measures, and keeps it only if the whole became faster by enough."""

    def __init__(self, most: int, tuning: Tuning) -> None:
        self.target = 1
        self._most = max(1, most)
        self._tuning = tuning
        self._settled = self._most == 1
        self._best = 0.0
        self._ready = 0.0
        self._began: tuple[float, int] | None = None

    def settle(self, target: int) -> None:
        self.target = max(1, target)
        self._settled = True

    def look(self, now: float, fetched: int, left: int) -> None:
        """To be called now and then, with the bytes that came so far and those that are left."""
        if self._settled or not fetched:
            return
        if self._began is None:  # the newest connection gets a moment to come up to speed
            self._ready = self._ready or now + self._tuning.probe / 3
            if now >= self._ready:
                self._began = (now, fetched)
            return
        since, before = self._began
        if now - since < self._tuning.probe:
            return
        rate = (fetched - before) / (now - since)
        if rate < self._best * self._tuning.gain:
            self.settle(self.target - 1)
        elif self.target == self._most or left < rate * self._tuning.probe * 3:
            self.settle(self.target)
        else:
            self._best = rate
            self.target += 1
            self._began, self._ready = None, 0.0


class Feed:
    """Keeps as many connections going as help; ``tick`` is called some times a second.

    Raises:
        HubError: it failed too often without anything coming in between, or for good.
        CorralError: whatever else the hub refused.
    """

    def __init__(
        self,
        window: Window,
        segments: Sequence[Segment],
        control: Control,
        limit: Limit,
        tuning: Tuning,
        connections: int,
    ) -> None:
        self.note = ""
        self._window = window
        self._segments = segments
        self._control = control
        self._limit = limit
        self._tuning = tuning
        self._tuner = Tuner(connections, tuning)
        self._connections: list[Connection] = []
        self._whole = False
        self._failures = 0
        self._fetched = 0
        """What had come at the last failure."""
        self._again = 0.0

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def waiting(self) -> float:
        """Seconds until it tries again."""
        return 0.0 if self._connections else max(0.0, self._again - time.monotonic())

    def tick(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.ended:
                self._connections.remove(connection)
                if connection.error:
                    self._failed(connection.error, now)
            elif connection.stalled:
                connection.abandoned = True
                self._connections.remove(connection)
                self._window.drop(connection)
                seconds = duration(self._tuning.stall)
                error = HubError(f"Nothing came for {seconds}", title="Stalled", retry=True)
                self._failed(error, now)
        if not self._limit.bytes_per_second:
            fetched = self._window.fetched
            self._tuner.look(now, fetched, self._window.size - self._window.done)
        self._adjust(now)

    def leave(self) -> None:
        for connection in self._connections:
            connection.abandoned = True

    def _adjust(self, now: float) -> None:
        target = self._tuner.target
        self._window.serve(target)
        for connection in self._connections[target:]:
            connection.leaving = True
        if now < self._again:
            return
        while len(self._connections) < target and self._window.wanted:
            connection = Connection(
                self._window,
                self._segments,
                self._control,
                self._limit,
                self._tuning,
                whole=self._whole,
            )
            self._connections.append(connection)
            connection.start()
            if len(self._connections) > 1:
                break  # the others follow, when this one took its piece

    def _failed(self, error: Exception, now: float) -> None:
        if not isinstance(error, HubError) or not error.retry:
            raise error
        if self._connections:
            # The others go on; so many at once were perhaps too many.
            self._tuner.settle(len(self._connections))
            return
        if self._window.fetched - self._fetched >= self._tuning.stall_bytes:
            self._failures = 0
        self._fetched = self._window.fetched
        self._failures += 1
        wait = min(self._tuning.longest_wait, self._tuning.first_wait * 2 ** (self._failures - 1))
        wait *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads clients, protects nothing
        if error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if self._failures >= self._tuning.attempts or wait > self._tuning.longest_request:
            raise error
        if isinstance(error, RangeIgnored):
            self._whole = True
            self._tuner.settle(1)
            wait = 0.0
        self.note = error.message
        self._again = now + wait
