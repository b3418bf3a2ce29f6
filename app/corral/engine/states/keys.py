"""What evaluated cells belong to: a model file by its content, and how it was loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from corral.engine.figures import Model
from corral.engine.params import Adapter, LoadSpec

_HEAD = 1 << 20
_BLOCK = 4096
_BLOCKS = 64
_SHARD = re.compile(r"(.+)-00001-of-([0-9]{5})\.gguf", re.ASCII | re.DOTALL)


def fingerprint(path: Path) -> str:
    """A hash that changes with the content of a model file, without reading all of it.

    The sizes, the first MiB (metadata and vocabulary), 64 blocks spread over the rest and the last
    one, of each shard. A file that was replaced under the same name has another one.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for shard in _shards(path):
        with shard.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            digest.update(size.to_bytes(8, "little"))
            file.seek(0)
            digest.update(file.read(_HEAD))
            step = max(1, (size - _HEAD - _BLOCK) // _BLOCKS)
            for position in range(_HEAD, max(_HEAD, size - _BLOCK), step):
                file.seek(position)
                digest.update(file.read(_BLOCK))
            file.seek(max(0, size - _BLOCK))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def adapter_set(adapters: Iterable[Adapter]) -> str:
    """Names a set of active adapters by their contents and scales; "" is none.

    The same set in another order is the same, and one scaled to 0 is not in it.
    """
    active = sorted((one.sha256, one.scale) for one in adapters if one.scale)
    return ",".join(f"{sha256}:{scale!r}" for sha256, scale in active)


def stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """What tells that a model's files were replaced or written to; empty where one is gone."""
    try:
        found = [shard.stat() for shard in _shards(path)]
    except OSError:
        return ()
    return tuple((status.st_size, status.st_mtime_ns) for status in found)


def _shards(path: Path) -> Iterator[Path]:
    yield path
    if match := _SHARD.fullmatch(path.name):
        for number in range(2, int(match[2]) + 1):
            yield path.with_name(f"{match[1]}-{number:05}-of-{match[2]}.gguf")


class Maker(Model):
    """Everything that cells depend on. Other cells than these are no use, and some are harmful.

    llama.cpp checks the layout of a state, but not whose it is.
    """

    fingerprint: str
    n_layer: int
    type_k: str
    type_v: str
    flash_attn: str
    offload_kqv: bool
    kv_unified: bool
    rope_freq_base: float
    rope_freq_scale: float
    rope_scaling: str = "off"
    adapters: str
    engine: str
    """Version of the binding, which stands for one build of llama.cpp."""

    @classmethod
    def of(
        cls, spec: LoadSpec, fingerprint: str, *, n_layer: int, engine: str, adapters: str = ""
    ) -> Maker:
        """Args:
        adapters: what :func:`adapter_set` gives for those that were active.
        """
        return cls(
            fingerprint=fingerprint,
            n_layer=n_layer,
            type_k=spec.type_k,
            type_v=spec.type_v,
            flash_attn=spec.flash_attn,
            offload_kqv=spec.offload_kqv,
            kv_unified=True,
            rope_freq_base=spec.rope_freq_base,
            rope_freq_scale=spec.rope_freq_scale,
            rope_scaling=spec.rope_scaling,
            adapters=adapters,
            engine=engine,
        )

    @property
    def key(self) -> str:
        """The name of its folder."""
        data = self.model_dump_json().encode()
        return hashlib.blake2b(data, digest_size=16).hexdigest()
