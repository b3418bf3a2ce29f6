"""Downloads from the loopback hub: corral, hashing, against ``curl -o``, in alternating pairs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from corral.models.hub.client import Hub
from corral.models.transfer.transfer import Control, Limit, Segment, SegmentSource, transfer
from corral.store.store import Store

ROUNDS = int(os.environ.get("CORRAL_BENCH_ROUNDS", "9"))
BYTES = int(os.environ.get("CORRAL_BENCH_MB", "400")) * 1_000_000
FILE = "model.gguf"
PART = f"{FILE}.part"
REPOSITORY = "somebody/bench"


def run() -> dict[str, Any]:
    curl = shutil.which("curl")
    if curl is None:
        raise SystemExit("curl is needed for this one")
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        folder = Path(name)
        served, port_file = folder / "served", folder / "ports"
        sha256 = _make(served / REPOSITORY / FILE)
        hub = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hub", served, "--port-file", port_file],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not port_file.exists():
                time.sleep(0.02)
                assert hub.poll() is None
            url = json.loads(port_file.read_text())["hub"]
            pairs = [_pair(curl, url, folder, sha256) for _ in range(ROUNDS + 1)][1:]
        finally:
            hub.terminate()
            hub.wait()
    return {"megabytes": BYTES / 1e6, "pairs": pairs, "rows": _rows(pairs)}


def _rows(pairs: list[dict[str, float]]) -> list[dict[str, Any]]:
    def rate(key: str) -> int:
        return round(BYTES / 1e6 / median(pair[key] for pair in pairs))

    return [
        {"program": "curl -o FILE", "MB/s": rate("curl")},
        {
            "program": "corral: sha256, pieces noted, on the disk",
            "MB/s": rate("corral"),
            "of curl": round(median(pair["curl"] / pair["corral"] for pair in pairs), 2),
            "of curl and sync": round(median(pair["synced"] / pair["corral"] for pair in pairs), 2),
            "resident growth MB": round(max(pair["growth"] for pair in pairs)),
        },
    ]


def _make(path: Path) -> str:
    """Nothing that could be compressed or left out; its hash spares the hub hashing it."""
    path.parent.mkdir(parents=True)
    digest, source = hashlib.sha256(), random.Random(1)
    with path.open("wb") as file:
        for _ in range(BYTES // 1_000_000):
            block = source.randbytes(1_000_000)
            file.write(block)
            digest.update(block)
    path.with_name(path.name + ".sha256").write_text(digest.hexdigest())
    return digest.hexdigest()


def _pair(curl: str, url: str, folder: Path, sha256: str) -> dict[str, float]:
    """Seconds of each, with a disk that has nothing else to do.

    The file before is removed at the last moment: so the memory for this one is at hand, which in a
    virtual machine makes a difference of a factor of two.
    """
    target = folder / "curl"
    address = f"{url}/{REPOSITORY}/resolve/main/{FILE}"
    os.sync()
    (folder / PART).unlink(missing_ok=True)
    _quiet()
    started = time.perf_counter()
    subprocess.run([curl, "-sSfL", "--noproxy", "*", "-o", target, address], check=True)
    took = time.perf_counter() - started
    with target.open("rb") as file:
        os.fsync(file.fileno())
    synced = time.perf_counter() - started
    assert target.stat().st_size == BYTES
    os.sync()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.transfer", url, folder, sha256],
        check=True,
        capture_output=True,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    return {"curl": took, "synced": synced, **json.loads(done.stdout)}


def _quiet() -> None:
    """Wait, not for ever, until nothing else is busy: one core is all that curl needs."""
    for _ in range(100):
        if psutil.cpu_percent(0.15) < 7:
            return


class _Rows:
    """The journal in a real database, as the downloads keep it."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store, self._path = store, str(path)

    def pieces(self) -> dict[int, bytes]:
        return self._store.pieces(self._path)

    def record(self, pieces: Any) -> None:
        self._store.put_pieces(self._path, pieces)

    def forget(self, numbers: Any = None) -> None:
        self._store.drop_pieces(self._path, numbers)


def _corral(url: str, folder: Path, sha256: str) -> dict[str, float]:
    """In a process of its own: its growth counts from before the hub's library is loaded."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    store = Store.open(folder / "bench.db")
    part = folder / PART
    try:
        hub = Hub(folder / "cache", endpoint=url)
        remote = hub.file(REPOSITORY, "main", FILE)
        segments = [Segment(SegmentSource(hub, remote), remote.size)]
        (folder / "curl").unlink(missing_ok=True)
        _quiet()
        started = time.perf_counter()
        outcome = transfer(
            part,
            segments,
            sha256=sha256,
            journal=_Rows(store, part),
            control=Control(),
            limit=Limit(),
            progress=lambda _: None,
        )
        took = time.perf_counter() - started
        assert outcome.fetched == BYTES
        hub.close()
    finally:
        over.set()
        watcher.join()
        store.close()
        for file in folder.glob("bench.db*"):
            file.unlink()
    return {"corral": took, "growth": (peak - before) / 1e6}


if __name__ == "__main__":
    print(json.dumps(_corral(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
