"""The bytes of one model file: resumed, verified while they arrive, and repaired piece by piece.

The hub's own library neither resumes nor compares hashes. Here every byte is hashed on its way to
the disk, in order and from memory; every piece of 8 MiB is noted with its digest, so that a kill
costs no more than what was on its way, and damage no more than the pieces it is in.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corral.models.transfer.feed import Feed
from corral.models.transfer.flow import Crew, Flow, Hashes
from corral.models.transfer.part import Part
from corral.models.transfer.pieces import PIECE, count
from corral.models.transfer.repair import Repair
from corral.models.transfer.types import (
    Control,
    Journal,
    Limit,
    Mismatch,
    Outcome,
    Progress,
    Segment,
    SegmentSource,
    Source,
    Stage,
    Stopped,
    Tuning,
)
from corral.models.transfer.window import AHEAD
from corral.units import duration

__all__ = [
    "Control",
    "Journal",
    "Limit",
    "Mismatch",
    "Outcome",
    "Progress",
    "Segment",
    "SegmentSource",
    "Source",
    "Stopped",
    "Tuning",
    "transfer",
]

TICK = 0.05
"""Seconds between looks at connections that hang and at failures to be repeated."""
LEAVE = 0.08
"""Seconds that hashing and writing get to end when it is over early."""
RATE_SECONDS = 5.0
LAG = (AHEAD + 1) * PIECE
"""Bytes by which the journal may be behind the disk."""


def transfer(
    part: Path,
    segments: Sequence[Segment],
    *,
    sha256: str | None,
    journal: Journal,
    control: Control,
    limit: Limit,
    progress: Callable[[Progress], None],
    connections: int = 4,
    repair: bool = False,
    tuning: Tuning = Tuning(),
) -> Outcome:
    """Complete ``part`` and compare its hash; it stays where it is, whatever happens.

    Args:
        segments: the remote files that are joined, in order; usually one.
        sha256: of the whole file, 64 hexadecimal digits. Without one each segment's own is
            compared.
        progress: called in this thread, about ten times a second and at the end.
        connections: the most that are tried; each must prove that it helps.
        repair: after a mismatch, fetch piece after piece again, compare it with what was noted,
            and replace what differs until the hash is right.

    Raises:
        Stopped: ``control`` said so, at most a tenth of a second ago.
        Mismatch: the hash is wrong; the part holds what came.
        HubError: it failed too often, or for good.
        DoesNotFit: the disk is full.
        Refused: the hub or the disk does not let it.
    """
    file = Part(part, sum(segment.size for segment in segments))
    job = _Job(file, segments, journal, control, limit, progress, connections, tuning)
    try:
        known, tail = _what_is_there(file, journal)
        trusted = [number for number in range(count(tail)) if not known.get(number)]
        hashes = job.run(Flow(file, control, journal, Hashes(segments, sha256), known, tail))
        if not hashes.right and trusted:
            # Nobody had noted these pieces: the last ones before a power cut may never have
            # reached the disk.
            journal.forget(trusted)
            known, _ = _what_is_there(file, journal)
            hashes = job.run(Flow(file, control, journal, Hashes(segments, sha256), known))
        if not hashes.right and repair:
            fresh = Hashes(segments, sha256)
            hashes = job.run(Repair(file, control, journal, fresh, hashes.wrong))
        if not hashes.right:
            raise Mismatch(
                f"“{file.name}” is not the file that was promised: its checksum differs",
                hint="Resume to fetch again only what differs",
            )
        return Outcome(hashes.hexdigest, job.fetched)
    finally:
        file.release()


def _what_is_there(file: Part, journal: Journal) -> tuple[Mapping[int, bytes], int]:
    """The pieces that should be on the disk, and the end of what is there in one run.

    The part is as long as what was written (see :mod:`corral.models.transfer.part`); the journal
    may be a moment behind, and pieces that it lacks have the digest b"" here. Further behind than
    a moment it cannot be: then it is about another file.
    """
    total = count(file.size)
    known = {number: value for number, value in journal.pieces().items() if 0 <= number < total}
    first = next((number for number in range(total) if number not in known), total)
    if len(known) > first or first == total:
        return known, 0
    ahead = file.end - first * PIECE
    if file.end == file.size:
        return known, 0  # Not shortened: it may be a model that is repaired while it is in use.
    if ahead > LAG:
        file.shorten(first * PIECE)
    elif ahead > 0:
        known.update(dict.fromkeys(range(first, file.end // PIECE), b""))
        return known, file.end
    return known, 0


@dataclass(slots=True)
class _Job:
    """One call of :func:`transfer`: runs over the file, watched from the thread that called."""

    part: Part
    segments: Sequence[Segment]
    journal: Journal
    control: Control
    limit: Limit
    progress: Callable[[Progress], None]
    connections: int
    tuning: Tuning
    fetched: int = 0
    _rates: deque[tuple[float, int]] = field(default_factory=deque)
    _reported: float = 0.0

    def run(self, crew: Crew) -> Hashes:
        """Until the last byte is hashed and on the disk."""
        window = crew.window
        feed = Feed(window, self.segments, self.control, self.limit, self.tuning, self.connections)
        crew.begin()
        try:
            while not crew.finished:
                if self.control.stopped:
                    raise Stopped(f"“{self.part.name}” is incomplete; what is here is kept")
                if crew.error:
                    raise crew.error
                feed.tick()
                self._report(crew, feed)
                self.control.wake.wait(TICK)
                self.control.wake.clear()
            self._report(crew, feed, last=True)
        finally:
            window.finish()
            feed.leave()
            crew.leave(LEAVE)
            self.fetched += window.fetched
        return crew.hashes

    def _report(self, crew: Crew, feed: Feed, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - self._reported < self.tuning.report and not last:
            return
        self._reported = now
        window = crew.window
        fetched = self.fetched + window.fetched
        self._rates.append((now, fetched))
        while now - self._rates[0][0] > RATE_SECONDS:
            self._rates.popleft()
        since, before = self._rates[0]
        rate = (fetched - before) / (now - since) if now > since else 0.0
        done = window.done
        stage = self._stage(crew, feed)
        self.progress(
            Progress(
                done=done,
                total=self.part.size,
                fetched=fetched,
                rate=rate,
                eta=(self.part.size - done) / rate if rate else None,
                connections=feed.connections,
                stage=stage,
                note=_note(feed) if stage == "waiting" else "",
            )
        )

    @staticmethod
    def _stage(crew: Crew, feed: Feed) -> Stage:
        window = crew.window
        if feed.waiting:
            return "waiting"
        if isinstance(crew, Repair):
            return "repairing"
        if window.complete:
            return "verifying" if window.fetched else "checking"
        if window.position in window.known and not feed.connections:
            return "checking"
        return "transfer"


def _note(feed: Feed) -> str:
    return f"{feed.note}; again in {duration(feed.waiting)}"
