"""The end of a log file that may grow, shrink or vanish while it is read."""

from __future__ import annotations

import codecs
from pathlib import Path

from corral.text import clean

MOST_LINES = 2_000
MOST_BYTES = 512 * 1024
LONGEST_LINE = 1_000


class Tail:
    """Reads the last lines once, then only what was added; never more than a bounded part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place: tuple[int, int] | None = None
        """Which file was read: device and inode, so that a new one of the same name is noticed."""
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._column = 0
        """Characters of the line that has no end yet."""

    def read(self) -> tuple[bool, str]:
        """Cleaned text that was added, and whether it stands for the log instead of adding to it.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """
        with self.path.open("rb") as file:
            status = self.path.stat()
            place = (status.st_dev, status.st_ino)
            begin = max(0, status.st_size - MOST_BYTES)
            fresh = place != self._place or status.st_size < self._offset or begin > self._offset
            if fresh:
                self._place, self._offset, self._column = place, begin, 0
                self._decoder.reset()
            file.seek(self._offset)
            data = file.read(MOST_BYTES)
        self._offset += len(data)
        if fresh and begin:
            # The first line begins somewhere in its middle.
            data = data.partition(b"\n")[2]
        lines = clean(self._decoder.decode(data)).split("\n")
        shown = [self._cut(line, last=number == len(lines)) for number, line in enumerate(lines, 1)]
        return fresh, "\n".join(shown[-MOST_LINES - 1 :])

    def _cut(self, line: str, *, last: bool) -> str:
        """What of a line, or of its next part, is short enough to be shown."""
        room = LONGEST_LINE - self._column
        self._column = self._column + len(line) if last else 0
        return line if len(line) <= room else line[:room] + "…" if room > 0 else ""
