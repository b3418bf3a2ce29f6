"""One worker process as the UI side sees it: pipes, pending requests, heartbeat, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from corral import program
from corral.engine import protocol
from corral.errors import EngineDied, EngineError, EngineHung
from corral.trouble import REPLACED, REPLACED_HINT, replaced

HEARTBEAT_LIMIT = 10.0
"""Seconds without a heartbeat after which a worker counts as hung."""

READY_LIMIT = 60.0
"""Seconds a worker may take to load the native library; on a busy machine it is one or two."""

NATIVE_LIMIT = 1800.0
"""Seconds one native call may take: mapping a 70B model from a slow disk is many minutes."""

LOG_LIMIT = 1024 * 1024
"""Bytes of log above which the next worker starts a new file and the old one is kept once."""

_CAUSES = {
    "SIGKILL": "it was killed, most likely because memory ran out",
    "SIGABRT": "llama.cpp stopped itself because of something it cannot handle",
    "SIGSEGV": "it crashed",
    "SIGBUS": "the model file changed or its disk failed while it was in use",
    "SIGILL": "it was built for another kind of processor",
    "SIGFPE": "it crashed over a number",
    "SIGTERM": "it was told to end from outside",
}


class WorkerEnded(EngineDied):
    """The process ended by itself, or something outside ended it.

    Attributes:
        code: its exit status; the negative number of a signal.
    """

    def __init__(self, message: str, *, hint: str = "", code: int) -> None:
        super().__init__(message, hint=hint)
        self.code = code


_WINDOWS = {
    3: "SIGABRT",  # abort()
    15: "SIGTERM",  # os.kill()
    0xC0000005: "SIGSEGV",  # access violation
    0xC0000006: "SIGBUS",  # a page of a mapped file that the disk does not give
    0xC0000017: "SIGKILL",  # no memory
    0xC000001D: "SIGILL",  # illegal instruction
    0xC0000094: "SIGFPE",  # division by zero
    0xC00000FD: "SIGSEGV",  # stack overflow
    0xC000012D: "SIGKILL",  # no room in the page file
    0xC000013A: "SIGTERM",  # Ctrl+C, or its console was closed
    0xC0000374: "SIGSEGV",  # damaged heap
    0xC0000409: "SIGABRT",  # fail fast
}
"""What the exit codes of a process that Windows ended mean: ntstatus.h."""


def worker_environment(
    environment: Mapping[str, str], library: Path | None = None
) -> dict[str, str]:
    """The environment of a worker.

    Nothing there may make it load code from elsewhere: of the folders that a person's environment
    names, those that depend on the current one are left out, and that of ``library`` goes first,
    or another program's libggml could be taken for its. ``GOMP_SPINCOUNT``: how many loops a thread
    of GNU OpenMP waits before it sleeps. 300,000 are some 15 ms: a small model is 1 % faster
    than with 20,000, 3 % than with 1,000, and loses two thirds with none. Beside busy
    neighbours every number above zero collapses; there :mod:`corral.engine.llama.waiting` shortens
    it while running. Who set a policy keeps it. ``OPENBLAS_NUM_THREADS``: arrays are only compared
    and searched here, and each thread would reserve tens of megabytes for multiplying.
    ``GLIBC_TUNABLES``: large allocations ask for huge pages, as most systems give them only to who
    asks. What llama.cpp copies in another order, the KV cache and the buffers lie there: a tenth
    less time for generation and prompt of a Q4_0 model (SmolLM2 135M, one thread, CPU time).

    Args:
        library: the folder of the native library, absolute; None is what came with the binding.
    """
    unwanted = {"PYTHONPATH", "PYTHONHOME", "LLAMA_CPP_LIB_PATH", "GGML_BACKEND_PATH"}
    kept = {key: value for key, value in environment.items() if key not in unwanted}
    # Where the system looks for libraries before the folder that llama.cpp's name themselves.
    searched = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    kept["GGML_NO_BACKTRACE"] = "1"
    kept["PYTHONUNBUFFERED"] = "1"
    kept["OPENBLAS_NUM_THREADS"] = "1"
    if "glibc.malloc.hugetlb" not in (tunables := kept.get("GLIBC_TUNABLES", "")):
        kept["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, "glibc.malloc.hugetlb=1")))
    if "OMP_WAIT_POLICY" not in kept:
        kept.setdefault("GOMP_SPINCOUNT", "300000")
    if library is not None:
        kept["LLAMA_CPP_LIB_PATH"] = str(library)
    folders = [folder for folder in kept.pop(searched, "").split(":") if Path(folder).is_absolute()]
    if library is not None and ":" not in str(library):
        folders.insert(0, str(library))
    if folders:
        kept[searched] = ":".join(folders)
    return kept


class Worker:
    """A running worker. Ends in exactly one cause, told to every request that waits for it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pending: dict[int, asyncio.Queue[protocol.Event | EngineError]] = {}
        self._next_id = 0
        self.ready: asyncio.Future[protocol.Ready] = asyncio.get_running_loop().create_future()
        self.cause: EngineError | None = None
        """Why it is no more; None while it lives."""
        self._heard = time.monotonic()
        self._native_ms = 0.0
        self._reader = asyncio.create_task(self._read())
        self._watchdog = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls,
        log: Path,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        library: Path | None = None,
    ) -> Worker:
        """Start a worker; it is usable at once, :attr:`ready` tells when its library is loaded.

        Args:
            library: as for :func:`worker_environment`.
        """
        try:
            descriptor = _open_log(log)
        except OSError as error:
            raise EngineDied(
                f"The engine's log {log} cannot be written: {error.strerror or error}"
            ) from None
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                cwd=log.parent,
                env=worker_environment(environment, library),
                limit=protocol.FRAME_LIMIT,
            )
        except OSError as error:
            raise EngineDied(
                f"The engine could not be started: {error.strerror or error}",
                hint=f"It seems that {REPLACED}. {REPLACED_HINT}" if replaced() else "",
            ) from None
        finally:
            os.close(descriptor)
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self.cause is None

    def begin(self) -> tuple[int, asyncio.Queue[protocol.Event | EngineError]]:
        """A fresh request id and the queue its events arrive in."""
        self._next_id += 1
        queue: asyncio.Queue[protocol.Event | EngineError] = asyncio.Queue()
        if self.cause is not None:
            queue.put_nowait(self.cause)
        self._pending[self._next_id] = queue
        return self._next_id, queue

    def end(self, id: int) -> None:
        self._pending.pop(id, None)

    def send(self, command: protocol.Model) -> None:
        """Queue a command; a dead worker is noticed by the reader, not here."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing() and self.alive:
            stdin.write(protocol.encode(command))

    async def drain(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            if self._process.stdin is not None:
                await self._process.stdin.drain()

    def kill(self, cause: EngineError) -> None:
        """End the process at once, for the given reason."""
        self._finish(cause)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """Ask it to end, then make it; returns when it is reaped."""
        self.send(protocol.Shutdown())
        self._finish(EngineDied("The engine was closed"))
        with contextlib.suppress(OSError, RuntimeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 3.0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise
        self._watchdog.cancel()
        await asyncio.gather(self._reader, self._watchdog, return_exceptions=True)
        # The transport closes its pipes one loop iteration later; let it, so that nothing is left
        # to the garbage collector.
        await asyncio.sleep(0)

    # --- listening --------------------------------------------------------------------------------

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while line := await stdout.readline():
                self._heard = time.monotonic()
                self._dispatch(protocol.parse_event(line))
        except (ValidationError, ValueError):
            self.kill(EngineDied("The engine said something that makes no sense, and was ended"))
        code = await self._process.wait()
        self._finish(_death(code))

    def _dispatch(self, event: protocol.Event) -> None:
        if isinstance(event, protocol.Heartbeat):
            self._native_ms = event.idle_ms
        elif isinstance(event, protocol.Ready):
            if not self.ready.done():
                self.ready.set_result(event)
        elif isinstance(event, protocol.Failed) and event.id is None:
            self.kill(EngineError(f"The engine cannot work: {event.message}"))
        elif event.id is not None and (queue := self._pending.get(event.id)):
            queue.put_nowait(event)

    async def _watch(self) -> None:
        """Notice a hang. Time in which this process itself was stopped does not count."""
        last = time.monotonic()
        while self.alive:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            if now - last > 3.0:
                self._heard = now
            last = now
            silence = now - self._heard
            if silence > (HEARTBEAT_LIMIT if self.ready.done() else READY_LIMIT):
                self.kill(EngineHung(f"The engine gave no sign of life for {silence:.0f} seconds"))
            elif self._native_ms > NATIVE_LIMIT * 1000:
                self.kill(EngineHung("The engine did not come back from a computation"))

    def _finish(self, cause: EngineError) -> None:
        if self.cause is not None:
            return
        self.cause = cause
        if not self.ready.done():
            self.ready.set_exception(cause)
            self.ready.exception()  # whoever waits gets it; nobody waiting is fine too
        for queue in self._pending.values():
            queue.put_nowait(cause)


def _open_log(log: Path) -> int:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".old.log"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def signal_of(code: int) -> str:
    """The signal that ended a process, or what is one on Windows; "" where it ended by itself.

    Args:
        code: its exit status; the negative number of a signal, or as a shell or a container
            reports one: 137 for SIGKILL.
    """
    if sys.platform == "win32":
        return _WINDOWS.get(code, "")
    number = -code if code < 0 else code - 128
    if number <= 0:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if code < 0 else ""


def cause_of(code: int) -> str:
    """Why a process ended, in plain words.

    Args:
        code: as for :func:`signal_of`.
    """
    if name := signal_of(code):
        return _CAUSES.get(name, f"it was ended by {name}")
    return f"it ended with code {code}"


def _death(code: int) -> WorkerEnded:
    """The end of the process in plain words."""
    hint = (
        "What it had written is kept; try again, a new engine starts by itself. "
        "The engine log says more."
    )
    if replaced():
        hint = f"It seems that {REPLACED}. {REPLACED_HINT}"
    return WorkerEnded(f"The engine stopped in the middle: {cause_of(code)}", hint=hint, code=code)


def worker_command() -> tuple[str, ...]:
    """How a worker is started: without the current directory on its path."""
    return program.worker()
