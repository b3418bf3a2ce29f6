"""A hub on the loopback and clients that are not patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.hub import COMMIT, HubServer, hub_server
from tests.support.remote import DATA, FILE, REPO, TEXT

from corral.models.hub.client import Hub
from corral.models.hub.types import RemoteFile


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
