"""The hub's client against a hub on the loopback: what it learns, what it refuses, what it says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import hub as faults
from tests.support.gguf_files import tiny_llama
from tests.support.hub import ALWAYS, COMMIT, TOKEN, Fault, HubServer, hub_server

from corral.errors import CorralError, NotFound, Refused, UsageError
from corral.models.hub.client import Hub
from corral.models.hub.names import quant_of, safe_file, safe_repository
from corral.models.hub.types import FileChanged, HubError, RangeIgnored, RemoteFile

REPO = "somebody/Tiny-GGUF"
FILE = "tiny.Q4_K_M.gguf"
DATA = b"GGUF" + bytes(range(256)) * 4000
TEXT = b"You may use this.\n"
ROOT = Path(__file__).parent.parent.parent
HOSTILE = "\x1b]0;owned\x07\nhf_secretsecret https://cdn/x?X-Amz-Signature=deadbeef \u202eevil"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with hub_server() as server:
        server.add(REPO, {FILE: DATA, "LICENSE.txt": TEXT}, licence="llama2", downloads=7, likes=2)
        yield server


@pytest.fixture
def connect(server: HubServer, tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Makes clients that are not patient, and know nothing of this machine."""
    made: list[Hub] = []

    def make(**options: object) -> Hub:
        for before in made:
            before.close()  # the library keeps one session, with the proxies of its first request
        named: dict = {"endpoint": server.url, "patience": 1.0, "stall": 1.0, "environment": {}}
        made.append(Hub(tmp_path / "cache", **{**named, **options}))
        return made[-1]

    yield make
    for hub in made:
        hub.close()


@pytest.fixture
def hub(connect: Callable[..., Hub]) -> Hub:
    return connect()


@pytest.fixture
def remote(hub: Hub) -> RemoteFile:
    return hub.file(REPO, COMMIT, FILE)


def read(hub: Hub, remote: RemoteFile, start: int = 0, stop: int | None = None) -> bytes:
    with hub.open(remote, start, remote.size if stop is None else stop) as chunks:
        return b"".join(chunks)


def said(error: CorralError) -> str:
    return f"{error.title}. {error.message}. {error.hint}"


# --- what it learns -----------------------------------------------------------------------------


def test_a_file_is_known_by_size_and_hash(hub: Hub) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    expected = RemoteFile(REPO, COMMIT, FILE, len(DATA), digest, digest)
    assert hub.file(REPO, COMMIT, FILE) == expected
    assert hub.file(REPO, "main", FILE) == expected
    small = hub.file(REPO, "main", "LICENSE.txt")
    assert small.sha256 is None
    assert small.etag == hashlib.sha1(b"blob %d\0" % len(TEXT) + TEXT).hexdigest()


def test_a_listing(hub: Hub, server: HubServer) -> None:
    server.repos[REPO].gated = True
    listing = hub.files(REPO)
    assert (listing.repository, listing.revision) == (REPO, COMMIT)
    assert listing.gated
    assert listing.licence == "llama2"
    assert listing.files[0].sha256 == hashlib.sha256(DATA).hexdigest()
    assert [(file.file, file.size) for file in listing.files] == [
        (FILE, len(DATA)),
        ("LICENSE.txt", len(TEXT)),
    ]


def test_a_search(hub: Hub, server: HubServer) -> None:
    server.add("other/Big-Tiny-GGUF", {"a.gguf": DATA}, downloads=900, gated=True)
    server.add("other/tiny-pickles", {"a.bin": DATA}, downloads=9000)
    found = hub.search("tiny")
    assert [repo.name for repo in found] == ["other/Big-Tiny-GGUF", REPO]
    assert (found[0].gated, found[0].licence) == (True, None)
    assert (found[1].downloads, found[1].likes, found[1].licence) == (7, 2, "llama2")
    assert [repo.name for repo in hub.search("tiny", limit=1)] == ["other/Big-Tiny-GGUF"]
    asked = server.log[-1].query
    assert (asked["search"], asked["filter"], asked["limit"]) == ("tiny", "gguf", "1")
    assert hub.search("nothing like it") == []


