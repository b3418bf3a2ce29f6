"""The engine as the rest of corral sees it: load, tokenize, generate, stop, and start anew."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from corral.engine import protocol
from corral.engine.process import Worker, worker_command
from corral.engine.protocol import Loaded, LoadSpec, Sampling, Segment
from corral.errors import EngineDied, EngineError, UsageError

STOP_SECONDS = 1.0
"""How long a worker has to stop what it does before it is killed."""

TEMPLATE_SECONDS = 2.0
"""How long a file's own chat template may run."""


class EngineStopped(EngineError):
    """The request was stopped on request; nothing is wrong."""

    title = "Stopped"


class Engine:
    """One worker at a time, started when it is needed and again after it died.

    Args:
        log: file the worker's native text goes to.
        command: how a worker is started; tests put a misbehaving one here.
    """

    def __init__(
        self,
        log: Path,
        *,
        command: Callable[[], tuple[str, ...]] = worker_command,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._log = log
        self._command = command
        self._environment = environment
        self._worker: Worker | None = None
        self._spec: LoadSpec | None = None
        self._loaded: Loaded | None = None
        self._active: int | None = None
        self._killers: dict[int, asyncio.TimerHandle] = {}
        """Of requests that were told to stop: what happens if they do not."""
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the living worker."""
        return self._worker.pid if self._worker is not None and self._worker.alive else None

    @property
    def loaded_spec(self) -> LoadSpec | None:
        """How the model in memory was loaded; None where there is none, also after a crash."""
        return self._spec if self._loaded is not None and self.pid is not None else None

    async def spare_bytes(self) -> int:
        """Bytes a model may use besides the free memory of the machine.

        That is what the present worker gives back when it ends, and the memory of graphics cards
        of their own (Apple's share the machine's).
        """
        import psutil

        worker = await self._living_worker()
        spare = 0
        if (await asyncio.shield(worker.ready)).gpu_offload and sys.platform != "darwin":
            cards = [device for device in await self.devices() if device.kind == "gpu"]
            spare = sum(card.memory_free for card in cards)
        try:
            memory = psutil.Process(worker.pid).memory_info()
        except psutil.Error:
            return spare
        return spare + max(0, int(memory.rss) - int(getattr(memory, "shared", 0)))

    async def ready(self) -> protocol.Ready:
        """Start a worker if there is none, and wait until its native library is loaded.

        Raises:
            EngineError: it cannot be started or loaded.
        """
        worker = await self._living_worker()
        return await asyncio.shield(worker.ready)

    async def load(self, spec: LoadSpec) -> AsyncGenerator[protocol.Progress | Loaded, None]:
        """Have the model in memory; what is loaded the same way already is not loaded again.

        Every model gets a fresh worker, because only the end of a process surely gives its memory
        back.

        Raises:
            EngineError: the file or the context was refused, or the worker died.
        """
        if self._loaded is not None and self.pid is not None and self._spec is not None:
            same_file = spec.vocab_only and spec.path == self._spec.path
            if spec == self._spec or same_file:
                yield self._loaded
                return
        if self._spec is not None:
            await self._discard()
        worker = await self._living_worker()
        await asyncio.shield(worker.ready)
        self._spec = spec
        try:
            request = self._request(worker, lambda id: protocol.Load(id=id, spec=spec))
            async with contextlib.aclosing(request) as events:
                async for event in events:
                    if isinstance(event, Loaded):
                        self._loaded = event
                        yield event
                    elif isinstance(event, protocol.Progress):
                        yield event
        finally:
            if self._loaded is None:
                await self._discard()

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]:
        """Token ids of a prompt, by the loaded model's vocabulary."""
        answer = await self._ask(
            self._loaded_worker(), lambda id: protocol.Tokenize(id=id, segments=tuple(segments))
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
        worker = self._loaded_worker()
        hint = "Choose another prompt format for this model."
        try:
            async with asyncio.timeout(TEMPLATE_SECONDS):
                answer = await self._ask(
                    worker,
                    lambda id: protocol.Render(
                        id=id,
                        messages=tuple(dict(message) for message in messages),
                        add_generation_prompt=add_generation_prompt,
                    ),
                )
        except TimeoutError:
            worker.kill(EngineDied("The chat template of this file ran too long"))
            raise UsageError(
                "The chat template of this file ran for more than 2 seconds and was ended",
                title="Template refused",
                hint=hint,
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
    ) -> AsyncGenerator[protocol.Progress | protocol.Delta | protocol.Finished, None]:
        """Evaluate the prompt and stream the answer; the last event is always ``Finished``.

        Leaving the iteration early stops the worker, too.
        """
        request = self._request(
            self._loaded_worker(),
            lambda id: protocol.Generate(
                id=id,
                tokens=tuple(tokens),
                sampling=sampling,
                max_tokens=max_tokens,
                stop=tuple(stop),
                strip_leading_space=strip_leading_space,
            ),
        )
        async with contextlib.aclosing(request) as events:
            async for event in events:
                if isinstance(event, protocol.Progress | protocol.Delta | protocol.Finished):
                    yield event

    async def devices(self) -> Sequence[protocol.Device]:
        """What the engine can compute on, with free and total memory in bytes."""
        worker = await self._living_worker()
        await asyncio.shield(worker.ready)
        answer = await self._ask(worker, lambda id: protocol.Describe(id=id))
        assert isinstance(answer, protocol.Devices)
        return answer.devices

    def stop(self) -> None:
        """Stop the request in work at once; a worker that does not obey in a second is killed."""
        worker, id = self._worker, self._active
        if worker is None or id is None or id in self._killers:
            return
        worker.send(protocol.Cancel(id=id))
        self._killers[id] = asyncio.get_running_loop().call_later(
            STOP_SECONDS, worker.kill, EngineDied("The engine did not stop in time and was ended")
        )

    async def close(self) -> None:
        """End the worker; the engine can be used again, with a new one."""
        await self._discard()

    # --- inside -----------------------------------------------------------------------------------

    async def _living_worker(self) -> Worker:
        async with self._starting:
            if self._worker is None or not self._worker.alive:
                await self._discard()
                self._worker = await Worker.start(self._log, self._command(), self._environment)
            return self._worker

    def _loaded_worker(self) -> Worker:
        if self._worker is None or self._loaded is None:
            raise EngineDied("No model is loaded")
        return self._worker

    async def _discard(self) -> None:
        worker, self._worker = self._worker, None
        self._spec = self._loaded = None
        if worker is not None:
            await worker.close()

    async def _ask(
        self, worker: Worker, command: Callable[[int], protocol.Model]
    ) -> protocol.Event:
        """A request that has one answer."""
        async with contextlib.aclosing(self._request(worker, command)) as events:
            return await anext(events)

    async def _request(
        self, worker: Worker, command: Callable[[int], protocol.Model]
    ) -> AsyncGenerator[protocol.Event, None]:
        """Send a command and pass on its events up to the one that ends it.

        Close it when you leave early: what comes after the last event happens then.
        """
        id, queue = worker.begin()
        self._active = id
        ended = False
        try:
            worker.send(command(id))
            await worker.drain()
            while not ended:
                event = await queue.get()
                if isinstance(event, EngineError):
                    ended = True
                    raise event
                ended = not isinstance(event, protocol.Progress | protocol.Delta)
                if isinstance(event, protocol.Failed):
                    raise _error(event)
                yield event
        finally:
            if not ended:
                self.stop()
                with contextlib.suppress(EngineError):
                    await _until_ended(queue)
            worker.end(id)
            if self._active == id:
                self._active = None
            if killer := self._killers.pop(id, None):
                killer.cancel()


async def _until_ended(queue: asyncio.Queue[protocol.Event | EngineError]) -> None:
    """Let a stopped request come to its end, so that the next one finds the worker free."""
    while True:
        event = await queue.get()
        if isinstance(event, EngineError):
            raise event
        if not isinstance(event, protocol.Progress | protocol.Delta):
            return


def _error(failed: protocol.Failed) -> EngineError | UsageError:
    message = " ".join(failed.message.split())
    if failed.code == "stopped":
        return EngineStopped("Stopped")
    if failed.code == "template":
        return UsageError(
            f"The chat template of this file cannot be used: {message}",
            title="Template refused",
            hint="Choose another prompt format for this model.",
        )
    if failed.code == "load":
        return EngineError(
            f"The model could not be loaded: {message}",
            title="Not loaded",
            hint="The engine log says more.",
        )
    return EngineError(f"The engine failed: {message}", hint="The engine log says more.")
