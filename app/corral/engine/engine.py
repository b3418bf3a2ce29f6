"""The engine as the rest of corral sees it: load, tokenize, generate, stop, and start anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from corral.engine import protocol
from corral.engine.errors import EngineStopped, OutOfMemory
from corral.engine.host import Held, Host
from corral.engine.packs.choosing import Chooser
from corral.engine.pool import Pool
from corral.engine.process import Worker, worker_command
from corral.engine.protocol import Adapter, Loaded, LoadSpec, Sampling, Segment, States
from corral.errors import EngineDied, UsageError

__all__ = ["Engine", "EngineStopped", "Held", "OutOfMemory"]

TEMPLATE_SECONDS = 2.0
"""How long a file's own chat template may run."""
IDLE_SECONDS = 1800.0


class Engine:
    """Workers with a model each, started when they are needed and again after they died.

    One of them is the current one: what was loaded last, or used again. The others are kept warm
    until somebody discards them or nobody used them for long; one worker a file.

    Args:
        log: file the workers' native text goes to.
        command: how a worker is started; tests put a misbehaving one here.
        keep_warm: keep what was loaded before when something else is; whoever loads sees to it
            that memory suffices.
        idle_seconds: a model nobody used for so long is let go; 0 keeps it.
        states: where evaluated prompts are kept on disk; None keeps nothing.
        packs: chooses the native library of each new worker; None takes what came with the binding.
    """

    def __init__(
        self,
        log: Path,
        *,
        command: Callable[[], tuple[str, ...]] = worker_command,
        environment: Mapping[str, str] = os.environ,
        keep_warm: bool = True,
        idle_seconds: float = IDLE_SECONDS,
        states: States | None = None,
        packs: Chooser | None = None,
    ) -> None:
        self.packs = packs
        self._log = log
        self._command = command
        self._environment = environment
        self.keep_warm = keep_warm
        """May be changed at any time, as ``states``; counts from the next load on."""
        self.states = states
        self._pool = Pool(self._start, idle_seconds)
        self._current: Host | None = None
        self._at_work: Host | None = None
        """The one that loads or answers, or did last."""
        self._probing: Host | None = None

    async def _start(self) -> Host:
        return await (self.packs.start(self._spawn) if self.packs else self._spawn(None))

    async def _spawn(self, library: Path | None) -> Host:
        worker = await Worker.start(self._log, self._command(), self._environment, library)
        return Host(worker, self._log)

    @property
    def pid(self) -> int | None:
        """Process id of the current worker, or of one that waits for a model."""
        living = [host for host in self._pool.hosts if host.alive]
        if self._current is not None:
            living = [host for host in living if host is self._current]
        return living[0].worker.pid if living else None

    @property
    def loaded_spec(self) -> LoadSpec | None:
        """How the current model was loaded; None where there is none, also after a crash."""
        host = self._current
        return host.spec if host is not None and host.loaded is not None and host.alive else None

    @property
    def loaded_specs(self) -> list[LoadSpec]:
        """How every model in memory was loaded, the latest used first."""
        return [
            host.spec
            for host in self._pool.hosts
            if host.spec is not None and host.loaded is not None and host.alive
        ]

    def held(self) -> list[Held]:
        """What each model in memory keeps, the latest used first."""
        return [held for host in self._pool.hosts if (held := host.held())]

    def releasable(self) -> int:
        """Bytes of memory that only the models in memory need, mapped weights included."""
        return sum(held.private + held.mapped for held in self.held())

    async def spare_bytes(self) -> int:
        """Bytes a model may use besides the memory the system calls available.

        That is what all workers give back when they end, but for mapped weights, which count as
        available while they are in use too; and the memory of graphics cards of their own (Apple's
        share the machine's).
        """
        host = await self._pool.any()
        spare = sum(held.private for held in self.held())
        if (await host.ready()).gpu_offload and sys.platform != "darwin":
            cards = [device for device in await self.devices() if device.kind == "gpu"]
            spare += sum(card.memory_free for card in cards)
            spare += sum(sum(held.cards.values()) for held in self.held())
        return spare

    async def ready(self) -> protocol.Ready:
        """Start a worker if there is none, and wait until its native library is loaded.

        Raises:
            EngineError: it cannot be started or loaded.
        """
        return await (await self._pool.any()).ready()

    def change_pack(self, wanted: str) -> None:
        """Take another engine from the next load on; models in memory stay with theirs."""
        if self.packs is not None and self.packs.wanted != wanted:
            self.packs.wanted = wanted
            self._pool.release_spares()

    def notices(self) -> list[str]:
        """What a person should know about the native library that was taken; each once."""
        return self.packs.new_notices() if self.packs is not None else []

    def prepare(self) -> None:
        """Start a worker ahead, because a model is likely to be loaded soon. Comes back at once."""
        self._pool.prepare()

    async def load(self, spec: LoadSpec) -> AsyncGenerator[protocol.Progress | Loaded, None]:
        """Make this the current model; one that is warm is there at once, with its KV cache.

        Every model gets a fresh worker, because only the end of a process surely gives its memory
        back. Where this fails or is left early, the current model stays what it was.

        Raises:
            OutOfMemory: some memory was too small.
            EngineError: the file or the context was refused, or the worker died.
        """
        self._end_probe()
        warm = self._pool.find(spec)
        if warm is not None and warm.loaded is not None:
            with self._pool.using(warm):
                self._current = warm
            yield warm.loaded
            return
        self._pool.prepare()
        for other in self._pool.hosts.copy():
            if other.spec is not None and other.spec.path == spec.path:
                await self._pool.discard(other)
        host = await self._pool.bare()
        self._at_work = host
        try:
            with self._pool.using(host):
                async with contextlib.aclosing(host.load(spec, self.states)) as events:
                    async for event in events:
                        if isinstance(event, Loaded):
                            self._current = host
                            self._leave_alone(host)
                        yield event
        finally:
            if host.loaded is None:
                await self._pool.discard(host)

    async def discard(self, spec: LoadSpec) -> None:
        """Let a model in memory go; nothing happens where it is not there."""
        for host in self._pool.hosts.copy():
            if host.spec == spec:
                await self._pool.discard(host)

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]:
        """Token ids of a prompt, by the loaded model's vocabulary."""
        answer = await self._ask(
            self._loaded_host(), lambda id: protocol.Tokenize(id=id, segments=tuple(segments))
        )
        assert isinstance(answer, protocol.Tokens)
        return answer.tokens

    async def render(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Sequence[Segment]:
        """The file's own chat template over the messages.

        Raises:
            UsageError: there is no template, or it cannot be used; another format can be chosen.
        """
        host = self._loaded_host()
        try:
            async with asyncio.timeout(TEMPLATE_SECONDS):
                answer = await self._ask(
                    host,
                    lambda id: protocol.Render(
                        id=id,
                        messages=tuple(dict(message) for message in messages),
                        add_generation_prompt=add_generation_prompt,
                    ),
                )
        except TimeoutError:
            host.worker.kill(EngineDied("The chat template of this file ran too long"))
            raise UsageError(
                "The chat template of this file ran for more than 2 seconds and was ended",
                title="Template refused",
                hint="Choose another prompt format for this model.",
            ) from None
        assert isinstance(answer, protocol.Segments)
        return answer.segments

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
        """Evaluate the prompt and stream the answer; the last event is always ``Finished``.

        Args:
            adapters: all that are active for this answer; what was evaluated with others is not
                used.

        Leaving the iteration early stops the worker, too.
        """
        self._end_probe()
        host = self._at_work = self._loaded_host()
        request = host.request(
            lambda id: protocol.Generate(
                id=id,
                tokens=tuple(tokens),
                sampling=sampling,
                max_tokens=max_tokens,
                stop=tuple(stop),
                strip_leading_space=strip_leading_space,
                conversation=conversation,
                lookup=lookup,
                adapters=tuple(adapters),
            ),
        )
        with self._pool.using(host):
            async with contextlib.aclosing(request) as events:
                async for event in events:
                    if isinstance(event, protocol.Progress | protocol.Delta | protocol.Finished):
                        yield event

    async def spelled(self, segments: Sequence[Segment]) -> protocol.Tokens:
        """Token ids of a prompt, and how many bytes of text each stands for."""
        answer = await self._ask(
            self._loaded_host(),
            lambda id: protocol.Tokenize(id=id, segments=tuple(segments), sizes=True),
        )
        assert isinstance(answer, protocol.Tokens)
        return answer

    async def likeliest(
        self,
        tokens: Sequence[int],
        count: int,
        *,
        also: Sequence[int] = (),
        conversation: str = "",
        adapters: Sequence[Adapter] = (),
    ) -> AsyncGenerator[protocol.Progress | protocol.Likely, None]:
        """The likeliest tokens behind a prompt; the last event is always ``Likely``.

        Args:
            also: tokens to tell of, however unlikely they are.

        Raises:
            EngineStopped: it was stopped.
            EngineError: the prompt fills the window, or the worker died.
        """
        self._end_probe()
        host = self._at_work = self._loaded_host()
        request = host.request(
            lambda id: protocol.Likeliest(
                id=id,
                tokens=tuple(tokens),
                count=count,
                also=tuple(also),
                conversation=conversation,
                adapters=tuple(adapters),
            )
        )
        with self._pool.using(host):
            async with contextlib.aclosing(request) as events:
                async for event in events:
                    if isinstance(event, protocol.Progress | protocol.Likely):
                        yield event

    def idle_after(self, seconds: float) -> None:
        """Let models go that nobody used for so long from now on; 0 keeps them."""
        self._pool.idle_seconds = seconds

    async def devices(self) -> Sequence[protocol.Device]:
        """What the engine can compute on, with free and total memory in bytes."""
        host = await self._pool.any()
        with self._pool.using(host):  # No load takes it while it gets ready.
            await host.ready()
            answer = await host.ask(lambda id: protocol.Describe(id=id))
        assert isinstance(answer, protocol.Devices)
        return answer.devices

    async def probe(self) -> protocol.Probed:
        """Measure how fast each device computes; one to three seconds, best while nothing runs.

        A worker without a model does it: no answer waits for it, and it ends where a load or an
        answer begins, which would slow each other down and make what is measured wrong.

        Raises:
            EngineStopped: a load or an answer began.
            EngineError: it could not be measured.
        """
        host = self._probing = await self._pool.bare()
        try:
            with self._pool.using(host):
                await host.ready()
                if self._probing is not host:
                    raise EngineStopped("Stopped")
                answer = await host.ask(lambda id: protocol.Probe(id=id))
        finally:
            if self._probing is host:
                self._probing = None
        assert isinstance(answer, protocol.Probed)
        return answer

    def stop(self) -> None:
        """Stop the request in work at once; a worker that does not obey in a second is killed."""
        if self._at_work is not None:
            self._at_work.stop()

    async def close(self) -> None:
        """End all workers; the engine can be used again, with new ones."""
        self._current = None
        await self._pool.close()

    # --- inside -----------------------------------------------------------------------------------

    def _end_probe(self) -> None:
        if self._probing is not None:
            self._probing.stop()
            self._probing = None

    def _leave_alone(self, host: Host) -> None:
        """Let what was loaded before go where nothing is kept warm; nobody waits for its end."""
        assert host.spec is not None
        if not self.keep_warm and not host.spec.vocab_only:
            for other in self._pool.hosts.copy():
                if other is not host and other.spec is not None:
                    self._pool.release(other)

    def _loaded_host(self) -> Host:
        host = self._current
        if host is None or host not in self._pool.hosts:
            raise EngineDied("No model is loaded")
        return host

    async def _ask(self, host: Host, command: Callable[[int], protocol.Model]) -> protocol.Event:
        with self._pool.using(host):
            return await host.ask(command)