def test_a_text_is_checked_against_its_hash(hub: Hub, server: HubServer) -> None:
    assert hub.text(REPO, COMMIT, "LICENSE.txt") == TEXT
    with pytest.raises(Refused, match="too much for a text"):
        hub.text(REPO, COMMIT, FILE, limit=1000)
    assert hub.text(REPO, COMMIT, FILE, limit=len(DATA)) == DATA
    server.fault(faults.flip(3), where="resolve")
    with pytest.raises(Refused, match="did not arrive as the hub holds it"):
        hub.text(REPO, COMMIT, "LICENSE.txt")


def test_a_header_without_the_weights(
    hub: Hub, server: HubServer, sparse_7b: Path, tmp_path: Path
) -> None:
    server.add(REPO, {"a.gguf": sparse_7b, "b.gguf": DATA}, sha256={"a.gguf": "a" * 64})
    remote = hub.file(REPO, "main", "a.gguf")
    header = hub.header(remote)
    assert (header.n_embd, header.n_layer, header.quant) == (4096, 32, "Q4_K_M")
    assert header.bytes == remote.size == sparse_7b.stat().st_size
    server.settle()
    assert server.sent() == 2 * 1024 * 1024
    with pytest.raises(Refused, match="cannot be used"):
        hub.header(hub.file(REPO, "main", "b.gguf"))
    assert not list((tmp_path / "cache").glob("header-*"))


def test_a_header_for_which_there_is_no_room(hub: Hub, remote: RemoteFile) -> None:
    with pytest.raises(CorralError, match="cannot be looked at") as caught:
        hub.header(dataclasses.replace(remote, size=2**62))
    assert "cache" in caught.value.hint


def test_a_long_header_is_fetched_in_steps(hub: Hub, server: HubServer, tmp_path: Path) -> None:
    words = [f"{number:060}" for number in range(60_000)]
    path = tiny_llama(tmp_path / "a.gguf", type="F32", vocab=words)
    server.add(REPO, {"a.gguf": path})
    assert path.stat().st_size > 8 * 1024 * 1024
    header = hub.header(hub.file(REPO, "main", "a.gguf"))
    assert header.vocab_size == 60_000 + 259
    server.settle()
    assert server.ranges("a.gguf")[:2] == [(0, 2 << 20), (2 << 20, 8 << 20)]


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("llama-2-7b-chat.Q4_K_M.gguf", "Q4_K_M"),
        ("llama-2-70b-chat.q8_0.gguf-split-a", "Q8_0"),
        ("Model-Q6_K-00001-of-00002.gguf", "Q6_K"),
        ("UD-IQ2_XXS/model.gguf", "IQ2_XXS"),
        ("tinyllama-fp16.gguf", "F16"),
        ("model.BF16.gguf", "BF16"),
        ("Q4_0-to-Q5_1.gguf", "Q5_1"),
        ("Yi-34B-200K.gguf", ""),
        ("aQ4_0.gguf", ""),
    ],
)
def test_the_quantization_in_a_name(file: str, quant: str) -> None:
    assert quant_of(file) == quant


# --- what goes over the wire --------------------------------------------------------------------


def test_only_these_requests_are_made(hub: Hub, server: HubServer) -> None:
    """Nothing unasked, no telemetry; and who asks is said plainly."""
    hub.files(REPO)
    hub.search("x")
    read(hub, hub.file(REPO, COMMIT, FILE))
    resolve = f"/{REPO}/resolve/{COMMIT}/{FILE}"
    assert [(request.role, request.method, request.path) for request in server.log] == [
        ("hub", "GET", f"/api/models/{REPO}/revision/main"),
        ("hub", "GET", "/api/models"),
        ("hub", "HEAD", resolve),
        ("hub", "GET", resolve),
        ("cdn", "GET", f"/{REPO}/{FILE}"),
    ]
    for request in server.log:
        assert request.headers["user-agent"].startswith("corral/")
        assert "authorization" not in request.headers


