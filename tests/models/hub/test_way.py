"""Proxies, certificates, no network at all, and the hub in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import hub as faults
from tests.support.hub import COMMIT, HubServer, hub_server
from tests.support.remote import DATA, FILE, REPO, ROOT, TEXT, read, said

from corral.errors import CorralError, Refused
from corral.models.hub.client import Hub
from corral.models.hub.types import HubError, RemoteFile

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
    # Whoever redirected may write its line after the bytes were sent.
    told = [json.loads(line) for line in log_file.read_text().splitlines()]
    sent = {(line["role"], line["file"], line["sent"]) for line in told}
    assert ("cdn", "a.gguf", len(DATA)) in sent
