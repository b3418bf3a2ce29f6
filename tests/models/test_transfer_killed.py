"""Kill -9 in the middle of a transfer, again and again: nothing is read twice beyond one piece.

``CORRAL_KILLS`` sets how often.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.transferring import FILE, REPOSITORY

from corral.models.transfer.pieces import PIECE

KILLS = int(os.environ.get("CORRAL_KILLS", "5"))
SIZE = 40_000_000
RATE = 25_000_000

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX matter")

# A transfer on a real database; says when it begins and when it is through.
PROGRAM = """
import sys
from pathlib import Path
from corral.models.hub.client import Hub
from corral.models.transfer.transfer import Control, Limit, Segment, SegmentSource, transfer
from corral.store.store import Store
url, folder, repository, file = sys.argv[1:]
part = Path(folder) / f"{file}.part"
store = Store.open(Path(folder) / "corral.db")
class Notes:
    def pieces(self): return store.pieces(file)
    def record(self, pieces): store.put_pieces(file, pieces)
    def forget(self, numbers=None): store.drop_pieces(file, numbers)
hub = Hub(Path(folder) / "cache", endpoint=url)
remote = hub.file(repository, "main", file)
print("begins", flush=True)
done = transfer(part, [Segment(SegmentSource(hub, remote), remote.size)], sha256=remote.sha256,
    journal=Notes(), control=Control(), limit=Limit(), progress=lambda progress: None)
print(done.sha256, flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A hub that is not killed with the program."""
    place = tmp_path / "served" / REPOSITORY
    place.mkdir(parents=True)
    (place / FILE).write_bytes(random.Random(5).randbytes(SIZE))
    ports, log = tmp_path / "ports", tmp_path / "log"
    hub = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.hub", str(tmp_path / "served")),
            *("--port-file", str(ports), "--log-file", str(log), "--rate", str(RATE)),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not ports.exists():
            assert hub.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        yield json.loads(ports.read_text())["hub"]
    finally:
        hub.terminate()
        hub.wait()


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, url, str(folder), REPOSITORY, FILE],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert process.stdout and process.stdout.readline() == "begins\n"
    return process


def test_killed_again_and_again(url: str, tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    for _ in range(KILLS):
        process = start(url, tmp_path)
        time.sleep(chance.uniform(0.05, 1.4 * SIZE / RATE / KILLS))
        process.kill()
        process.communicate()
    done, _ = start(url, tmp_path).communicate(timeout=60)
    content = (tmp_path / "served" / REPOSITORY / FILE).read_bytes()
    assert done.strip() == hashlib.sha256(content).hexdigest()
    assert (tmp_path / f"{FILE}.part").read_bytes() == content

    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    gets = [(r["start"], r["start"] + r["sent"]) for r in log if r["role"] == "cdn" and r["sent"]]
    gets.sort()
    assert len(gets) > KILLS / 2
    for (_, before), (after, _) in itertools.pairwise(gets):
        assert before - PIECE <= after <= before
    assert sum(stop - start for start, stop in gets) <= SIZE + KILLS * PIECE
