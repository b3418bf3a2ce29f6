"""A model hub on the loopback: the real protocol over real HTTP, with faults on demand.

Two origins, as the real one has: the *hub* (metadata, redirects) and the *CDN* (the bytes), each on
its own port of 127.0.0.1. Files are bytes or paths; paths go out by ``sendfile`` and may be sparse
and larger than memory.

In a test::

    with hub_server() as hub:
        hub.add("owner/name", {"a.gguf": path, "LICENSE.txt": b"..."}, licence="llama2")
        hub.fault(reset_after(10_000_000), reset_after(0))   # the next two GETs at the CDN
        hub.fault(status(503), where="head", times=ALWAYS)   # until hub.faults.clear()
        Hub(cache, endpoint=hub.url)         # or a process with {**os.environ, **hub.environment}
        assert hub.sent("a.gguf") == size and not hub.log[-1].headers.get("authorization")

* ``hub.url``, ``hub.cdn_url``; ``hub.environment`` (HF_ENDPOINT, NO_PROXY, no telemetry, no xet).
* ``hub.add(repository, {file: bytes | Path}, revision=COMMIT, gated=False, licence=None,
  downloads=0, likes=0, sha256={}, git=None) -> Repo``. Adding again replaces (the file changed
  upstream). ``main`` and the commit are the revisions it knows. ``.gguf``, ``.gguf-split-*`` and
  files above 1 MB are LFS files, others git files; ``sha256`` spares hashing a huge file.
* ``hub.fault(*faults, file=None, where="cdn", times=1)``: each is used up by ``times`` requests
  that match, in order, one per request. ``where``: ``cdn`` (GET of bytes), ``resolve`` (GET at the
  hub), ``head`` (HEAD at the hub), ``api`` (listing and search).
* ``hub.log``: :class:`Request` in order of arrival, with the bytes really sent (``start``,
  ``sent``). ``hub.sent(file=None)``: body bytes that left the CDN; ``hub.ranges(file)``: as
  ``(start, stop)`` of what was sent, per GET. ``hub.settle()`` first: a client can be done before
  the server has counted. What a killed client left unread in its socket counts as sent; with a
  ``rate`` that is next to nothing. ``hub.connections``: ``hub`` or ``cdn``, one per connection.
* ``hub.rate``, ``hub.connection_rate``: bytes per second at the CDN, of all connections and of each
  (0: no limit; may change at any time).
* ``hub.token`` (the only valid one) and ``hub.granted`` (may it read gated repositories?).
* ``hub.stop()`` closes both ports and all connections (refused from then on), ``hub.start()`` opens
  the same ports again. ``hub.mute = True``: accepts, never answers.

Faults: ``close_after(n)``, ``reset_after(n)``, ``stall_after(n, seconds=…)``, ``slow(rate=1)``
(slow loris), ``status(code, error_code, message, headers, body)``, ``html()`` (200 and a login
page), ``flip(offset)`` (one bit of the file), ``serves(content)`` (another file than promised:
shorter, longer, changed, with an ETag of its own), ``length(delta)`` (Content-Length is wrong),
``ignore_range()`` (200 and everything), ``wrong_range(delta)`` (Content-Range lies),
``hops(n)`` (redirects before the bytes), ``loop()``, ``redirect(url)`` and ``headers({…})`` (added
to or, with None, removed from the usual reply). Error replies as the hub words them: ``GATED``,
``NO_REPOSITORY``, ``NO_REVISION``, ``NO_FILE``, ``BAD_TOKEN``, ``DISABLED``, ``busy(seconds)``.

As its own process, fast enough to compare with curl and alive when the app is killed::

    python -m tests.support.hub FOLDER [--port-file F] [--log-file F] [--rate BYTES]

serves ``FOLDER/<owner>/<name>/<file>`` until it is terminated; ``FOLDER/<owner>/<name>/hub.json``
may hold the keywords of ``add``, and ``<file>.sha256`` the hash of a huge file. It writes
``{"hub": url, "cdn": url}`` to F when it is ready, and to the log one JSON line for every request
when it is over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_corralTestToken0123456789abcdefgh"
ALWAYS = 1_000_000_000
BLOCK = 4 * 1024 * 1024
LOGIN_PAGE = b"<!DOCTYPE html><html><title>Sign in to the hotel's network</title></html>\n"

Where = Literal["cdn", "resolve", "head", "api"]
Content = bytes | Path


# --- faults -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; made by the functions below."""

    kind: str
    n: int = 0
    seconds: float = 0.0
    headers: Mapping[str, str | None] = field(default_factory=dict)
    content: Content = b""
    url: str = ""


