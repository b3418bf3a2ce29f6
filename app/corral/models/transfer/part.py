"""The incomplete file on the disk: opened without following links, never longer than promised.

While its bytes come in order the part is exactly as long as what was written, so that after a kill
its length tells how far it got. The first write that leaves a gap gives it its full length, which
tells nothing; then only the journal does.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from corral.errors import CorralError, DoesNotFit, Refused
from corral.models.files import BLOCK, set_length
from corral.text import shorten

AT_ONCE = 128 * 1024
"""Bytes for one write. Larger ones make the system look for larger runs of free memory to cache
them in, which costs a virtual machine up to half of its speed."""

_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe at this place would be waited for
    | getattr(os, "O_BINARY", 0)
)


class Part:
    """The file below ``<name>.part``; several threads may hold it, the last one closes it.

    Raises:
        DoesNotFit: the disk is full; what was written stays.
        Refused: the folder cannot be written to, or something else is at the part's place.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.name = shorten(path.name.removesuffix(".part"), 80)
        self.size = size
        self._holders = 1
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._file = self._open(path)
        try:
            self.end = os.fstat(self._file.fileno()).st_size
            if self.end > size:
                self.shorten(size)
            self._reader = self._open(path)
        except BaseException:
            self._file.close()
            raise

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._file.close()
                self._reader.close()

    def write(self, offset: int, data: memoryview) -> None:
        """Only one thread writes."""
        try:
            if offset > self.end:
                set_length(self._file, self.size)
                self.end = self.size
            self._file.seek(offset)
            while data:
                written = self._file.write(data[:AT_ONCE]) or 0
                data = data[written:]
                offset += written
        except OSError as error:
            raise self._failure(error) from None
        self.end = max(self.end, offset)

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Blocks that are valid until the next one; fewer bytes where the file is shorter."""
        block = memoryview(bytearray(min(BLOCK, max(0, stop - start))))
        while start < stop:
            try:
                with self._reading:
                    self._reader.seek(start)
                    count = self._reader.readinto(block[: stop - start]) or 0
            except OSError as error:
                raise self._failure(error) from None
            if not count:
                return
            yield block[:count]
            start += count

    def shorten(self, size: int) -> None:
        try:
            self._file.truncate(size)
        except OSError as error:
            raise self._failure(error) from None
        self.end = size

    def sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error) from None

    def _open(self, path: Path) -> io.FileIO:
        try:
            if path.is_symlink():  # where the system has no O_NOFOLLOW
                raise OSError(errno.ELOOP, "a link")
            file = io.FileIO(os.open(path, _FLAGS, 0o600), "r+b")
        except OSError as error:
            raise self._failure(error) from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise self._in_the_way()
        return file

    def _in_the_way(self) -> Refused:
        return Refused(
            f"Something that is not a file of corral is where “{self.name}” should be written",
            hint=f"Look at “{self.name}.part” in the models folder and move it away",
        )

    def _failure(self, error: OSError) -> CorralError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DoesNotFit(
                f"The disk is full and “{self.name}” is incomplete",
                hint="Make room, then resume: what is here already is kept",
            )
        if error.errno == errno.EFBIG:
            return DoesNotFit(
                f"This disk takes no file as large as “{self.name}”",
                hint="Choose a models folder on another disk",
            )
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK):
            return self._in_the_way()
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Refused(
                f"“{self.name}” cannot be written: {error.strerror}",
                hint="Make the models folder writable, or choose another",
            )
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Refused(
                f"The folder for “{self.name}” is gone",
                hint="Connect the disk it is on, or choose another models folder",
            )
        return CorralError(
            f"The disk failed with “{self.name}”: {error.strerror or error}",
            title="The disk failed",
            hint="Look after the disk; what could be written is kept",
        )
