"""Transfers over real HTTP from the loopback hub, with everything that goes wrong on the way."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.hub import (
    ALWAYS,
    GATED,
    NO_FILE,
    HubServer,
    busy,
    close_after,
    flip,
    html,
    hub_server,
    ignore_range,
    length,
    reset_after,
    serves,
    slow,
    stall_after,
    status,
    wrong_range,
)
from tests.support.transferring import (
    FILE,
    QUICK,
    REPOSITORY,
    Downloading,
    Notes,
    after,
)

from corral.errors import CorralError, DoesNotFit, NotFound, Refused
from corral.models.hub.client import Hub
from corral.models.hub.types import FileChanged, HubError
from corral.models.transfer.pieces import PIECE, count, damaged, digest, span
from corral.models.transfer.transfer import Control, Limit, Mismatch, Progress, Stopped, Tuning

SIZE = 4 * PIECE + 1_234_567
PIECES = count(SIZE)


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(3).randbytes(SIZE)


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with hub_server() as server:
        server.add(REPOSITORY, {FILE: content})
        yield server


@pytest.fixture
def download(server: HubServer, tmp_path: Path) -> Iterator[Downloading]:
    hub = Hub(tmp_path / "cache", endpoint=server.url)
    yield Downloading(hub, tmp_path / f"{FILE}.part", Notes())
    hub.close()


def test_a_whole_file(download: Downloading, server: HubServer, content: bytes) -> None:
    outcome = download()
    assert download.part.read_bytes() == content
    assert (outcome.sha256, outcome.fetched) == (hashlib.sha256(content).hexdigest(), SIZE)
    assert server.ranges(FILE) == [(0, SIZE)]
    expected = {n: digest(content[slice(*span(n, SIZE))]) for n in range(PIECES)}
    assert download.notes.pieces() == expected
    assert stat.S_IMODE(download.part.stat().st_mode) == 0o600
    last = download.told[-1]
    assert (last.done, last.total, last.fetched) == (SIZE, SIZE, SIZE)


def test_what_is_complete_is_only_read_again(download: Downloading, server: HubServer) -> None:
    download()
    before = server.sent(FILE)
    assert download().fetched == 0
    assert server.sent(FILE) == before
    assert {told.stage for told in download.told} == {"checking"}


def test_an_empty_file(download: Downloading, server: HubServer) -> None:
    server.add(REPOSITORY, {FILE: b""})
    assert download().sha256 == hashlib.sha256(b"").hexdigest()
    assert download.part.read_bytes() == b""


def test_ten_broken_connections(download: Downloading, server: HubServer, content: bytes) -> None:
    """Each continues where the last one ended: what counts is what was asked for."""
    source = random.Random(11)
    for number in range(10):
        bytes_before = source.randrange(100_000, 3_000_000)
        server.fault((close_after if number % 2 else reset_after)(bytes_before))
    assert download().fetched == SIZE
    assert download.part.read_bytes() == content
    gets = server.ranges(FILE)
    assert len(gets) == 11
    starts = [start for start, _ in gets]
    assert starts == sorted(starts)
    assert all(start <= stop for (start, _), (_, stop) in zip(gets[1:], gets, strict=False))


@pytest.mark.parametrize(
    "fault",
    [
        status(503),
        status(500),
        status(408),
        status(504),
        html(),
        close_after(0),
        reset_after(0),
        wrong_range(1),
        length(-5_000_000),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.n}",
)
def test_passing_trouble(
    download: Downloading, server: HubServer, content: bytes, fault: Any
) -> None:
    server.fault(close_after(5_000_000), fault)
    assert download().fetched == SIZE
    assert download.part.read_bytes() == content


def test_the_servers_wish_is_honoured(download: Downloading, server: HubServer) -> None:
    server.fault(busy(1), where="resolve")
    started = time.monotonic()
    download()
    assert time.monotonic() - started >= 1.0
    waiting = [told for told in download.told if told.stage == "waiting"]
    assert waiting and "again in" in waiting[0].note


def test_a_stall_ends_although_the_read_blocks(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.fault(stall_after(5_000_000), slow(1))
    started = time.monotonic()
    download(tuning=Tuning(stall=0.4, first_wait=0.01))
    assert time.monotonic() - started < 30
    assert download.part.read_bytes() == content
    assert len(server.ranges(FILE)) == 3


def test_it_gives_up_and_goes_on_later(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.fault(close_after(9_000_000))
    server.fault(status(503), times=ALWAYS)
    with pytest.raises(HubError):
        download()
    assert len(server.requests("cdn", file=FILE)) == QUICK.attempts
    assert download.part.stat().st_size == 9_000_000
    server.faults.clear()
    assert download().fetched == SIZE - 9_000_000
    assert download.part.read_bytes() == content


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(GATED, Refused), (NO_FILE, NotFound), (status(410), CorralError), (status(451), CorralError)],
    ids=lambda value: f"{value.n}" if hasattr(value, "n") else "",
)
def test_a_no_is_not_asked_again(
    download: Downloading, server: HubServer, fault: Any, kind: type[CorralError]
) -> None:
    server.fault(fault, where="resolve", times=ALWAYS)
    with pytest.raises(kind):
        download()
    assert len(server.requests("hub", "GET", FILE)) == 1


def test_the_hub_is_gone(download: Downloading, server: HubServer) -> None:
    remote = download.remote()
    server.stop()
    started = time.monotonic()
    with pytest.raises(HubError):
        download(remote=remote)
    assert time.monotonic() - started < 30


def test_a_server_without_ranges(download: Downloading, server: HubServer, content: bytes) -> None:
    server.fault(close_after(12_000_000))
    server.fault(ignore_range(), times=ALWAYS)
    assert download().fetched == SIZE
    assert download.part.read_bytes() == content


@pytest.mark.parametrize("size", [SIZE - 1_000_000, SIZE + 1_000_000, 1_000])
def test_another_length_than_promised(download: Downloading, server: HubServer, size: int) -> None:
    """Never installed, and never a byte beyond what was promised."""
    server.fault(serves(bytes(size)), times=ALWAYS)
    with pytest.raises(CorralError):
        download()
    assert download.part.stat().st_size <= SIZE


def test_the_file_changes_on_the_way(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    remote = download.remote()
    server.add(REPOSITORY, {FILE: content[::-1]})
    with pytest.raises(FileChanged):
        download(remote=remote)
    assert server.sent(FILE) == 0


# --- wrong bytes


def test_a_wrong_byte_is_refused_and_repaired(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.fault(flip(PIECE + 77))
    with pytest.raises(Mismatch):
        download()
    wrong = bytearray(content)
    wrong[PIECE + 77] ^= 1
    assert download.part.read_bytes() == wrong
    before = server.sent(FILE)
    download(repair=True)
    assert download.part.read_bytes() == content
    assert download.notes.replaced == [1]
    # Two pieces, and what was on its way when the hash was right.
    assert server.sent(FILE) - before <= SIZE
    assert download.notes.pieces()[1] == digest(content[PIECE : 2 * PIECE])
    assert any(told.stage == "repairing" for told in download.told)


def test_as_long_as_the_hub_is_wrong_so_is_the_file(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.fault(flip(5), times=ALWAYS)
    for repair in (False, True):
        with pytest.raises(Mismatch):
            download(repair=repair)
    server.faults.clear()
    server.fault(flip(PIECE + 5))  # the next one is right at 5, and wrong elsewhere
    download(repair=True)
    assert download.part.read_bytes() == content


def test_many_wrong_pieces(download: Downloading, server: HubServer, content: bytes) -> None:
    server.fault(serves(bytes(SIZE)))
    with pytest.raises(Mismatch):
        download()
    download(repair=True)
    assert download.part.read_bytes() == content
    assert download.notes.replaced == list(range(PIECES))


def test_a_damaged_piece_on_the_disk_is_the_only_one_fetched(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    download()
    _spoil(download.part, 2 * PIECE + 99)
    sha256, found = damaged(download.part, download.notes.pieces(), SIZE)
    assert sha256 != hashlib.sha256(content).hexdigest()
    assert found == [2]
    before = len(server.ranges(FILE))
    assert download().fetched == PIECE
    assert server.ranges(FILE)[before:] == [(2 * PIECE, 3 * PIECE)]
    assert download.part.read_bytes() == content
    download.notes.forget([0, PIECES - 1])
    assert download().fetched == PIECE + SIZE - (PIECES - 1) * PIECE


# --- what is there from before


@pytest.mark.parametrize("have", [1, PIECE - 1, PIECE, PIECE + 4_000_000, 3 * PIECE + 5])
def test_the_length_of_the_part_tells_what_the_journal_does_not(
    download: Downloading, server: HubServer, content: bytes, have: int
) -> None:
    """A kill between a write and its record."""
    download.part.write_bytes(content[:have])
    noted = max(0, have // PIECE - 1)
    download.notes.record({n: digest(content[slice(*span(n, SIZE))]) for n in range(noted)})
    assert download().fetched == SIZE - have
    assert server.ranges(FILE) == [(have, SIZE)]
    assert download.part.read_bytes() == content
    assert sorted(download.notes.pieces()) == list(range(PIECES))


def test_what_a_power_cut_left_of_the_end_is_fetched_again(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    """Length without contents; and a noted piece that never reached the disk."""
    have = 2 * PIECE + 1_000_000
    download.part.write_bytes(content[: PIECE - 5] + bytes(have - PIECE + 5))
    download.notes.record({0: digest(content[:PIECE])})
    download()
    assert download.part.read_bytes() == content
    assert download.notes.pieces()[1] == digest(content[PIECE : 2 * PIECE])


def test_a_part_that_nobody_noted_is_not_trusted(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    download.part.write_bytes(bytes(SIZE + 100))
    assert download().fetched == SIZE
    assert download.part.read_bytes() == content


def test_only_the_gaps_are_fetched(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    """As several connections leave it when they are killed."""
    download.part.write_bytes(content[:PIECE] + bytes(PIECE) + content[2 * PIECE : 3 * PIECE])
    os.truncate(download.part, SIZE)
    download.notes.record({n: digest(content[slice(*span(n, SIZE))]) for n in (0, 2)})
    download()
    assert server.ranges(FILE) == [(PIECE, 2 * PIECE), (3 * PIECE, SIZE)]
    assert download.part.read_bytes() == content


# --- stopping


@pytest.mark.parametrize(
    "fault", [None, stall_after(3_000_000), slow(1), busy(30), stall_after(0)], ids=str
)
def test_stop(download: Downloading, server: HubServer, content: bytes, fault: Any) -> None:
    """From another thread, whatever it waits for; and then it goes on."""
    control = Control()
    if fault:
        server.fault(fault)
    server.rate = 20_000_000
    stopped: list[float] = []

    def stop() -> None:
        stopped.append(time.monotonic())
        control.stop()

    after(0.5, stop)
    with pytest.raises(Stopped):
        download(control=control)
    assert time.monotonic() - stopped[0] < 5
    server.rate = 0
    server.faults.clear()
    have = download.part.stat().st_size
    assert download().fetched == SIZE - have
    assert download.part.read_bytes() == content


def test_stopped_before_it_began(download: Downloading, server: HubServer) -> None:
    control = Control()
    control.stop()
    with pytest.raises(Stopped):
        download(control=control)
    assert server.sent(FILE) == 0


# --- the bandwidth


def test_the_limit_holds_and_may_be_lifted(download: Downloading, server: HubServer) -> None:
    limit = Limit(4_000_000)
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.done > 6_000_000:
            limit.bytes_per_second = 0

    started = time.monotonic()
    download(limit=limit, progress=watch)
    slow_part = next(p for p in seen if p.done > 6_000_000)
    assert time.monotonic() - started > 1.0
    assert slow_part.done < SIZE
    assert time.monotonic() - started < 30


def test_more_connections_where_each_is_slow(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.connection_rate = 8_000_000
    download(tuning=Tuning(probe=0.3))
    assert max(told.connections for told in download.told) >= 3
    assert download.part.read_bytes() == content
    assert server.sent(FILE) < SIZE + 4 * PIECE


def test_one_connection_where_more_do_not_help(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.rate = 12_000_000
    download(tuning=Tuning(probe=0.6))
    used = [told.connections for told in download.told if told.stage == "transfer"]
    assert max(used) == 2
    assert used[-1] == 1
    assert download.part.read_bytes() == content


def test_several_connections_of_which_some_break(
    download: Downloading, server: HubServer, content: bytes
) -> None:
    server.connection_rate = 8_000_000
    after(1.3, lambda: server.fault(reset_after(2_000_000), status(503), close_after(5)))
    download(tuning=Tuning(probe=0.3, first_wait=0.01))
    assert download.part.read_bytes() == content


# --- several remote files


def test_segments_are_joined(download: Downloading, server: HubServer, content: bytes) -> None:
    cut = PIECE + 3_333_333
    server.add(REPOSITORY, {"a-split-a": content[:cut], "a-split-b": content[cut:]}, git=False)
    server.fault(reset_after(1_000_000), close_after(1_000_000))
    segments = download.segments("a-split-a", "a-split-b")
    download(segments=segments, sha256=None)
    assert download.part.read_bytes() == content
    server.fault(flip(10), file="a-split-b")
    download.restart()
    with pytest.raises(Mismatch):
        download(segments=segments, sha256=None)
    before = server.sent("a-split-a")
    download(segments=segments, sha256=None, repair=True)
    assert download.part.read_bytes() == content
    assert server.sent("a-split-a") - before <= PIECE


# --- the disk


def test_a_full_disk(server: HubServer, download: Downloading, content: bytes) -> None:
    folder = download.part.parent / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    try:
        download.part = folder / f"{FILE}.part"
        with pytest.raises(DoesNotFit):
            download()
        have = download.part.stat().st_size
        assert have >= 2 * PIECE
        subprocess.run(["mount", "-o", "remount,size=60m", str(folder)], check=True)
        assert download().fetched <= SIZE - have + PIECE
        assert download.part.read_bytes() == content
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("make", ["link", "dangling link", "folder", "pipe"])
def test_something_else_is_in_the_way(
    download: Downloading, server: HubServer, make: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    if make == "link":
        download.part.symlink_to(victim)
    elif make == "dangling link":
        download.part.symlink_to(tmp_path / "nowhere")
    elif make == "folder":
        download.part.mkdir()
    else:
        os.mkfifo(download.part)
    with pytest.raises(Refused):
        download()
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert server.sent(FILE) == 0


def test_a_folder_that_is_gone(download: Downloading, server: HubServer) -> None:
    download.part = download.part.parent / "gone" / "x.part"
    with pytest.raises(Refused):
        download()


def test_an_error_of_the_journal_ends_it(download: Downloading, server: HubServer) -> None:
    def fail(pieces: object) -> None:
        raise Refused("no room for notes")

    download.notes.record = fail  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no room"):
        download()


def _spoil(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
