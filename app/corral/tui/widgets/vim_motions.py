"""Where vim's motions lead in a text."""

from __future__ import annotations

from textual.document._document import DocumentBase

Place = tuple[int, int]
"""Row and column."""


class Motions:
    """The motions in one text, which they only read."""

    def __init__(self, document: DocumentBase) -> None:
        self.line = document.get_line
        self.last = document.line_count - 1
        """The last row."""

    def target(self, place: Place, motion: str, count: int, *, given: bool) -> Place | None:
        """Where a motion leads; None where it leads nowhere.

        Args:
            given: whether somebody typed the count.
        """
        row, column = place
        line = self.line(row)
        match motion[0]:
            case "h":
                return row, max(0, column - count)
            case "l":
                return row, min(len(line), column + count)
            case "0":
                return row, 0
            case "^":
                return row, indent(line)
            case "$":
                below = min(self.last, row + count - 1)
                return below, max(0, len(self.line(below)) - 1)
            case "j" | "k":
                to = row + (count if motion == "j" else -count)
                return (to, 0) if 0 <= to <= self.last else None
            case "g" | "G":
                to = count - 1 if given else 0 if motion == "gg" else self.last
                to = min(to, self.last)
                return to, indent(self.line(to))
            case "f" | "F" | "t" | "T":
                return self._find(place, motion[0], motion[1], count)
        for _ in range(count):
            place = self._word(place, motion)
        return place

    def _find(self, place: Place, how: str, sign: str, count: int) -> Place | None:
        row, column = place
        line, at = self.line(row), column
        for _ in range(count):
            at = line.find(sign, at + 1) if how in "ft" else line.rfind(sign, 0, max(0, at))
            if at < 0:
                return None
        return row, at + {"f": 0, "F": 0, "t": -1, "T": 1}[how]

    def _word(self, place: Place, motion: str) -> Place:
        """One word on: ``w``, ``b``, ``e``, and with a capital letter only by spaces."""
        big = motion.isupper()
        if motion in "bB":
            return self._word_before(place, big)
        row, column = place
        line = self.line(row)
        if motion in "wW":
            kind = _kind(line[column], big) if column < len(line) else ""
            while column < len(line) and kind and _kind(line[column], big) == kind:
                column += 1
        else:
            column += 1
        while True:
            while column < len(line) and line[column].isspace():
                column += 1
            if column < len(line) or row == self.last:
                break
            row, column = row + 1, 0
            line = self.line(row)
            if not line and motion in "wW":
                return row, 0  # an empty line is a word
        if motion in "eE" and column < len(line):
            kind = _kind(line[column], big)
            while column + 1 < len(line) and _kind(line[column + 1], big) == kind:
                column += 1
        return row, min(column, len(line))

    def _word_before(self, place: Place, big: bool) -> Place:
        row, column = place
        line = self.line(row)
        while True:
            while column and line[column - 1].isspace():
                column -= 1
            if column or not row:
                break
            row -= 1
            line = self.line(row)
            column = len(line)
            if not line:
                return row, 0
        if column:
            kind = _kind(line[column - 1], big)
            while column and _kind(line[column - 1], big) == kind:
                column -= 1
        return row, column

    def around(self, place: Place, motion: str) -> tuple[Place, Place] | None:
        """``iw``, ``aw``: the word, or the space, at a place; from, and up to."""
        row, column = place
        line = self.line(row)
        if not line:
            return None
        big = motion[1] == "W"
        start = end = min(column, len(line) - 1)
        kind = _kind(line[start], big)
        while start and _kind(line[start - 1], big) == kind:
            start -= 1
        while end < len(line) and _kind(line[end], big) == kind:
            end += 1
        if motion[0] == "a":
            while end < len(line) and line[end].isspace():
                end += 1
        return (row, start), (row, end)


def indent(line: str) -> int:
    """The column of the first letter."""
    return len(line) - len(line.lstrip())


def _kind(sign: str, big: bool) -> str:
    """What belongs together in a word: letters, other signs, or space."""
    if sign.isspace():
        return " "
    return "a" if big or sign.isalnum() or sign == "_" else "."
