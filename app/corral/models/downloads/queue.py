"""The thread that works on the queue, in whichever corral got the folder first."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from corral.errors import CorralError, StoreError
from corral.models.transfer.transfer import Control
from corral.store.downloads import Download

LOOK = 0.5
"""Seconds between two looks at the rows while there is nothing to do, or another corral does it."""
LEAVE = 0.45
"""Seconds that :meth:`Queue.close` waits for the thread."""
AFTER_FAILURE = 5.0
"""Seconds before the next attempt when the rows cannot be read or written."""


class FolderLock:
    """Held by the one corral that downloads into a folder; ends with the process.

    The empty file stays: if it were removed, two processes could hold locks on two files.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take it if it is free; does not wait.

        Raises:
            OSError: the folder cannot be made or written to.
        """
        if self._descriptor is not None:
            return True
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _lock(descriptor):
                self._descriptor = descriptor
        finally:
            if self._descriptor is None:
                os.close(descriptor)
        return self.held

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def release(self) -> None:
        if self._descriptor is not None:
            _unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

    def _unlock(descriptor: int) -> None:
        """Windows may take its time with a lock whose file is only closed."""
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> bool:
        import fcntl

        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _unlock(descriptor: int) -> None:
        """Closing does it."""


class QueueStore(Protocol):
    """What the queue needs of :class:`corral.store.store.Store`."""

    def next_download(self, now: float, folder: Path) -> Download | None: ...
    def requeue_downloads(self, folder: Path) -> None: ...


class Queue:
    """Runs what is first in the rows, one at a time.

    Args:
        begin: done once, in the thread, before the first look.
        may_run: asked when there is something to do: is the network to be used?
        run: works on one download until it is done or the control stops it.
        refuse: says in the row of a download why it cannot even begin.
        note_fault: told of what keeps it from working.
    """

    def __init__(
        self,
        store: QueueStore,
        folder: Path,
        *,
        begin: Callable[[], None],
        may_run: Callable[[], bool],
        run: Callable[[Download, Control], None],
        refuse: Callable[[Download, OSError], None],
        clock: Callable[[], float],
        note_fault: Callable[[BaseException], object],
    ) -> None:
        self._store = store
        self._note_fault = note_fault
        self._begin = begin
        self._may_run = may_run
        self._folder = folder
        self._lock = FolderLock(folder)
        self._run = run
        self._refuse = refuse
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._current: tuple[int, Control] | None = None

    def start(self) -> None:
        """Begin to work, in a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Look at the rows now."""
        self._wake.set()

    def interrupt(self, id: int) -> bool:
        """Stop working on a download whose row was changed. False if it is not being worked on."""
        with self._guard:
            if self._current is None or self._current[0] != id:
                return False
            self._current[1].stop()
            return True

    def close(self) -> None:
        """Stop at once. What was running goes on at the next start."""
        with self._guard:
            self._closing = True
            if self._current:
                self._current[1].stop()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(LEAVE)

    def is_elsewhere(self) -> bool:
        """Whether another corral works on the queue now."""
        if self._lock.held:
            return False
        probe = FolderLock(self._folder)
        try:
            free = probe.acquire()
        except OSError:
            return False
        probe.release()
        return not free

    def _work(self) -> None:
        begun = False
        while not self._closing:
            wait = LOOK
            try:
                if not begun:
                    self._begin()
                    begun = True
                if self._turn():
                    continue
            except (CorralError, OSError) as error:
                wait = AFTER_FAILURE
                if not (self._closing and isinstance(error, StoreError)):
                    self._note_fault(error)
            self._lock.release()
            self._wake.wait(wait)
            self._wake.clear()
        self._lock.release()

    def _turn(self) -> bool:
        """Work on the first download. False if there is none, or another corral does it."""
        first = self._store.next_download(self._clock(), self._folder)
        if first is None or not self._may_run():
            return False
        if not self._lock.held:
            try:
                if not self._lock.acquire():
                    return False
            except OSError as error:
                self._refuse(first, error)
                return True
            # Another corral may have worked on it until a moment ago.
            self._store.requeue_downloads(self._folder)
            first = self._store.next_download(self._clock(), self._folder)
        control = Control()
        with self._guard:
            if first is None or self._closing:
                return False
            self._current = (first.id, control)
        try:
            self._run(first, control)
        finally:
            with self._guard:
                self._current = None
        return True
