"""Files as they come over the wire: whole, in ranges, cut, changed, stalled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import hub as faults
from tests.support.hub import ALWAYS, COMMIT, TOKEN, Fault, HubServer
from tests.support.remote import DATA, FILE, REPO, read

from corral.errors import CorralError, Refused
from corral.models.hub.client import Hub
from corral.models.hub.types import FileChanged, HubError, RangeIgnored, RemoteFile

# --- bytes --------------------------------------------------------------------------------------


def test_ranges(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    assert read(hub, remote) == DATA
    assert read(hub, remote, 1000, 1001) == DATA[1000:1001]
    assert read(hub, remote, 5, len(DATA)) == DATA[5:]
    assert read(hub, remote, 0, 7) == DATA[:7]
    asked = [request.headers.get("range") for request in server.requests("cdn")]
    assert asked == [None, "bytes=1000-1000", f"bytes=5-{len(DATA) - 1}", "bytes=0-6"]


@pytest.mark.parametrize("length", ["exact", "chunked"])
def test_long_ranges_go_around_the_parser(
    hub: Hub, server: HubServer, tmp_path: Path, length: str
) -> None:
    path = tmp_path / "big.gguf"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        file.writelines(bytes([number]) + block for number in range(70))
    server.add(REPO, {"big.gguf": path})
    remote = hub.file(REPO, COMMIT, "big.gguf")
    if length == "chunked":  # without a length the connection's end is the body's
        server.fault(faults.headers({"Content-Length": None, "Connection": "close"}))
    digest = hashlib.sha256()
    with hub.open(remote, 0, remote.size) as chunks:
        for chunk in chunks:
            digest.update(chunk)
    assert digest.hexdigest() == remote.sha256
    start = 12_345_678
    whole = path.read_bytes()
    assert read(hub, remote, start, start + 40_000_000) == whole[start : start + 40_000_000]
    server.fault(faults.close_after(50_000_000), faults.reset_after(50_000_000))
    for _ in range(2):
        with pytest.raises(HubError) as caught:
            read(hub, remote, 100)
        assert caught.value.retry
    server.fault(faults.stall_after(45_000_000))
    with pytest.raises(HubError, match="Nothing came from"):
        read(hub, remote, 100)


def test_many_ranges_use_few_connections(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    before = len(server.connections)
    for start in range(0, 100_000, 10_000):
        read(hub, remote, start, start + 10_000)
    assert len(server.connections) - before <= 2


def test_threads_read_side_by_side(hub: Hub, remote: RemoteFile) -> None:
    step = -(-len(DATA) // 8)
    starts = range(0, len(DATA), step)
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda a: read(hub, remote, a, min(a + step, len(DATA))), starts)
    assert b"".join(parts) == DATA


BODIES: list[tuple[Fault, int, type[CorralError], str]] = [
    (faults.close_after(500_000), 0, HubError, "too early"),
    (faults.close_after(0), 0, HubError, "too early"),
    (faults.reset_after(500_000), 100, HubError, "broke: connection reset"),
    (faults.stall_after(500_000), 100, HubError, "Nothing came from"),
    (faults.stall_after(0), 100, HubError, "Nothing came from"),
    (faults.slow(1), 0, HubError, "Nothing came from"),
    (faults.html(), 0, HubError, "page for browsers"),
    (faults.html(), 100, HubError, "page for browsers"),
    (faults.serves(b'{"error": 1}'.ljust(len(DATA))), 0, HubError, "page for browsers"),
    (faults.serves(DATA[:-10]), 0, FileChanged, "not the file any more"),
    (faults.serves(DATA + b"longer"), 0, FileChanged, "not the file any more"),
    (faults.serves(DATA[:-10]), 100, FileChanged, "not the file any more"),
    (faults.serves(DATA[:50]), 100, FileChanged, "not the file any more"),
    (faults.length(-5), 100, HubError, "too early"),
    (faults.ignore_range(), 100, RangeIgnored, "whole file"),
    (faults.wrong_range(7), 100, HubError, "another part"),
    (faults.wrong_range(-7), 100, HubError, "another part"),
    (faults.headers({"Content-Range": "bytes all"}), 100, HubError, "no sense"),
    (faults.headers({"Content-Encoding": "gzip"}), 0, HubError, "compresses"),
    (faults.status(204), 0, HubError, "no sense"),
    (faults.status(416, headers={"Content-Range": "bytes */9"}), 9, FileChanged, "not the file"),
    (faults.status(416), 100, HubError, "no such part"),
]


@pytest.mark.parametrize(
    ("fault", "start", "kind", "words"), BODIES, ids=[f"{b[0].kind}-{b[1]}-{b[3]}" for b in BODIES]
)
def test_what_goes_wrong_with_bytes(
    hub: Hub,
    server: HubServer,
    remote: RemoteFile,
    fault: Fault,
    start: int,
    kind: type[CorralError],
    words: str,
) -> None:
    server.fault(fault)
    with pytest.raises(CorralError, match=words) as caught:
        read(hub, remote, start)
    assert type(caught.value) is kind
    assert getattr(caught.value, "retry", False) == (kind is not FileChanged)
    assert read(hub, remote, start) == DATA[start:], "and then all is well"


def test_what_came_before_the_end_is_kept(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    server.fault(faults.close_after(500_000))
    got = b""
    with pytest.raises(HubError), hub.open(remote, 0, remote.size) as chunks:
        for chunk in chunks:
            got += chunk
    assert got == DATA[:500_000]


def test_a_length_that_promises_too_much_does_no_harm(
    hub: Hub, remote: RemoteFile, server: HubServer
) -> None:
    server.fault(faults.length(5))
    assert read(hub, remote, 100) == DATA[100:]


def test_a_file_that_changes_midway(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    read(hub, remote, 0, 1000)
    server.add(REPO, {FILE: DATA[:-1] + b"x"})
    with pytest.raises(FileChanged):
        read(hub, remote, 1000)
    assert not server.requests("cdn")[1:], "a byte of it was asked for"


def test_redirects(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    server.fault(faults.hops(4), where="resolve")
    assert read(hub, remote, 10) == DATA[10:]
    assert [request.headers["range"] for request in server.requests("cdn")] == [
        f"bytes=10-{len(DATA) - 1}"
    ] * 5
    for fault in (faults.hops(9), faults.loop()):
        server.fault(fault, where="resolve")
        before = len(server.log)
        with pytest.raises(Refused, match="from one address to the next"):
            read(hub, remote)
        assert len(server.log) - before == 6
    for where in ("file:///etc/passwd", "ftp://x/y", "https://[x", "http://a:b@127.0.0.1/"):
        server.fault(faults.redirect(where), where="resolve")
        with pytest.raises(CorralError) as caught:
            read(hub, remote)
        assert not isinstance(caught.value, HubError), where
        assert caught.value.title == "Bad redirect"


def test_a_hub_that_leads_in_circles(hub: Hub, server: HubServer) -> None:
    there = faults.redirect(f"/{REPO}/resolve/{COMMIT}/{FILE}")
    server.fault(there, where="head", times=ALWAYS)
    with pytest.raises(Refused, match="from one address to the next"):
        hub.file(REPO, COMMIT, FILE)
    assert len(server.log) < 50


def test_a_redirect_within_the_hub_keeps_the_token(
    server: HubServer, connect: Callable[..., Hub]
) -> None:
    """Repositories that were renamed answer so."""
    server.add("meta/gated", {FILE: DATA}, gated=True)
    hub = connect(token=TOKEN)
    remote = hub.file("meta/gated", COMMIT, FILE)
    server.fault(faults.redirect(f"/meta/gated/resolve/{COMMIT}/{FILE}", 307), where="resolve")
    assert read(hub, remote) == DATA
