"""A corral's downloads with a real store, real transfers, and a hub on the loopback."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.hub import (
    HubServer,
)

from corral.models.catalog import Catalog
from corral.models.downloads.downloads import Download, Downloads
from corral.models.hub.client import Hub
from corral.models.transfer.transfer import Tuning
from corral.settings import DownloadSettings
from corral.store.store import Store

REPOSITORY = "somebody/tiny-GGUF"
FILE = "tiny.Q8_0.gguf"
TEXTS = {"LICENSE.txt": b"You may.\n", "USE_POLICY.md": b"Be good.\n"}

CATALOGUE = """
[licence.llama2]
title = "Llama 2 Community License"
accept = true
repository = "somebody/tiny-GGUF"
revision = "{commit}"
files = ["LICENSE.txt", "USE_POLICY.md", "Notice"]

[licence.llama1]
title = "LLaMA licence"
download = false

[licence.mit]
title = "MIT License"

[family.tiny-chat]
title = "Tiny Chat"
size = "4M"
kind = "chat"
licence = "llama2"
format = "llama-2"
repository = "somebody/tiny-GGUF"
revision = "{commit}"
n_layer = 1
n_embd = 512
n_head = 4
n_head_kv = 4
n_ff = 2048
recommended = "Q8_0"
files = [
  {{ quant = "Q8_0", file = "tiny.Q8_0.gguf", bytes = {bytes}, sha256 = "{sha256}" }},
  {{ quant = "Q4_0", file = "tiny.Q4_0.gguf", bytes = {bytes}, sha256 = "{other}" }},
  {{ quant = "Q6_K", file = "tiny.Q6_K.gguf", gigabytes = 0.001, parts = [{parts}] }},
]

[family.old]
title = "Old"
size = "7B"
kind = "base"
licence = "llama1"
format = "completion"
repository = "somebody/old-GGUF"
revision = "{commit}"
n_layer = 1
n_embd = 512
n_head = 4
n_head_kv = 4
n_ff = 2048
recommended = "F16"
files = [{{ quant = "F16", file = "old.F16.gguf", gigabytes = 13.0 }}]
"""


class Shelf:
    """A library that remembers what it was given."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Path, str]] = []

    def installed(self, download: Download, path: Path, sha256: str) -> None:
        assert path.stat().st_size == download.targets[0].size
        self.found.append((download.name, path, sha256))


class Desk:
    """One corral: its store, its downloads, its library."""

    def __init__(self, database: Path, catalog: Catalog, hub: HubServer, folder: Path) -> None:
        self.settings = DownloadSettings()
        self.store = Store.open(database)
        self.shelf = Shelf()
        self.hub = Hub(folder.parent / "cache", endpoint=hub.url, patience=2, stall=2)
        self.downloads = Downloads(
            self.store,
            catalog,
            self.shelf,
            lambda: self.hub,
            folder,
            self.settings,
            tuning=Tuning(first_wait=0.05, attempts=3, longest_request=60, stall=0.5),
        )

    def accept(self) -> None:
        self.store.accept_licence("llama2", "title", "text")

    def pull(self, name: str = "tiny-chat:Q8_0") -> Download:
        return self.downloads.add(self.downloads.plan(name))

    def until(self, id: int, wanted: Callable[[Download], bool]) -> Download:
        """The download as soon as it is as wanted."""
        deadline = time.monotonic() + 20
        while not wanted(found := self.downloads.get(id)):
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def state(self, id: int, state: str) -> Download:
        return self.until(id, lambda found: found.state == state)

    def under_way(self, id: int) -> Download:
        return self.until(id, lambda found: found.stage == "transfer" and found.fetched > 0)

    def close(self) -> None:
        self.downloads.close()
        self.hub.close()
        self.store.close()


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
