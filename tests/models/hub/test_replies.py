"""What a hub may answer, and what the client makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.support import hub as faults
from tests.support.hub import COMMIT, TOKEN, Fault, HubServer
from tests.support.remote import DATA, FILE, HOSTILE, REPO, read, said

from corral.errors import CorralError, NotFound, Refused
from corral.models.hub.client import Hub
from corral.models.hub.types import FileChanged, HubError, RemoteFile

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
