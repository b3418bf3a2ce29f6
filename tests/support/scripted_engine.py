"""An engine that says what a test wrote down: pieces, pauses, failures, and waiting for ever."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from corral.engine import protocol
from corral.engine.errors import EngineStopped
from corral.engine.host import Held
from corral.engine.protocol import (
    Adapter,
    LoadSpec,
    Sampling,
    Segment,
    StopReason,
    Timings,
    Usage,
)
from corral.errors import CorralError


@dataclass
class Script:
    """One answer.

    Attributes:
        hold_after: after that many pieces nothing comes until :meth:`ScriptedEngine.go_on` or a
            stop; None never waits.
        fail_after: after that many pieces ``error`` is raised.
        hold_loading, hold_reading: wait in the middle of loading or of reading the prompt.
    """

    pieces: Sequence[str] = ("A llama ", "is not ", "an alpaca.")
    delay: float = 0.0
    hold_after: int | None = None
    fail_after: int | None = None
    error: CorralError | None = None
    hold_loading: bool = False
    hold_reading: bool = False
    stop_reason: StopReason = "end"
    tokens_per_second: float = 41.2


@dataclass
class ScriptedEngine:
    """Has the shape of :class:`corral.chatting.ChatEngine`."""

    scripts: list[Script] = field(default_factory=list)
    """Answers to come; when there is none left, the default one is given."""
    n_ctx: int = 4096
    gpu_layers: int = 0
    layers: int = 33
    tokens_per_character: float = 0.25
    prompts: list[int] = field(default_factory=list)
    """Tokens of every prompt that was to be answered."""
    samplings: list[Sampling] = field(default_factory=list)
    """What each of them was to be sampled with."""
    adapters: list[tuple[Adapter, ...]] = field(default_factory=list)
    """Those of every prompt."""
    stops: int = 0
    prepared: int = 0
    """How often a worker was to be started ahead."""
    loads: list[LoadSpec] = field(default_factory=list)
    """Every load that was tried and was not there already."""
    load_errors: list[CorralError] = field(default_factory=list)
    """Raised by the next loads, one each, in place of loading."""
    private_bytes: int = 0
    """What every loaded model keeps for itself."""
    cards: Sequence[protocol.Device] = ()
    """The graphics cards."""
    likely: Sequence[tuple[str, protocol.TokenKind, float]] = (
        (" llama", "text", 0.6),
        (" alpaca", "text", 0.25),
        ("</s>", "control", 0.05),
        ("<0xE2>", "part", 0.01),
    )
    """What is likeliest anywhere: text, kind and probability."""
    looks: list[int] = field(default_factory=list)
    """Tokens before every place that was looked at."""
    hold_looks: bool = False
    """A look waits for :meth:`go_on` or a stop."""
    _warm: list[LoadSpec] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def go_on(self) -> None:
        """End the pause of the running answer, and of all that follow."""
        self._go_on.set()

    @property
    def loaded_spec(self) -> LoadSpec | None:
        return self._warm[0] if self._warm else None

    @property
    def loaded_specs(self) -> list[LoadSpec]:
        return list(self._warm)

    def held(self) -> list[Held]:
        return [Held(spec, self.private_bytes, 0) for spec in self._warm]

    async def discard(self, spec: LoadSpec) -> None:
        if spec in self._warm:
            self._warm.remove(spec)

    async def devices(self) -> Sequence[protocol.Device]:
        return self.cards

    async def spare_bytes(self) -> int:
        return self.private_bytes * len(self._warm)

    def notices(self) -> list[str]:
        return []

    def prepare(self) -> None:
        self.prepared += 1

    def stop(self) -> None:
        self.stops += 1
        self._stop.set()

    async def load(
        self, spec: LoadSpec
    ) -> AsyncGenerator[protocol.Progress | protocol.Loaded, None]:
        self._stop.clear()
        script = self.scripts[0] if self.scripts else Script()
        if spec in self._warm:
            self._warm.remove(spec)
        else:
            self.loads.append(spec)
            if self.load_errors:
                raise self.load_errors.pop(0)
            self._warm = [other for other in self._warm if other.path != spec.path]
            for done in (0.0, 0.43):
                yield protocol.Progress(id=1, stage="loading", done=done, total=1.0)
                await asyncio.sleep(script.delay)
            if script.hold_loading:
                await self._pause()
                if self._stop.is_set():
                    return
        self._warm.insert(0, spec)
        yield protocol.Loaded(
            id=1,
            description="llama 7B Q4_K - Medium",
            n_ctx=self.n_ctx,
            n_ctx_train=4096,
            n_vocab=32_000,
            n_layer=self.layers - 1,
            gpu_layers=self.gpu_layers,
            layers=self.layers,
            threads=4,
            size=4_080_000_000,
            parameters=6_740_000_000,
            add_bos=True,
        )

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]:
        return range(int(sum(len(text) for _, text in segments) * self.tokens_per_character) + 1)

    async def render(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Sequence[Segment]:
        return [("text", message["content"]) for message in messages]

    async def spelled(self, segments: Sequence[Segment]) -> protocol.Tokens:
        """A token for each word with the space before it."""
        text = "".join(text for kind, text in segments if kind == "text")
        words = re.findall(r"\s?\S+|\s+", text)
        sizes = (0, *(len(word.encode()) for word in words))
        return protocol.Tokens(id=3, tokens=tuple(range(len(sizes))), sizes=sizes)

    async def likeliest(
        self,
        tokens: Sequence[int],
        count: int,
        *,
        also: Sequence[int] = (),
        conversation: str = "",
        adapters: Sequence[Adapter] = (),
    ) -> AsyncGenerator[protocol.Progress | protocol.Likely, None]:
        self._stop.clear()
        self.looks.append(len(tokens))
        if self.hold_looks:
            await self._pause()
            if self._stop.is_set():
                raise EngineStopped("Stopped")
        found = [
            protocol.LikelyToken(token=1000 + number, text=text, kind=kind, probability=share)
            for number, (text, kind, share) in enumerate(self.likely[:count])
        ]
        for token in also:
            found.append(protocol.LikelyToken(token=token, text=" it", probability=0.01))
        yield protocol.Likely(id=4, tokens=tuple(found), reused_tokens=len(tokens) - 1)

    async def generate(
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
    ) -> AsyncGenerator[protocol.Progress | protocol.Delta | protocol.Finished, None]:
        self._stop.clear()
        self.prompts.append(len(tokens))
        self.samplings.append(sampling)
        self.adapters.append(tuple(adapters))
        script = self.scripts.pop(0) if self.scripts else Script()
        prompt = len(tokens)
        yield protocol.Progress(id=2, stage="prompt", done=prompt // 2, total=prompt)
        await asyncio.sleep(script.delay)
        if script.hold_reading:
            await self._pause()
        said = 0
        for number, piece in enumerate(script.pieces):
            if script.fail_after == number and script.error is not None:
                raise script.error
            if script.hold_after == number:
                await self._pause()
            if self._stop.is_set():
                break
            said = number + 1
            yield protocol.Delta(id=2, text=piece, tokens=said)
            await asyncio.sleep(script.delay)
        else:
            if script.fail_after == len(script.pieces) and script.error is not None:
                raise script.error
            if script.hold_after == len(script.pieces):
                await self._pause()
        stopped = self._stop.is_set()
        yield protocol.Finished(
            id=2,
            stop_reason="stopped" if stopped else script.stop_reason,
            usage=Usage(
                prompt_tokens=prompt,
                reused_tokens=prompt * 9 // 10,
                evaluated_tokens=prompt - prompt * 9 // 10,
                completion_tokens=said,
            ),
            timings=Timings(
                load_ms=900.0,
                prompt_ms=120.0,
                first_token_ms=180.0,
                generation_ms=said / script.tokens_per_second * 1000,
                tokens_per_second=script.tokens_per_second,
            ),
            threads=4,
            seed=42,
        )

    async def _pause(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stop, self._go_on)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
