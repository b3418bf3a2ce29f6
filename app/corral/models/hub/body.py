"""The body of a reply as chunks: as fast as the socket gives them, with a watch on the time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator

import httpx2

from corral.errors import CorralError
from corral.models.hub.errors import FAILURES, About, host_of, translate
from corral.models.hub.replies import a_page, looks_like_a_page
from corral.models.hub.types import HubError, RemoteFile

CHUNK = 256 * 1024
"""Bytes asked of the socket at once: they fit the processor's cache, and calls are few."""
DIRECT = 32 * 1024 * 1024
"""Ranges from this size on are read around the HTTP parser, which copies everything three times.

That is three times as fast; the connection cannot be used again.
"""
SLOWEST = 100
"""Bytes a second; less is a stall, too."""


Room = Callable[[int], memoryview]
"""Gives a place for so many bytes at most."""


def chunks_of(
    response: httpx2.Response,
    remote: RemoteFile,
    start: int,
    stop: int,
    stall: float,
    room: Room | None = None,
) -> Generator[bytes | memoryview]:
    url = str(response.request.url)
    left = stop - start
    # From here on the patience is another one; the engine looks it up when the body begins.
    response.request.extensions["timeout"]["read"] = stall
    slow = _Clock(stall)
    reads = _reads(response, left, stall, room or _new)
    try:
        while left > 0:
            since = time.monotonic()
            chunk = next(reads, b"")
            if not chunk:
                break
            if slow.passed(time.monotonic() - since, len(chunk)):
                raise _stalled(url, stall)
            if start == 0 and left == stop and looks_like_a_page(bytes(chunk), remote):
                raise a_page(remote)
            chunk = chunk[:left] if len(chunk) > left else chunk
            left -= len(chunk)
            yield chunk
        if response.headers.get("Content-Length") == str(stop - start):
            next(reads, None)  # the parser sees the end, and the connection can be used again
    except httpx2.ReadTimeout:
        raise _stalled(url, stall) from None
    except CorralError:
        raise
    except FAILURES as error:
        raise translate(error, About(url), url) from None
    finally:
        reads.close()
    if left:
        message = f"{host_of(url)} ended the connection too early"
        raise HubError(message, title="Interrupted", retry=True)


def _reads(
    response: httpx2.Response, left: int, stall: float, room: Room
) -> Generator[bytes | memoryview]:
    parsed = response.iter_raw()
    length = response.headers.get("Content-Length")
    # The first chunk is what the parser has read beyond the headers; then it holds nothing.
    chunk = next(parsed, b"")
    yield chunk
    left = min(left, int(length or 0)) - len(chunk)
    stream = response.extensions.get("network_stream")
    below = stream.get_extra_info("socket") if stream else None
    if (
        left < DIRECT
        or not isinstance(below, socket.socket)
        or "Transfer-Encoding" in response.headers
    ):
        yield from parsed
        return
    below.settimeout(stall)
    while left > 0:
        place = room(min(CHUNK, left))
        got = _straight(below, place)
        if not got:
            return
        left -= got
        yield place[:got]


def _new(size: int) -> memoryview:
    return memoryview(bytearray(size))


class _Clock:
    """Measures waiting alone, so that nobody is blamed for a reader who takes his time."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._waited = 0.0
        self._got = 0

    def passed(self, waited: float, got: int) -> bool:
        """Whether it took too long; a trickle counts as nothing."""
        self._waited += waited
        self._got += got
        if self._got >= SLOWEST * max(1.0, self._limit):
            self._waited, self._got = 0.0, 0
        return self._waited > self._limit


def _straight(below: socket.socket, place: memoryview) -> int:
    """Bytes from below httpx2, with its errors in place of the system's."""
    try:
        return below.recv_into(place)
    except TimeoutError as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except OSError as error:
        raise httpx2.ReadError(str(error)) from error


def _stalled(url: str, seconds: float) -> HubError:
    message = f"Nothing came from {host_of(url)} for {seconds:.0f} seconds"
    return HubError(message, title="Stalled", retry=True)