def close_after(n: int) -> Fault:
    """``n`` bytes of the body, then a clean end of the connection."""
    return Fault("close", n)


def reset_after(n: int) -> Fault:
    """``n`` bytes of the body, then a reset."""
    return Fault("reset", n)


def stall_after(n: int, seconds: float = 600.0) -> Fault:
    """``n`` bytes, then none for so long; then the rest."""
    return Fault("stall", n, seconds)


def slow(rate: int = 1) -> Fault:
    """So many bytes a second."""
    return Fault("slow", rate)


def status(
    code: int,
    error_code: str = "",
    message: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Fault:
    told = dict(headers or {})
    if error_code:
        told["X-Error-Code"] = error_code
    if message:
        told["X-Error-Message"] = message
    return Fault(
        "status",
        code,
        headers=told,
        content=json.dumps({"error": message}).encode() if body is None else body,
    )


def html(body: bytes = LOGIN_PAGE) -> Fault:
    """A login page with status 200, as captive portals send it."""
    return Fault("status", 200, headers={"Content-Type": "text/html"}, content=body)


def busy(seconds: int = 0, code: int = 429) -> Fault:
    """Too many requests; with ``seconds`` the server says when to come back."""
    return status(code, message="slow down", headers={"Retry-After": str(seconds)})


def flip(offset: int) -> Fault:
    """The lowest bit of the byte at ``offset`` of the file is the other one."""
    return Fault("flip", offset)


def serves(content: Content) -> Fault:
    """The CDN has another file than the hub promised."""
    return Fault("serves", content=content)


def length(delta: int) -> Fault:
    """Content-Length is off by so much; the body is right, and the connection ends after it."""
    return Fault("length", delta)


def ignore_range() -> Fault:
    return Fault("ignore_range")


def wrong_range(delta: int = 1) -> Fault:
    """The start in Content-Range, and the bytes sent, are off by so much."""
    return Fault("wrong_range", delta)


def hops(n: int) -> Fault:
    """So many more redirects at the CDN; for ``where="resolve"``."""
    return Fault("hops", n)


def loop() -> Fault:
    """Redirects without an end; for ``where="resolve"``."""
    return Fault("hops", -1)


def redirect(url: str, code: int = 302) -> Fault:
    return Fault("redirect", code, url=url)


def headers(changed: Mapping[str, str | None]) -> Fault:
    """Headers of the usual reply that differ; None leaves one out."""
    return Fault("headers", headers=changed)


GATED = status(
    403, "GatedRepo", "Access to this repository is restricted and you are not on the list"
)
NO_REPOSITORY = status(401, "RepoNotFound", "Repository not found")
NO_REVISION = status(404, "RevisionNotFound", "Invalid rev id")
NO_FILE = status(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": COMMIT})
BAD_TOKEN = status(401, message="Invalid credentials in Authorization header")
DISABLED = status(403, message="Access to this resource is disabled.")


# --- what is served -----------------------------------------------------------------------------


@dataclass
class Item:
    """One file of a repository."""

    name: str
    content: Content
    lfs: bool
    known: str = ""

    @property
    def size(self) -> int:
        return size_of(self.content)

    @property
    def etag(self) -> str:
        """sha256 of an LFS file, else git's blob id."""
        if not self.known:
            digest = hashlib.sha256() if self.lfs else hashlib.sha1()
            if not self.lfs:
                digest.update(b"blob %d\0" % self.size)
            for block in blocks(self.content):
                digest.update(block)
            self.known = digest.hexdigest()
        return self.known

    def sibling(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"rfilename": self.name, "size": self.size, "blobId": "0" * 40}
        if self.lfs:
            entry["lfs"] = {"sha256": self.etag, "size": self.size, "pointerSize": 135}
        else:
            entry["blobId"] = self.etag
        return entry

    def tree(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": self.name, "size": self.size}
        entry["oid"] = "0" * 40 if self.lfs else self.etag
        if self.lfs:
            entry["lfs"] = {"oid": self.etag, "size": self.size, "pointerSize": 135}
        return entry


@dataclass
class Repo:
    name: str
    items: dict[str, Item]
    revision: str = COMMIT
    gated: bool = False
    licence: str | None = None
    downloads: int = 0
    likes: int = 0
    updated: str = "2024-05-01T10:00:00.000Z"

    def model(self, *, blobs: bool) -> dict[str, Any]:
        tags = ["gguf", *([f"license:{self.licence}"] if self.licence else [])]
        record: dict[str, Any] = {
            "id": self.name,
            "modelId": self.name,
            "sha": self.revision,
            "private": False,
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "tags": tags,
            "downloads": self.downloads,
            "likes": self.likes,
            "lastModified": self.updated,
        }
        if blobs:
            record["siblings"] = [item.sibling() for item in self.items.values()]
            record["cardData"] = {"license": self.licence} if self.licence else {}
        return record


def size_of(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def blocks(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


@dataclass
class Request:
    """One request as it arrived, and how much body went out for it."""

    role: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    file: str = ""
    status: int = 0
    start: int = 0
    """Offset in the file of the first byte sent."""
    sent: int = 0
    over: bool = False


# --- the servers --------------------------------------------------------------------------------


class HubServer:
    """Both origins; see the module's docstring for what can be done with it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.token = TOKEN
        self.granted = True
        self.rate = 0.0
        self.connection_rate = 0.0
        self.mute = False
        self.repos: dict[str, Repo] = {}
        self.log: list[Request] = []
        self.connections: list[str] = []
        self.faults: list[tuple[Fault, str | None, str, list[int]]] = []
        self.on_over = lambda request: None
        self.closing = threading.Event()
        self.signature = count(1)
        self._tls = tls
        self._lock = threading.Lock()
        self._next_send = 0.0
        self._origins: list[_Origin] = []
        self._ports = {"hub": 0, "cdn": 0}
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._ports['hub']}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['cdn']}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.url,
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
        }

    def start(self) -> None:
        self.closing = threading.Event()
        for role in ("hub", "cdn"):
            origin = _Origin(self, role, self._ports[role], self._tls if role == "hub" else None)
            self._ports[role] = origin.server_address[1]
            self._origins.append(origin)
            origin.thread.start()

    def stop(self) -> None:
        self.closing.set()
        for origin in self._origins:
            origin.end()
        self._origins.clear()

    def add(
        self,
        repository: str,
        files: Mapping[str, Content],
        *,
        revision: str = COMMIT,
        gated: bool = False,
        licence: str | None = None,
        downloads: int = 0,
        likes: int = 0,
        sha256: Mapping[str, str] | None = None,
        git: bool | None = None,
    ) -> Repo:
        hashes = sha256 or {}
        items = {
            name: Item(
                name,
                content,
                lfs=not git
                if git is not None
                else ".gguf" in name.lower() or size_of(content) > 1_000_000,
                known=hashes.get(name, ""),
            )
            for name, content in files.items()
        }
        repo = Repo(repository, items, revision, gated, licence, downloads, likes)
        self.repos[repository] = repo
        return repo

    def fault(
        self, *faults: Fault, file: str | None = None, where: Where = "cdn", times: int = 1
    ) -> None:
        with self._lock:
            self.faults += [(fault, file, where, [times]) for fault in faults]

    def take(self, where: str, file: str) -> Fault | None:
        with self._lock:
            for fault, wanted, place, left in self.faults:
                if place == where and wanted in (None, file) and left[0] > 0:
                    left[0] -= 1
                    return fault
        return None

    def requests(self, role: str, method: str = "GET", file: str | None = None) -> list[Request]:
        return [
            request
            for request in list(self.log)
            if request.role == role
            and request.method == method
            and (file is None or request.file == file)
        ]

    def settle(self, seconds: float = 5.0) -> None:
        """Waits until no request is being answered."""
        deadline = time.monotonic() + seconds
        while any(not request.over for request in list(self.log)):
            assert time.monotonic() < deadline, "a request is still being answered"
            time.sleep(0.005)

    def sent(self, file: str | None = None) -> int:
        return sum(request.sent for request in self.requests("cdn", file=file))

    def ranges(self, file: str) -> list[tuple[int, int]]:
        gets = self.requests("cdn", file=file)
        return [(get.start, get.start + get.sent) for get in gets]

    def pace(self, size: int, own: float) -> float:
        """Seconds that a connection has to wait after sending ``size`` bytes."""
        with self._lock:
            now = time.monotonic()
            if self.rate:
                self._next_send = max(now, self._next_send) + size / self.rate
                now = max(now, self._next_send)
            return max(now - time.monotonic(), size / own if own else 0.0)


class _Origin(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, hub: HubServer, role: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.hub = hub
        self.role = role
        self.tls = tls
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        self.thread = threading.Thread(
            target=self.serve_forever, args=(0.02,), name=f"test-{role}", daemon=True
        )

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.open.add(connection)
        self.hub.connections.append(self.role)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls:
            with contextlib.suppress(OSError):  # a client that refuses our certificate
                request.settimeout(10)
                with self.tls.wrap_socket(request, server_side=True) as wrapped:
                    wrapped.settimeout(None)
                    super().finish_request(wrapped, client_address)
            return
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the test."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)

    def server_close(self) -> None:
        self.socket.close()  # and do not wait for threads that stall


class _Over(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Origin

    # --- requests

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub
        self.closing = self.hub.closing

    def handle(self) -> None:
        with contextlib.suppress(_Over, OSError, ValueError):
            super().handle()

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """The log is ``hub.log``."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.seen = Request(
            self.server.role,
            self.command,
            unquote(parts.path),
            query,
            {name.lower(): value for name, value in self.headers.items()},
        )
        self.hub.log.append(self.seen)
        if self.hub.mute:
            self._wait(3600)
        try:
            if self.server.role == "cdn":
                self._cdn(self.seen.path)
            elif self.seen.path.startswith("/api/"):
                self._api(self.seen.path.removeprefix("/api/"), query)
            elif match := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", self.seen.path):
                self._resolve(*match.groups())
            else:
                self._reply(404, b"Not Found")
        finally:
            self.seen.over = True
            self.hub.on_over(self.seen)

    def _wait(self, seconds: float) -> None:
        if self.closing.wait(seconds):
            raise _Over

    # --- the hub

    def _api(self, path: str, query: dict[str, str]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._refused(self.hub.take("api", path), None):
            return None
        if path == "agent-harnesses":
            return self._json({"standardEnvVars": [], "harnesses": {}})
        if path == "models":
            return self._search(query)
        match = re.fullmatch(
            r"models/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+))?", path.rstrip("/")
        )
        repo = self.hub.repos.get(match[1]) if match else None
        if match is None or repo is None:
            return self._fail(NO_REPOSITORY)
        kind, revision = match[2], match[3]
        if revision not in (None, "main", repo.revision):
            return self._fail(NO_REVISION)
        if kind == "tree":
            return self._tree(repo, query)
        if kind == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self._json([i.tree() for i in repo.items.values() if i.name in wanted])
        return self._json(repo.model(blobs=True))

    def _search(self, query: dict[str, str]) -> None:
        words = query.get("search", "").lower().split()
        found = [
            repo
            for repo in self.hub.repos.values()
            if all(word in repo.name.lower() for word in words)
            and ("filter" not in query or any(".gguf" in name for name in repo.items))
        ]
        if query.get("sort") in ("downloads", "likes"):
            found.sort(key=lambda repo: getattr(repo, query["sort"]), reverse=True)
        limit = int(query.get("limit", "1000"))
        self._json([repo.model(blobs=False) for repo in found[:limit]])

    def _tree(self, repo: Repo, query: dict[str, str], page: int = 1000) -> None:
        start = int(query.get("cursor", "0"))
        items = list(repo.items.values())[start : start + page]
        link = {}
        if start + page < len(repo.items):
            url = f"{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={start + page}"
            link["Link"] = f'<{url}>; rel="next"'
        self._json([item.tree() for item in items], link)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        self.seen.file = file
        repo = self.hub.repos.get(name)
        fault = self.hub.take("head" if self.command == "HEAD" else "resolve", file)
        if self._refused(fault, repo):
            return None
        if repo is None:
            return self._fail(NO_REPOSITORY)
        if revision not in ("main", repo.revision):
            return self._fail(NO_REVISION)
        item = repo.items.get(file)
        if item is None:
            return self._fail(NO_FILE)
        told: dict[str, str | None] = {"X-Repo-Commit": repo.revision}
        if not item.lfs:
            told["ETag"] = f'"{item.etag}"'
            told.update(fault.headers if fault else {})
            return self._bytes(item.content, fault, told)
        hop = f"/_hop/{fault.n}" if fault and fault.kind == "hops" else ""
        told |= {
            "ETag": f'"{hashlib.md5(file.encode()).hexdigest()}"',
            "X-Linked-Etag": f'"{item.etag}"',
            "X-Linked-Size": str(item.size),
            "Location": f"{self.hub.cdn_url}{hop}/{quote(name)}/{quote(file)}"
            f"?X-Amz-Signature=secret{next(self.hub.signature)}",
        }
        told.update(fault.headers if fault else {})
        return self._reply(302, b"Found. Redirecting", told)

    def _refused(self, fault: Fault | None, repo: Repo | None) -> bool:
        """Whether the request was answered already: by a fault, or for want of a token."""
        if fault and fault.kind == "status":
            self._fail(fault)
        elif fault and fault.kind == "redirect":
            self._reply(fault.n, b"", {"Location": fault.url})
        elif fault and fault.kind in ("close", "reset"):
            self._end(fault)
        else:
            if fault and fault.kind == "stall":
                self._wait(fault.seconds)
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if given and given != self.hub.token:
                self._fail(BAD_TOKEN)
            elif repo and repo.gated and not (given and self.hub.granted):
                self._fail(Fault("status", 403 if given else 401, 0, GATED.headers, GATED.content))
            else:
                return False
        return True

    # --- the CDN

    def _cdn(self, path: str) -> None:
        if match := re.match(r"/_hop/(-?\d+)/", path):
            left = int(match[1]) - 1
            rest = quote(path[match.end() :])
            start = f"/_hop/{left}/" if left else "/"
            target = self.path if left < -1 else f"{start}{rest}?X-Amz-Signature=hop"
            return self._reply(302, b"", {"Location": f"{self.hub.cdn_url}{target}"})
        owner, _, rest = path.lstrip("/").partition("/")
        name, _, file = rest.partition("/")
        self.seen.file = file
        repo = self.hub.repos.get(f"{owner}/{name}")
        item = repo.items.get(file) if repo else None
        fault = self.hub.take("cdn", file)
        if fault and fault.kind in ("status", "redirect"):
            self._refused(fault, None)
            return None
        if item is None:
            return self._reply(403, b"<Error><Code>AccessDenied</Code></Error>")
        content = fault.content if fault and fault.kind == "serves" else item.content
        etag = hashlib.md5(f"{file} {size_of(content)}".encode()).hexdigest()
        return self._bytes(content, fault, {"ETag": f'"{etag}"'})

    def _bytes(self, content: Content, fault: Fault | None, told: Mapping[str, str | None]) -> None:
        kind, n = (fault.kind, fault.n) if fault else ("", 0)
        size = size_of(content)
        start, stop, code = 0, size, 200
        told = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **told}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and kind != "ignore_range":
            code, start = 206, int(asked[1])
            stop = min(size, int(asked[2]) + 1) if asked[2] else size
            if start >= size:
                return self._reply(416, b"", {"Content-Range": f"bytes */{size}"})
            if kind == "wrong_range":
                start, stop = max(0, start + n), min(size, stop + n)
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        promised = stop - start + (n if kind == "length" else 0)
        told.update(fault.headers if fault and kind == "headers" else {})
        self.seen.start = start
        self._head(code, promised, told)
        if self.command != "HEAD":
            self._body(content, start, stop, fault)
            if kind == "length":
                raise _Over
        return None

    def _body(self, content: Content, start: int, stop: int, fault: Fault | None) -> None:
        kind, n = (fault.kind, fault.n) if fault else ("", 0)
        halt = min(stop, start + n) if kind in ("close", "reset", "stall") else stop
        if kind == "flip" and start <= n < stop:
            self._send(content, start, n)
            with _opened(content) as read:
                self._out(bytes([read(n, 1)[0] ^ 1]))
            self._send(content, n + 1, stop)
            return
        self._send(content, start, halt, rate=n if kind == "slow" else 0)
        if kind in ("close", "reset"):
            assert fault
            self._end(fault)
        if kind == "stall":
            assert fault
            self._wait(fault.seconds)
            self._send(content, halt, stop)

    def _send(self, content: Content, start: int, stop: int, rate: int = 0) -> None:
        with _opened(content) as read:
            while start < stop:
                own = rate or self.hub.connection_rate
                paced = [pace for pace in (own, self.hub.rate) if pace]
                block = max(1, min(BLOCK, int(min(paced) / 20))) if paced else BLOCK
                size = min(block, stop - start)
                if isinstance(content, Path) and hasattr(os, "sendfile") and not self.server.tls:
                    sent = os.sendfile(self.connection.fileno(), read.descriptor, start, size)
                    if not sent:
                        raise _Over  # the file is shorter than it was
                    self.seen.sent += sent
                else:
                    sent = self._out(read(start, size))
                start += sent
                if paced:
                    self._wait(self.hub.pace(sent, own))
                elif self.closing.is_set():
                    raise _Over

    def _out(self, data: bytes | memoryview) -> int:
        self.connection.sendall(data)
        self.seen.sent += len(data)
        return len(data)

    def _end(self, fault: Fault) -> None:
        """Ends the connection cleanly or with a reset, after what was written has arrived."""
        self.close_connection = True
        if fault.kind == "reset":
            self._wait(0.1)
            connection = self.connection
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.open.discard(connection)
            self.rfile.close()
            socket.close(connection.detach())
        raise _Over

    # --- replies

    def _json(self, value: Any, more: Mapping[str, str] | None = None) -> None:
        told = {"Content-Type": "application/json", **(more or {})}
        self._reply(200, json.dumps(value).encode(), told)

    def _fail(self, fault: Fault) -> None:
        body = fault.content
        assert isinstance(body, bytes)
        self._reply(fault.n, body, {"Content-Type": "application/json", **fault.headers})

    def _reply(self, code: int, body: bytes, told: Mapping[str, str | None] | None = None) -> None:
        self._head(code, len(body), told or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, code: int, size: int, told: Mapping[str, str | None]) -> None:
        self.seen.status = code
        self.send_response(code)
        for name, value in told.items():
            if value is not None:
                self.send_header(name, value)
        if "Content-Length" not in told:
            self.send_header("Content-Length", str(size))
        self.end_headers()


class _Reader:
    def __init__(self, content: Content) -> None:
        self.content = content
        self.file = content.open("rb", buffering=0) if isinstance(content, Path) else None

    @property
    def descriptor(self) -> int:
        assert self.file
        return self.file.fileno()

    def __call__(self, start: int, size: int) -> bytes | memoryview:
        if self.file is None:
            assert isinstance(self.content, bytes)
            return memoryview(self.content)[start : start + size]
        self.file.seek(start)
        return self.file.read(size)


@contextlib.contextmanager
def _opened(content: Content) -> Iterator[_Reader]:
    reader = _Reader(content)
    try:
        yield reader
    finally:
        if reader.file:
            reader.file.close()


@contextlib.contextmanager
def hub_server(tls: ssl.SSLContext | None = None) -> Iterator[HubServer]:
    """A hub until the block ends; with ``tls`` the hub's origin speaks https, the CDN's not."""
    hub = HubServer(tls)
    try:
        yield hub
    finally:
        hub.stop()


# --- its own process ----------------------------------------------------------------------------


def add_folder(hub: HubServer, folder: Path) -> None:
    """Serves every ``<owner>/<name>/<file>`` below ``folder``."""
    for place in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        options: dict[str, Any] = {}
        if (place / "hub.json").exists():
            options = json.loads((place / "hub.json").read_text())
        files = {
            path.relative_to(place).as_posix(): path
            for path in sorted(place.rglob("*"))
            if path.is_file() and path.suffix != ".sha256" and path.name != "hub.json"
        }
        hashes = {
            name: note.read_text().split()[0]
            for name, path in files.items()
            if (note := path.with_name(path.name + ".sha256")).exists()
        }
        hub.add(place.relative_to(folder).as_posix(), files, sha256=hashes, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description="A model hub on the loopback")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--log-file", type=Path)
    parser.add_argument("--rate", type=float, default=0.0, help="bytes per second at the CDN")
    options = parser.parse_args()
    with hub_server() as hub, contextlib.ExitStack() as stack:
        hub.rate = options.rate
        add_folder(hub, options.folder.resolve())
        if options.log_file:
            log = stack.enter_context(options.log_file.open("a", buffering=1))
            hub.on_over = lambda request: print(json.dumps(asdict(request)), file=log)
        told = json.dumps({"hub": hub.url, "cdn": hub.cdn_url})
        if options.port_file:
            partly = options.port_file.with_name(options.port_file.name + ".tmp")
            partly.write_text(told)
            partly.replace(options.port_file)
        print(told, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