def test_nothing_is_asked_offline(server: HubServer, connect: Callable[..., Hub]) -> None:
    remote = RemoteFile(REPO, COMMIT, FILE, 3, None, "a")
    for hub in (connect(offline=True), connect(environment={"HF_HUB_OFFLINE": "1"})):
        for ask in (
            lambda hub=hub: hub.file(REPO, COMMIT, FILE),
            lambda hub=hub: hub.files(REPO),
            lambda hub=hub: hub.search("x"),
            lambda hub=hub: hub.text(REPO, COMMIT, "LICENSE.txt"),
            lambda hub=hub: hub.header(remote),
            lambda hub=hub: hub.open(remote, 0, 3),
        ):
            with pytest.raises(HubError) as caught:
                ask()
            assert caught.value.title == "Offline"
            assert not caught.value.retry
    assert not server.log


def test_offline_costs_no_import() -> None:
    code = """
import sys
from pathlib import Path
from corral.models.hub.client import Hub
from corral.models.hub.types import HubError
hub = Hub(Path("never"), offline=True)
try:
    hub.search("x")
except HubError:
    heavy = {"httpx2", "huggingface_hub"} & set(sys.modules)
    sys.exit(f"{heavy}" if heavy else 0)
sys.exit("not offline")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_environment_is_left_alone(hub: Hub, remote: RemoteFile) -> None:
    code = """
