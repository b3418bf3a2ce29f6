"""Kill -9 in the middle of a download: it goes on from where it was, and nothing comes twice.

``CORRAL_KILLS`` sets how often, ``CORRAL_DOWNLOAD_MB`` how large the file is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.hub import HubServer, hub_server

from corral.models.transfer.pieces import PIECE
from corral.store.downloads import Download
from corral.store.store import Store

KILLS = int(os.environ.get("CORRAL_KILLS", "3"))
MEGABYTES = int(os.environ.get("CORRAL_DOWNLOAD_MB", "60"))
GROWTH = 100_000_000
REPOSITORY, FILE = "somebody/model-GGUF", "model.F32.gguf"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX matter")

# A corral that does nothing but download: what it was asked for, or else goes on with.
PROGRAM = """
import json, sys, time
from pathlib import Path
from corral.models.catalog import Catalog, find_catalogue
from corral.models.downloads.downloads import Downloads
from corral.models.hub.client import Hub
from corral.settings import DownloadSettings
from corral.store.store import Store
class Shelf:
    def installed(self, download, path, sha256):
        print(json.dumps({"installed": str(path), "sha256": sha256}), flush=True)
home, name = Path(sys.argv[1]), sys.argv[2]
store, hub = Store.open(home / "corral.db"), Hub(home / "cache")
downloads = Downloads(
    store, Catalog.load(find_catalogue()), Shelf(), lambda: hub, home / "models", DownloadSettings()
)
id = (downloads.all() or [downloads.add(downloads.plan(name))])[0].id
print(json.dumps({"id": id}), flush=True)
sys.stdin.readline()
downloads.start()
while downloads.get(id).state != "done":
    time.sleep(0.05)
print(json.dumps({"done": id}), flush=True)
sys.stdin.readline()
downloads.close()
store.close()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model with random weights of at least ``MEGABYTES``."""
    path = tmp_path_factory.mktemp("model") / FILE
    layers = max(1, -(-MEGABYTES // 17))
    tiny_llama(path, n_layer=layers, n_embd=512, n_head=4, n_head_kv=4, n_ff=2048)
    return path


@pytest.fixture
def hub(model: Path) -> Iterator[HubServer]:
    with hub_server() as server:
        server.add(REPOSITORY, {FILE: model})
        yield server


class Victim:
    """A corral in a process of its own."""

    def __init__(self, home: Path, hub: HubServer) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home), REPOSITORY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **hub.environment},
        )
        assert "id" in self.read()
        self.memory = psutil.Process(self.process.pid)
        self.before = self.memory.memory_info().rss
        self.most = self.before
        self.deadline = time.monotonic() + 120
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program ended early"
        found: dict[str, str] = json.loads(line)
        return found

    def read_until(self, key: str) -> str:
        while key not in (told := self.read()):
            pass
        return told[key]

    def look(self) -> None:
        """A moment passes, in which it must be alive."""
        assert self.process.poll() is None, "the program ended early"
        assert time.monotonic() < self.deadline
        self.most = max(self.most, self.memory.memory_info().rss)
        time.sleep(0.01)

    @property
    def growth(self) -> int:
        """Bytes of memory that downloading has taken at the most; Linux knows the peak itself."""
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            self.most = max(self.most, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        return self.most - self.before

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """Waits for the process that was killed, or is done and only waits for a last word."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(b"end\n")
            self.process.stdin.flush()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def victims(tmp_path: Path, hub: HubServer) -> Iterator[Callable[[], Victim]]:
    made: list[Victim] = []
    (tmp_path / "corral").mkdir()

    def make() -> Victim:
        made.append(Victim(tmp_path / "corral", hub))
        return made[-1]

    yield make
    for victim in made:
        if victim.process.poll() is None:
            victim.kill()


def row(home: Path) -> Download:
    store = Store.open(home / "corral.db")
    try:
        (found,) = store.downloads()
        return found
    finally:
        store.close()


def test_killed_again_and_again_it_goes_on_from_where_it_was(
    tmp_path: Path, victims: Callable[[], Victim], hub: HubServer, model: Path
) -> None:
    size = model.stat().st_size
    hub.rate = size / 4
    chance = random.Random(KILLS)
    growth = []
    victim = victims()
    planning = hub.sent(FILE)
    for number in range(KILLS):
        start = hub.sent(FILE)
        stop = planning + (number + chance.uniform(0.5, 1.0)) * size / (KILLS + 1)
        while hub.sent(FILE) < max(stop, start + 1):
            victim.look()
        growth.append(victim.growth)
        victim.kill()
        left = row(tmp_path / "corral")
        assert left.state == "running"
        assert not left.paths[0].exists()
        victim = victims()
    hub.rate = 0
    told = victim.read()
    victim.read()
    growth.append(victim.growth)
    victim.end()
    assert told["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    installed = Path(told["installed"])
    assert hashlib.sha256(installed.read_bytes()).hexdigest() == told["sha256"]
    assert [path.name for path in installed.parent.iterdir()] == [FILE]
    twice = hub.sent(FILE) - planning - size
    print(f"{KILLS} kills, {size} bytes, {twice} of them twice, memory +{max(growth)}")
    assert twice <= KILLS * PIECE
    assert max(growth) < GROWTH


def test_two_corrals_at_once_fetch_every_byte_once(
    tmp_path: Path, victims: Callable[[], Victim], hub: HubServer, model: Path
) -> None:
    hub.rate = model.stat().st_size / 2
    one = victims()
    planning = hub.sent(FILE)
    two = victims()
    assert one.read_until("done") == two.read_until("done")
    one.end()
    two.end()
    assert hub.sent(FILE) - planning == model.stat().st_size
    assert row(tmp_path / "corral").state == "done"


def test_when_the_first_is_killed_the_second_takes_over(
    tmp_path: Path, victims: Callable[[], Victim], hub: HubServer, model: Path
) -> None:
    size = model.stat().st_size
    hub.rate = size / 2
    one = victims()
    planning = hub.sent(FILE)
    two = victims()
    while hub.sent(FILE) - planning < size / 4:
        one.look()
    one.kill()
    hub.rate = 0
    told = two.read()
    assert told["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    two.read()
    two.end()
    assert hub.sent(FILE) - planning <= size + PIECE
