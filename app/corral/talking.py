"""The shape of the engine as turns and swaps see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from corral.engine import protocol
from corral.engine.host import Held
from corral.engine.protocol import Adapter, LoadSpec, Sampling, Segment
from corral.planning import Tokenizer


class ChatEngine(Tokenizer, Protocol):
    """What a turn needs of the engine; the tests' scripted engine has the same shape."""

    def prepare(self) -> None: ...
    def load(self, spec: LoadSpec) -> AsyncGenerator[protocol.Progress | protocol.Loaded, None]: ...
    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        max_tokens: int = 0,
        stop: Sequence[str] = (),
        strip_leading_space: bool = True,
        conversation: str = "",
        lookup: bool = True,
        adapters: Sequence[Adapter] = (),
    ) -> AsyncGenerator[protocol.Progress | protocol.Delta | protocol.Finished, None]: ...
    async def spelled(self, segments: Sequence[Segment]) -> protocol.Tokens: ...
    def likeliest(
        self,
        tokens: Sequence[int],
        count: int,
        *,
        also: Sequence[int] = (),
        conversation: str = "",
        adapters: Sequence[Adapter] = (),
    ) -> AsyncGenerator[protocol.Progress | protocol.Likely, None]: ...
    def stop(self) -> None: ...
    def notices(self) -> list[str]: ...
    async def spare_bytes(self) -> int: ...
    def held(self) -> list[Held]: ...
    async def discard(self, spec: LoadSpec) -> None: ...
    async def devices(self) -> Sequence[protocol.Device]: ...
    @property
    def loaded_spec(self) -> LoadSpec | None: ...
    @property
    def loaded_specs(self) -> list[LoadSpec]: ...
