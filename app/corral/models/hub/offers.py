"""What a repository has to offer: its files put together to models, one for each quantization."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corral.models.hub.names import quant_of

if TYPE_CHECKING:
    from corral.models.hub.types import RemoteFile

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_CUT = re.compile(
    r"(?P<whole>.+\.gguf)(?:-split-(?P<letter>[a-z])|\.part(?P<number>\d+)of(?P<count>\d+))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Offer:
    """One model of a repository."""

    file: str
    """Its path in the repository; of llama.cpp's shards the first, of raw cuts the joined one."""
    quant: str
    """As its name tells; empty where it tells none."""
    files: tuple[tuple[RemoteFile, ...], ...]
    """For each file on the disk the remote ones that are joined to it, in order."""

    @property
    def bytes(self) -> int:
        return sum(remote.size for joined in self.files for remote in joined)


def offers(files: Iterable[RemoteFile]) -> list[Offer]:
    """The complete models among the files of a repository, the smallest first."""
    found: list[Offer] = []
    shards: dict[tuple[str, int], dict[int, RemoteFile]] = {}
    cuts: dict[tuple[str, int], dict[int, RemoteFile]] = {}
    for remote in files:
        if match := _SHARD.fullmatch(remote.file):
            key = (match["stem"], int(match["count"]))
            shards.setdefault(key, {})[int(match["number"])] = remote
        elif match := _CUT.fullmatch(remote.file):
            letter = match["letter"]
            number = ord(letter.lower()) - ord("a") + 1 if letter else int(match["number"])
            key = (match["whole"], 0 if letter else int(match["count"]))
            cuts.setdefault(key, {})[number] = remote
        elif remote.file.lower().endswith(".gguf"):
            found.append(Offer(remote.file, quant_of(remote.file), ((remote,),)))
    for (_, count), parts in shards.items():
        if ordered := _complete(parts, count):
            name = ordered[0].file
            found.append(Offer(name, quant_of(name), tuple((part,) for part in ordered)))
    for (whole, count), parts in cuts.items():
        if ordered := _complete(parts, count or max(len(parts), 2)):
            found.append(Offer(whole, quant_of(whole), (ordered,)))
    return sorted(found, key=lambda offer: (offer.bytes, offer.file))


def _complete(parts: dict[int, RemoteFile], count: int) -> tuple[RemoteFile, ...]:
    """All ``count`` of them in order, or none. A count from a name may be absurd."""
    if len(parts) != count or set(parts) != set(range(1, len(parts) + 1)):
        return ()
    return tuple(parts[number] for number in sorted(parts))
