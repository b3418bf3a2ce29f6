"""The workers that are kept warm, the latest used first, and the end of those nobody uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

from corral.engine.host import Host
from corral.engine.protocol import LoadSpec


class Pool:
    """Several workers, one model each.

    Args:
        start: gives a fresh worker.
        idle_seconds: after so long without a request a worker ends; 0 keeps it.
    """

    def __init__(self, start: Callable[[], Awaitable[Host]], idle_seconds: float) -> None:
        self._start = start
        self._idle_seconds = idle_seconds
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
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
        async with self._starting:
            for host in self.hosts:
                if host.alive and host.spec is None and not host.users:
                    return host
            return await self._fresh()

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
        if host in self.hosts:
            self.hosts.remove(host)
            self.hosts.insert(0, host)
        try:
            yield
        finally:
            host.users -= 1
            if not host.users and self._idle_seconds and host in self.hosts:
                loop = asyncio.get_running_loop()
                host.timer = loop.call_later(self._idle_seconds, self._end, host)

    def _end(self, host: Host) -> None:
        self.hosts.remove(host)
        task = asyncio.get_running_loop().create_task(host.close(), name="idle worker")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def discard(self, host: Host) -> None:
        """End a worker; only that surely gives its memory back."""
        if host in self.hosts:
            self.hosts.remove(host)
            await host.close()

    async def close(self) -> None:
        for host in self.hosts.copy():
            await self.discard(host)
        await asyncio.gather(*self._ending)
