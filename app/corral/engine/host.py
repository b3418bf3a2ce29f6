"""One worker and the model in it: its requests, each with one end, and the memory it holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.engine import protocol
from corral.engine.errors import EngineStopped, from_failed, while_loading
from corral.engine.process import Worker
from corral.engine.protocol import Loaded, LoadSpec, States
from corral.errors import EngineDied, EngineError

STOP_SECONDS = 1.0
"""How long a worker has to stop what it does before it is killed."""
LOAD_STOP_SECONDS = 0.3
"""The same while it loads, when it has nothing that is worth more patience."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one loaded model keeps, in bytes."""

    spec: LoadSpec
    private: int
    """Of the process alone: free as soon as it ends."""
    mapped: int
    """Weights in the page cache: the system calls them available, and the model needs them."""
    cards: Mapping[str, int] = field(default_factory=dict)
    """On graphics cards that have their own memory, by ggml's name of the device."""


class Host:
    """One worker with at most one model, which it keeps until it ends.

    Args:
        log: where the worker's native text goes.
    """

    def __init__(self, worker: Worker, log: Path) -> None:
        self.worker = worker
        self.spec: LoadSpec | None = None
        self.loaded: Loaded | None = None
        self.users = 0
        """Requests in work."""
        self.timer: asyncio.TimerHandle | None = None
        """Ends it when nobody used it for long."""
        self._log = log
        self._active: int | None = None
        self._killers: dict[int, asyncio.TimerHandle] = {}
        """Of requests that were told to stop: what happens if they do not."""
        self._mapped = 0

    @property
    def alive(self) -> bool:
        return self.worker.alive

    def serves(self, spec: LoadSpec) -> bool:
        """Whether what is loaded is what ``spec`` asks for; any load has the vocabulary."""
        if self.loaded is None or self.spec is None or not self.alive:
            return False
        return spec == self.spec or (spec.vocab_only and spec.path == self.spec.path)

    async def ready(self) -> protocol.Ready:
        """Wait until the native library is loaded.

        Raises:
            EngineError: it cannot be.
        """
        return await asyncio.shield(self.worker.ready)

    async def load(
        self, spec: LoadSpec, states: States | None = None
    ) -> AsyncGenerator[protocol.Progress | Loaded, None]:
        """Load the model of a worker that has none. Leaving early ends the worker.

        Args:
            states: where it keeps on disk what it evaluated.

        Raises:
            OutOfMemory: some memory was too small.
            EngineError: the file or the context was refused, or the worker died.
        """
        await self.ready()
        self.spec = spec
        start = _size(self._log)
        try:
            request = self.request(lambda id: protocol.Load(id=id, spec=spec, states=states))
            async with contextlib.aclosing(request) as events:
                async for event in events:
                    if isinstance(event, Loaded):
                        self.loaded = event
                        yield event
                    elif isinstance(event, protocol.Progress):
                        yield event
        except EngineStopped:
            raise
        except EngineError as error:
            raise while_loading(error, self._log, start) from None

    async def ask(self, command: Callable[[int], protocol.Model]) -> protocol.Event:
        """A request that has one answer."""
        async with contextlib.aclosing(self.request(command)) as events:
            return await anext(events)

    async def request(
        self, command: Callable[[int], protocol.Model]
    ) -> AsyncGenerator[protocol.Event, None]:
        """Send a command and pass on its events up to the one that ends it.

        Close it when you leave early: what comes after the last event happens then.
        """
        worker = self.worker
        id, queue = worker.begin()
        message = command(id)
        if isinstance(
            message, protocol.Load | protocol.Generate | protocol.Likeliest | protocol.Probe
        ):
            self._active = id
        ended = False
        try:
            worker.send(message)
            await worker.drain()
            while not ended:
                event = await queue.get()
                if isinstance(event, EngineError):
                    ended = True
                    raise event
                ended = not isinstance(event, protocol.Progress | protocol.Delta)
                if isinstance(event, protocol.Failed):
                    raise from_failed(event)
                yield event
        finally:
            if not ended:
                if self.loaded is None:
                    worker.kill(EngineStopped("Stopped"))  # Half a model is worth nothing.
                self.stop(id)
                with contextlib.suppress(EngineError):
                    await _until_ended(queue)
            worker.end(id)
            if self._active == id:
                self._active = None
            if killer := self._killers.pop(id, None):
                killer.cancel()

    def stop(self, id: int | None = None) -> None:
        """Stop a request, else the load, the answer or the probe in work.

        A worker that does not obey is killed.
        """
        id = id or self._active
        if id is None or id in self._killers:
            return
        self.worker.send(protocol.Cancel(id=id))
        if self.loaded is None:
            seconds: float = LOAD_STOP_SECONDS
            cause: EngineError = EngineStopped("Stopped")
        else:
            seconds = STOP_SECONDS
            cause = EngineDied("The engine did not stop in time and was ended")
        loop = asyncio.get_running_loop()
        self._killers[id] = loop.call_later(seconds, self.worker.kill, cause)

    def held(self) -> Held | None:
        """What the loaded model keeps; None where there is none."""
        import psutil

        if self.spec is None or self.loaded is None or not self.alive:
            return None
        try:
            memory = psutil.Process(self.worker.pid).memory_info()
        except psutil.Error:
            return None
        buffers = self.loaded.memory or protocol.MemoryUse()
        # With a draft model these are of both.
        mapped = sum(n for name, n in buffers.weights.items() if name.endswith("_Mapped"))
        if (shared := getattr(memory, "shared", None)) is not None:
            # Pages that were pushed out are still needed: the most that was ever seen counts.
            self._mapped = max(self._mapped, min(int(shared), max(mapped, self.loaded.size)))
            private = int(memory.rss) - int(shared)
        else:
            self._mapped = mapped
            private = int(memory.rss) - self._mapped
        return Held(self.spec, max(0, private), self._mapped, _on_cards(buffers))

    async def close(self) -> None:
        """End the worker, at once where it is in the middle of something."""
        if self.timer is not None:
            self.timer.cancel()
        if self.users:
            self.worker.kill(EngineDied("The engine was closed"))
        await self.worker.close()


def _on_cards(use: protocol.MemoryUse) -> dict[str, int]:
    """Bytes in buffers that are not main memory; a buffer has the name of its device."""
    found: Counter[str] = Counter()
    for buffers in (use.weights, use.kv, use.compute, use.output):
        for name, size in buffers.items():
            if not name.startswith(("CPU", "AMX")) and not name.endswith(("_Host", "_Mapped")):
                found[name] += size
    return dict(found)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0


async def _until_ended(queue: asyncio.Queue[protocol.Event | EngineError]) -> None:
    """Let a stopped request come to its end, so that the next one finds the worker free."""
    while True:
        event = await queue.get()
        if isinstance(event, EngineError):
            raise event
        if not isinstance(event, protocol.Progress | protocol.Delta):
            return