import os, sys
from pathlib import Path
before = dict(os.environ)
from corral.models.hub.client import Hub
hub = Hub(Path(sys.argv[2]), endpoint=sys.argv[1])
hub.file(*sys.argv[3:])
from huggingface_hub import constants
assert constants.HF_HUB_DISABLE_XET and constants.HF_HUB_DISABLE_TELEMETRY
assert constants.HF_HOME.startswith(sys.argv[2]), constants.HF_HOME
assert dict(os.environ) == before
"""
    arguments = [hub.endpoint, str(ROOT / "never-made"), REPO, COMMIT, FILE]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_token_goes_to_the_hub_alone_and_only_if_wanted(
    server: HubServer, connect: Callable[..., Hub]
) -> None:
    server.add("meta/gated", {FILE: DATA}, gated=True)
    hub = connect(environment={"HF_TOKEN": TOKEN})
    remote = hub.file("meta/gated", COMMIT, FILE)
    read(hub, hub.file(REPO, COMMIT, FILE))
    assert read(hub, remote) == DATA
    tokens = [(r.role, r.path.split("/")[1], r.headers.get("authorization")) for r in server.log]
    bearer = f"Bearer {TOKEN}"
    assert tokens == [
        ("hub", "meta", None),
        ("hub", "meta", bearer),
        ("hub", "somebody", None),
        ("hub", "somebody", None),
        ("cdn", "somebody", None),
        ("hub", "meta", bearer),
        ("cdn", "meta", None),
    ]
    later = connect(environment={"HF_TOKEN": TOKEN})
    assert read(later, remote) == DATA  # resumed by a new process, without a HEAD


def test_a_login_of_the_hubs_own_tool_counts(
    server: HubServer, connect: Callable[..., Hub], tmp_path: Path
) -> None:
    server.add("meta/gated", {FILE: DATA}, gated=True)
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert connect(environment={"HF_HOME": str(tmp_path)}).file("meta/gated", COMMIT, FILE)


def test_a_token_is_not_sent_unencrypted() -> None:
    from corral.models.hub.http import _may_carry_secrets

    assert _may_carry_secrets("https://huggingface.co")
    assert _may_carry_secrets("http://127.0.0.1:8080")
    assert not _may_carry_secrets("http://mirror.example")


# --- replies ------------------------------------------------------------------------------------

GONE = faults.status(410, message="gone")
REPLIES: list[tuple[Fault, type[CorralError], str, bool]] = [
    (faults.NO_REPOSITORY, NotFound, "has no repository somebody/Tiny-GGUF", False),
    (faults.GATED, Refused, "accepted its terms", False),
    (faults.NO_REVISION, NotFound, "no longer has the revision 0123456789ab", False),
    (faults.NO_FILE, NotFound, "has no file", False),
    (faults.DISABLED, Refused, "disabled", False),
    (faults.status(401), Refused, "wants to know who asks", False),
    (faults.status(403), Refused, "does not give out", False),
    (faults.status(404), NotFound, "has nothing at the address", False),
    (faults.status(407), HubError, "proxy wants", False),
    (GONE, NotFound, "removed from the hub for good (410: gone)", False),
    (faults.status(418), HubError, "refused the request (418)", False),
    (faults.status(451), Refused, "legal reasons", False),
    (faults.status(408), HubError, "took too long", True),
    (faults.status(429), HubError, "too many requests", True),
    (faults.status(500), HubError, "trouble of its own (500)", True),
    (faults.status(502), HubError, "trouble of its own (502)", True),
    (faults.status(503), HubError, "overloaded", True),
    (faults.status(504), HubError, "waited in vain", True),
]


@pytest.mark.parametrize("where", ["head", "resolve", "cdn"])
@pytest.mark.parametrize(
    ("fault", "kind", "words", "retry"), REPLIES, ids=[str(reply[2]) for reply in REPLIES]
)
def test_each_reply_has_its_words(
    hub: Hub,
    server: HubServer,
    remote: RemoteFile,
    where: faults.Where,
    fault: Fault,
    kind: type[CorralError],
    words: str,
    retry: bool,
) -> None:
    server.fault(fault, where=where)
    before = len(server.log)
    with pytest.raises(CorralError) as caught:
        hub.file(REPO, COMMIT, FILE) if where == "head" else read(hub, remote)
    assert type(caught.value) is kind
    assert getattr(caught.value, "retry", False) == retry
    if where != "head" or ":" not in words:  # a reply to HEAD has no body
        assert words in caught.value.message
    assert not caught.value.message.endswith(".")
    assert len(server.log) - before == (2 if where == "cdn" else 1), "it asked again by itself"


def test_the_messages_differ(hub: Hub, server: HubServer) -> None:
    told = set()
    for fault, *_ in REPLIES:
        server.fault(fault, where="api")
        with pytest.raises(CorralError) as caught:
            hub.files(REPO)
        told.add(caught.value.message)
    assert len(told) == len(REPLIES)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"Retry-After": "999999999999"}, 3600.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(
    hub: Hub, server: HubServer, headers: dict[str, str], seconds: float | None
) -> None:
    server.fault(faults.status(429, headers=headers), where="head")
    with pytest.raises(HubError) as caught:
        hub.file(REPO, COMMIT, FILE)
    assert caught.value.retry_after == seconds


def test_gated_without_with_a_wrong_and_with_an_unknown_token(
    server: HubServer, connect: Callable[..., Hub]
) -> None:
    server.add("meta/gated", {FILE: DATA}, gated=True)
    with pytest.raises(Refused) as without:
        connect().file("meta/gated", COMMIT, FILE)
    assert f"{server.url}/meta/gated" in without.value.hint
    assert "HF_TOKEN" in without.value.hint
    with pytest.raises(Refused) as wrong:
        connect(token="hf_wrongwrongwrong").file("meta/gated", COMMIT, FILE)
    assert wrong.value.title == "Wrong token"
    server.granted = False
    with pytest.raises(Refused) as unknown:
        connect(token=TOKEN).file("meta/gated", COMMIT, FILE)
    assert unknown.value.title == "Access not granted"
    for caught in (without, wrong, unknown):
        assert "hf_" not in said(caught.value)


def test_foreign_text_is_cleaned_and_keeps_no_secret(
    server: HubServer, connect: Callable[..., Hub]
) -> None:
    server.add("meta/gated", {FILE: DATA}, gated=True)
    hub = connect(token="a-token-of-a-mirror")
    server.token = "a-token-of-a-mirror"
    hub.file("meta/gated", COMMIT, FILE)
    body = json.dumps({"error": HOSTILE + "a-token-of-a-mirror"}).encode()
    server.fault(faults.status(403, body=body), where="api")
    with pytest.raises(Refused) as caught:
        hub.files("meta/gated")
    text = said(caught.value)
    assert "owned" in text
    for secret in ("\x1b", "\x07", "\n", "\u202e", "secretsecret", "deadbeef", "a-token-of"):
        assert secret not in text


@pytest.mark.parametrize(
    "body", [b"<html>sign in</html>", b"", b"[]", b"null", b'{"sha": 7}', b"\xff\xfe", b'"x"']
)
def test_a_captive_portal_is_no_hub(hub: Hub, server: HubServer, body: bytes) -> None:
    server.fault(faults.html(body), where="head")
    with pytest.raises(HubError, match="not a model hub") as caught:
        hub.file(REPO, COMMIT, FILE)
    assert caught.value.retry
    server.fault(faults.html(body), where="api", times=2)
    with pytest.raises(HubError, match="not a model hub"):
        hub.files(REPO)
    if body != b"[]":
        with pytest.raises(HubError, match="not a model hub"):
            hub.search("x")
    server.fault(faults.status(500, body=body), where="api")
    with pytest.raises(HubError):
        hub.files(REPO)


def test_another_commit_than_asked_for_is_refused(hub: Hub, server: HubServer) -> None:
    server.fault(faults.headers({"X-Repo-Commit": "f" * 40}), where="head")
    with pytest.raises(FileChanged):
        hub.file(REPO, COMMIT, FILE)
    server.fault(faults.headers({"X-Repo-Commit": "../../x"}), where="head")
    with pytest.raises(HubError, match="not a model hub"):
        hub.file(REPO, "main", FILE)


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


# --- the way there ------------------------------------------------------------------------------


def test_a_hub_that_is_down(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    server.stop()
    started = time.monotonic()
    for ask in (
        lambda: hub.file(REPO, COMMIT, FILE),
        lambda: hub.files(REPO),
        lambda: hub.search("x"),
        lambda: read(hub, remote),
    ):
        with pytest.raises(HubError, match=r"127\.0\.0\.1") as caught:
            ask()
        assert caught.value.retry
    assert time.monotonic() - started < 20
    server.start()
    assert read(hub, remote) == DATA


def test_a_hub_that_never_answers(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    server.mute = True
    for ask in (lambda: hub.file(REPO, COMMIT, FILE), lambda: read(hub, remote)):
        with pytest.raises(HubError, match="does not answer") as caught:
            ask()
        assert caught.value.retry
        assert caught.value.title == "No answer"


def test_an_address_that_nobody_knows(connect: Callable[..., Hub]) -> None:
    with pytest.raises(HubError) as caught:
        connect(endpoint="http://hub.invalid").file(REPO, COMMIT, FILE)
    assert "hub.invalid" in caught.value.message
    assert caught.value.retry


@pytest.mark.parametrize(
    "endpoint", ["huggingface.co", "file:///x", "http://", "http://u:p@h", "http://h:99999", "\x1b"]
)
def test_an_endpoint_that_is_none(connect: Callable[..., Hub], endpoint: str) -> None:
    with pytest.raises(HubError, match="not the address of a hub") as caught:
        connect(endpoint=endpoint).file(REPO, COMMIT, FILE)
    assert not caught.value.retry
    assert "\x1b" not in said(caught.value)


def test_proxies(
    server: HubServer, connect: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:geheim@127.0.0.1:9")
    with pytest.raises(HubError, match=r"through the proxy 127\.0\.0\.1:9") as caught:
        connect().file(REPO, COMMIT, FILE)
    assert "geheim" not in said(caught.value)
    assert not server.log
    monkeypatch.setenv("http_proxy", "nonsense://x")
    with pytest.raises(HubError) as caught:
        connect().file(REPO, COMMIT, FILE)
    assert caught.value.title == "Bad network settings"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert connect().file(REPO, COMMIT, FILE)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path / "hub.pem"
    command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    extra: list[str | Path] = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        path,
        "-out",
        tmp_path / "c.pem",
    ]
    subprocess.run([openssl, *command, *extra], check=True, capture_output=True, timeout=60)
    path.write_bytes(path.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return path


def test_only_safe_connections(
    connect: Callable[..., Hub], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with hub_server(context) as server:
        server.add(REPO, {FILE: DATA, "LICENSE.txt": TEXT})
        with pytest.raises(HubError) as caught:
            connect(endpoint=server.url).file(REPO, COMMIT, FILE)
        assert caught.value.title == "Not a safe connection"
        assert not caught.value.retry
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        hub = connect(endpoint=server.url)
        assert hub.text(REPO, COMMIT, "LICENSE.txt") == TEXT
        with pytest.raises(Refused, match="without encryption"):
            read(hub, hub.file(REPO, COMMIT, FILE))
        assert not server.requests("cdn")
        hub.close()


def test_closing_wakes_whoever_reads(hub: Hub, remote: RemoteFile, server: HubServer) -> None:
    patient = Hub(Path("unused"), endpoint=server.url, stall=60, environment={})
    server.fault(faults.stall_after(1000))
    started = threading.Event()
    errors: list[Exception] = []

    def wait() -> None:
        try:
            with patient.open(remote, 0, remote.size) as chunks:
                for _ in chunks:
                    started.set()
        except CorralError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(10)
    patient.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], HubError)
    patient.close()


# --- names --------------------------------------------------------------------------------------

UNSAFE = [
    "../x.gguf",
    "a/../../x.gguf",
    "/etc/x.gguf",
    "C:\\x.gguf",
    "a\\b.gguf",
    "a\nb.gguf",
    "a\x1b[2Jb.gguf",
    "CON.gguf",
    "sub/nul",
    "com1.x.gguf",
    "x" * 300 + ".gguf",
    "a/" * 300 + "x.gguf",
    "-rf.gguf",
    "x.gguf.",
    "x.gguf ",
    " x.gguf",
    "a\u2215b.gguf",
    "a\uff0fb.gguf",
    "a\u202eb.gguf",
    "a\u200db.gguf",
    "",
    "a//b.gguf",
    ".",
    ".lock",
    "a?.gguf",
    "a\udcff.gguf",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names(hub: Hub, server: HubServer, name: str) -> None:
    assert not safe_file(name)
    with pytest.raises(Refused, match="not safe") as caught:
        hub.file(REPO, COMMIT, name)
    assert not {sign for sign in said(caught.value) if ord(sign) < 32 or sign in "\u202e\udcff"}
    with pytest.raises(Refused):
        read(hub, RemoteFile(REPO, COMMIT, name, 3, None, "a" * 40))
    assert not server.log


def test_unsafe_names_are_not_listed(hub: Hub, server: HubServer) -> None:
    good = ["a.gguf", "sub/b c.gguf", "ünï-✓.gguf", "A.gguf"]
    server.add(REPO, dict.fromkeys([*UNSAFE, *good], b"GGUF"))
    assert [file.file for file in hub.files(REPO).files] == good[:3]
    assert read(hub, hub.file(REPO, COMMIT, good[2])) == b"GGUF"
    assert hub.text(REPO, COMMIT, good[1]) == b"GGUF"


@pytest.mark.parametrize(
    "name", ["x", "a/b/c", "../x", "a/..", "-a/b", "a/b.git", "a/b c", "", "a/b\n", "a--b/c", "/b"]
)
def test_names_of_repositories(hub: Hub, server: HubServer, name: str) -> None:
    assert not safe_repository(name)
    with pytest.raises(UsageError):
        hub.files(name)
    for revision in ("", "..", "a\nb", "-x"):
        with pytest.raises(UsageError):
            hub.files(REPO, revision)
    assert not server.log


def test_repositories_with_strange_names_are_not_found(hub: Hub, server: HubServer) -> None:
    server.add("x/\x1b[2Jtiny", {"a.gguf": DATA})
    assert [repo.name for repo in hub.search("tiny")] == [REPO]


# --- the hub's own process ----------------------------------------------------------------------


def test_a_hub_of_its_own(tmp_path: Path, connect: Callable[..., Hub]) -> None:
    folder = tmp_path / "served" / "own" / "repo"
    folder.mkdir(parents=True)
    (folder / "a.gguf").write_bytes(DATA)
    (folder / "hub.json").write_text('{"licence": "mit"}')
    port_file, log_file = tmp_path / "ports", tmp_path / "log"
    command = [sys.executable, "-m", "tests.support.hub", str(folder.parent.parent)]
    command += ["--port-file", str(port_file), "--log-file", str(log_file)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline()
        hub = connect(endpoint=json.loads(port_file.read_text())["hub"])
        listing = hub.files("own/repo")
        assert listing.licence == "mit"
        assert read(hub, listing.files[0]) == DATA
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    last = json.loads(log_file.read_text().splitlines()[-1])
    assert (last["role"], last["file"], last["sent"]) == ("cdn", "a.gguf", len(DATA))
