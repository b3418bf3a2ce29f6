"""The workers that are kept warm, the latest used first, and the end of those nobody uses.

A spare one, with the library loaded and no model, is there ahead where a model is likely to be
chosen: starting Python and the library takes longer than mapping a small file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from corral.engine.host import Host
from corral.engine.protocol import LoadSpec
from corral.errors import EngineError

SPARE_AFTER = 10.0
"""Seconds without a request after which a spare worker is started: not while somebody reads the
beginning of an answer and sends the next question."""
SPARE_SECONDS = 300.0
"""How long a spare worker waits for a model."""
SPARE_MEMORY = 2 << 30
"""Bytes that have to be available for one that nobody asked for; it takes some 60 MB."""


class Pool:
    """Several workers, one model each.

    Args:
        start: gives a fresh worker.
        idle_seconds: after so long without a request a worker ends; 0 keeps it. May be changed at
            any time, and counts from a worker's next request on.
        spare_after: seconds without any request before a spare worker is started by itself.
        available: bytes of memory that could be used now.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Host]],
        idle_seconds: float,
        *,
        spare_after: float = SPARE_AFTER,
        available: Callable[[], int] | None = None,
    ) -> None:
        self._start = start
        self.idle_seconds = idle_seconds
        self._spare_after = spare_after
        self._available = available or _available
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        """Workers that end, and spare ones that start."""
        self._calm: asyncio.TimerHandle | None = None
        """Starts a spare worker when nobody asked for anything for a while."""
        self._preparing: asyncio.Task[None] | None = None
        self.hosts: list[Host] = []

    def find(self, spec: LoadSpec) -> Host | None:
        """The worker that has this loaded."""
        return next((host for host in self.hosts if host.serves(spec)), None)

    async def any(self) -> Host:
        """A living worker that nobody uses, with or without a model, else a fresh one.

        Whoever asks one that answers waits for the end of the answer.
        """
        async with self._starting:
            for host in self.hosts:
                if host.alive and not host.users:
                    return host
            return await self._fresh()

    async def bare(self) -> Host:
        """A living worker without a model, that nobody uses."""
        if self._preparing is not None:
            await asyncio.wait((self._preparing,))
        async with self._starting:
            return self._spare() or await self._fresh()

    def prepare(self) -> None:
        """Start a spare worker ahead where there is none; it ends by itself if nobody needs it.

        Comes back at once. A worker that cannot be started is told to whoever loads a model.
        """
        if (spare := self._spare()) is not None:
            self._keep(spare)
        elif self._preparing is None:
            self._preparing = self._run(self._prepare(), "spare worker")

    async def _prepare(self) -> None:
        try:
            with contextlib.suppress(EngineError):
                async with self._starting:
                    self._keep(self._spare() or await self._fresh())
        finally:
            self._preparing = None

    def _keep(self, spare: Host) -> None:
        """For some time, and no shorter than before."""
        loop = asyncio.get_running_loop()
        if spare.timer is not None:
            if spare.timer.when() > loop.time() + SPARE_SECONDS:
                return
            spare.timer.cancel()
        spare.timer = loop.call_later(SPARE_SECONDS, self.release, spare)

    def _spare(self) -> Host | None:
        """A living worker without a model, that nobody uses."""
        return next((h for h in self.hosts if h.alive and h.spec is None and not h.users), None)

    def _is_calm(self) -> None:
        """Nobody asked for anything for a while: the next wish may be another model."""
        self._calm = None
        if any(host.users for host in self.hosts) or not any(host.loaded for host in self.hosts):
            return
        if self._available() >= SPARE_MEMORY:
            self.prepare()

    async def _fresh(self) -> Host:
        for host in self.hosts.copy():
            if not host.alive:
                await self.discard(host)
        host = await self._start()
        self.hosts.append(host)
        return host

    @contextlib.contextmanager
    def using(self, host: Host) -> Iterator[None]:
        """Around every request: it is the latest used now, and is not ended meanwhile."""
        host.users += 1
        if host.timer is not None:
            host.timer.cancel()
            host.timer = None
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        if host in self.hosts:
            self.hosts.remove(host)
            self.hosts.insert(0, host)
        try:
            yield
        finally:
            host.users -= 1
            if not host.users and host in self.hosts:
                loop = asyncio.get_running_loop()
                if host.spec is None:
                    self._keep(host)  # It waits for a model again, however long models are kept.
                elif self.idle_seconds:
                    host.timer = loop.call_later(self.idle_seconds, self.release, host)
                if self._calm is None and host.loaded is not None:
                    self._calm = loop.call_later(self._spare_after, self._is_calm)

    def release(self, host: Host) -> None:
        """Let a worker end in its own time: it is not there any more, but its memory still is."""
        if host in self.hosts:
            self.hosts.remove(host)
            self._run(host.close(), "worker that ends")

    def release_spares(self) -> None:
        """Let those without a model end that nobody uses: they have the engine of before."""
        for host in self.hosts.copy():
            if host.spec is None and not host.users:
                self.release(host)

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def discard(self, host: Host) -> None:
        """End a worker; only that surely gives its memory back."""
        if host in self.hosts:
            self.hosts.remove(host)
            await host.close()

    async def close(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None
        while self.hosts or self._tasks:
            for host in self.hosts.copy():
                self.release(host)  # Each may still write something: all of them at once.
            await asyncio.gather(*self._tasks)


def _available() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
