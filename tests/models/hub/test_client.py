"""The hub's client: what it learns, what goes over the wire, and which names it takes."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import hub as faults
from tests.support.gguf_files import tiny_llama
from tests.support.hub import COMMIT, TOKEN, HubServer
from tests.support.remote import DATA, FILE, REPO, ROOT, TEXT, read, said

from corral.errors import CorralError, Refused, UsageError
from corral.models.hub.client import Hub
from corral.models.hub.names import quant_of, safe_file, safe_repository
from corral.models.hub.types import HubError, RemoteFile

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
