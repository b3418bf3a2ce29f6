"""Models as downloads leave them behind, without a hub and without a byte being fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.models.transfer.pieces import PIECE, count, digest
from corral.store.downloads import Download, RemoteSegment, Target
from corral.store.store import Store


def download(paths: Sequence[Path], name: str, **changes: Any) -> Download:
    """The row of a download of ``owner/repository:QUANT`` whose files lie at ``paths``."""
    targets = []
    for path in paths:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        segment = RemoteSegment(path.name, len(data), sha256)
        targets.append(Target(path.name, (segment,), len(data), sha256))
    values: dict[str, Any] = {
        "id": 0,
        "name": name,
        "title": f"Title of {name}",
        "family": None,
        "quant": name.partition(":")[2],
        "repository": name.partition(":")[0],
        "revision": "a" * 40,
        "licence": "mit",
        "folder": str(paths[0].parent),
        "targets": tuple(targets),
        "bytes": sum(target.size for target in targets),
    }
    return Download(**(values | changes))


def arrive(
    library: Library, store: Store, *paths: Path, name: str = "o/r:F32", **changes: Any
) -> LocalModel:
    """Takes in files as if they had just been downloaded, piece by piece."""
    row = store.add_download(download(paths, name, **changes))
    for path in paths:
        data = path.read_bytes()
        numbers = range(count(len(data)))
        pieces = {n: digest(data[n * PIECE : (n + 1) * PIECE]) for n in numbers}
        store.put_pieces(path, pieces)
    model = library.installed(row, paths[0], row.targets[0].sha256 or "")
    store.update_download(row.id, state="done", done=row.bytes)
    return model
