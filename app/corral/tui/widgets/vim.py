"""Vim's keys in the box, for those who asked for them: what a person uses daily, no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from textual.widgets import TextArea

Mode = Literal["insert", "normal"]
Place = tuple[int, int]
"""Row and column."""

_COMMAND = re.compile(
    r"(?P<count>[1-9]\d*)?(?P<name>[xXDCYSsJpPuiaIAoO~]|r.)\Z",
    re.DOTALL,
)
_MOTION = re.compile(
    r"(?P<count>[1-9]\d*)?(?P<operator>[dcy]?)(?P<again>[1-9]\d*)?"
    r"(?P<motion>[hjklwbeWBE$^G]|(?<!\d)0|gg|[fFtT].|(?<=[dcy])[ia][wW]|(?<=d)d|(?<=c)c|(?<=y)y)\Z",
    re.DOTALL,
)
_BEGINNING = re.compile(
    r"(?:[1-9]\d*)?(?:[dcy](?:[1-9]\d*)?)?(?:g|[fFtT]|(?<=[dcy])[ia]|(?<![dcy])r)?\Z"
)
_MOST = 9_999
"""Largest count: more would only be a slip."""
_LARGEST = 1_000_000
"""Characters that are put in at once."""

_LINEWISE = ("j", "k", "G", "gg")
_INCLUSIVE = ("e", "E", "$", "f", "t")


class Vim:
    """The mode, and what was typed of a command so far.

    Args:
        area: the text it works on.
        changed: called when the mode is another one.
    """

    def __init__(self, area: TextArea, changed: Callable[[], None]) -> None:
        self._area = area
        self._changed = changed
        self._typed = ""
        self._register = ""
        self._whole_lines = False
        """Whether the register holds whole lines."""
        self.mode: Mode = "insert"

    def switch(self, mode: Mode) -> None:
        """Go into a mode, as with Esc and ``i``."""
        self._typed = ""
        if mode != self.mode:
            self.mode = mode
            if mode == "normal":
                row, column = self._place
                self._go((row, max(0, column - 1)))
            self._changed()

    def key(self, character: str) -> None:
        """A printable key in normal mode."""
        self._typed += character
        if found := _COMMAND.match(self._typed):
            self._typed = ""
            count = min(_MOST, int(found["count"] or 1))
            self._command(found["name"], count)
        elif found := _MOTION.match(self._typed):
            self._typed = ""
            given = bool(found["count"] or found["again"])
            count = min(_MOST, int(found["count"] or 1) * int(found["again"] or 1))
            self._motion(found["operator"], found["motion"], count, given=given)
        elif not _BEGINNING.match(self._typed):
            self._typed = ""
        if self.mode == "normal":
            self.keep_inside()

    def keep_inside(self) -> None:
        """The cursor of normal mode stands on a character, not behind the last one."""
        row, column = self._place
        if column and column >= len(self._line(row)):
            self._go((row, len(self._line(row)) - 1))

    # --- the text ---------------------------------------------------------------------------------

    @property
    def _place(self) -> Place:
        return self._area.cursor_location

    @property
    def _last(self) -> int:
        return self._area.document.line_count - 1

    def _line(self, row: int) -> str:
        return self._area.document.get_line(row)

    def _go(self, place: Place) -> None:
        self._area.move_cursor(place)

    def _replace(self, text: str, start: Place, end: Place) -> None:
        self._area.replace(text, start, end, maintain_selection_offset=False)

    def _take(self, start: Place, end: Place, *, lines: bool = False) -> None:
        self._register = self._area.get_text_range(start, end)
        self._whole_lines = lines

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, name: str, count: int) -> None:
        row, column = self._place
        line = self._line(row)
        end = (row, len(line))
        match name[0]:
            case "x" | "s":
                self._cut((row, column), (row, min(len(line), column + count)))
            case "X":
                self._cut((row, max(0, column - count)), (row, column))
            case "D" | "C":
                self._cut((row, column), end)
            case "Y":
                self._lines("y", row, row + count - 1)
            case "S":
                self._lines("c", row, row + count - 1)
            case "J":
                self._join(max(1, count - 1))
            case "p" | "P":
                self._put(count, before=name == "P")
            case "u":
                for _ in range(count):
                    self._area.undo()
            case "~":
                part = line[column : column + count]
                self._replace(part.swapcase(), (row, column), (row, column + len(part)))
            case "r":
                if column + count <= len(line):
                    self._replace(name[1] * count, (row, column), (row, column + count))
                    self._go((row, column + count - 1))
            case _:
                self._begin(name, row, column, line)
        if name in ("s", "C"):
            self.switch("insert")

    def _begin(self, name: str, row: int, column: int, line: str) -> None:
        """The ways into insert mode: ``i a I A o O``."""
        self.switch("insert")
        if name == "a":
            self._go((row, min(len(line), column + 1)))
        elif name == "A":
            self._go((row, len(line)))
        elif name == "I":
            self._go((row, _indent(line)))
        elif name == "o":
            self._replace("\n", (row, len(line)), (row, len(line)))
        elif name == "O":
            self._replace("\n", (row, 0), (row, 0))
            self._go((row, 0))

    def _cut(self, start: Place, end: Place) -> None:
        if start != end:
            self._take(start, end)
            self._replace("", start, end)

    def _join(self, times: int) -> None:
        for _ in range(times):
            row = self._place[0]
            if row == self._last:
                return
            line, following = self._line(row).rstrip(), self._line(row + 1)
            space = " " if line and following.strip() else ""
            start = (row, len(line))
            self._replace(space, start, (row + 1, _indent(following)))
            self._go(start)

    def _put(self, count: int, *, before: bool) -> None:
        if not self._register or count * len(self._register) > _LARGEST:
            return
        row, column = self._place
        line = self._line(row)
        if self._whole_lines:
            text = "\n".join([self._register] * count)
            if before:
                self._replace(text + "\n", (row, 0), (row, 0))
                self._go((row, 0))
            else:
                self._replace("\n" + text, (row, len(line)), (row, len(line)))
                self._go((row + 1, 0))
            return
        at = (row, column if before else min(len(line), column + 1))
        self._replace(self._register * count, at, at)
        end_row, end_column = self._place
        self._go((end_row, max(0, end_column - 1)))

    # --- motions ----------------------------------------------------------------------------------

    def _motion(self, operator: str, motion: str, count: int, *, given: bool) -> None:
        row, column = self._place
        if motion == operator:  # dd, cc, yy
            self._lines(operator, row, row + count - 1)
            return
        if operator and motion[0] in "ia":
            self._word_here(operator, motion)
            return
        if not operator and motion in "jk":
            for _ in range(min(count, self._last + 1)):
                # At the edges it recalls, as the arrows do.
                (self._area.action_cursor_up if motion == "k" else self._area.action_cursor_down)()
            return
        if operator == "c" and motion in "wW" and self._line(row)[column : column + 1].strip():
            motion = "e" if motion == "w" else "E"  # as in vi: the space behind the word stays
        to = self._target(motion, count, given=given)
        if to is None:
            return
        if not operator:
            self._go(to)
        elif motion in _LINEWISE:
            self._lines(operator, min(row, to[0]), max(row, to[0]))
        else:
            if operator and motion in "wW" and to[0] > row:
                to = (row, len(self._line(row)))  # dw at the last word leaves the next line
            start, end = sorted([(row, column), to])
            if motion[0] in _INCLUSIVE:
                end = (end[0], min(end[1] + 1, len(self._line(end[0]))))
            self._operate(operator, start, end)

    def _operate(self, operator: str, start: Place, end: Place) -> None:
        self._take(start, end)
        if operator == "y":
            self._go(start)
            return
        self._replace("", start, end)
        if operator == "c":
            self.switch("insert")

    def _lines(self, operator: str, first: int, last: int) -> None:
        """Delete, change or yank whole lines."""
        last = min(last, self._last)
        start, end = (first, 0), (last, len(self._line(last)))
        self._take(start, end, lines=True)
        if operator == "y":
            return
        if operator == "c":
            self._replace("", start, end)
            self.switch("insert")
            return
        if last < self._last:
            end = (last + 1, 0)
        elif first:
            start = (first - 1, len(self._line(first - 1)))
        self._replace("", start, end)
        row = min(first, self._last)
        self._go((row, _indent(self._line(row))))

    def _word_here(self, operator: str, motion: str) -> None:
        """``iw``, ``aw``: the word, or the space, under the cursor."""
        row, column = self._place
        line = self._line(row)
        if not line:
            return
        big = motion[1] == "W"
        kind = _kind(line[min(column, len(line) - 1)], big)
        start = end = min(column, len(line) - 1)
        while start and _kind(line[start - 1], big) == kind:
            start -= 1
        while end < len(line) and _kind(line[end], big) == kind:
            end += 1
        if motion[0] == "a":
            while end < len(line) and line[end].isspace():
                end += 1
        self._operate(operator, (row, start), (row, end))

    def _target(self, motion: str, count: int, *, given: bool) -> Place | None:
        """Where a motion leads; None where it leads nowhere."""
        row, column = self._place
        line = self._line(row)
        match motion[0]:
            case "h":
                return row, max(0, column - count)
            case "l":
                return row, min(len(line), column + count)
            case "0":
                return row, 0
            case "^":
                return row, _indent(line)
            case "$":
                below = min(self._last, row + count - 1)
                return below, max(0, len(self._line(below)) - 1)
            case "j" | "k":
                to = row + (count if motion == "j" else -count)
                return (to, 0) if 0 <= to <= self._last else None
            case "g" | "G":
                to = count - 1 if given else 0 if motion == "gg" else self._last
                to = min(to, self._last)
                return to, _indent(self._line(to))
            case "f" | "F" | "t" | "T":
                return self._find(motion[0], motion[1], count)
        place: Place = (row, column)
        for _ in range(count):
            place = self._word(place, motion)
        return place

    def _find(self, how: str, sign: str, count: int) -> Place | None:
        row, column = self._place
        line, at = self._line(row), column
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
        line = self._line(row)
        if motion in "wW":
            kind = _kind(line[column], big) if column < len(line) else ""
            while column < len(line) and kind and _kind(line[column], big) == kind:
                column += 1
        else:
            column += 1
        while True:
            while column < len(line) and line[column].isspace():
                column += 1
            if column < len(line) or row == self._last:
                break
            row, column = row + 1, 0
            line = self._line(row)
            if not line and motion in "wW":
                return row, 0  # an empty line is a word
        if motion in "eE" and column < len(line):
            kind = _kind(line[column], big)
            while column + 1 < len(line) and _kind(line[column + 1], big) == kind:
                column += 1
        return row, min(column, len(line))

    def _word_before(self, place: Place, big: bool) -> Place:
        row, column = place
        line = self._line(row)
        while True:
            while column and line[column - 1].isspace():
                column -= 1
            if column or not row:
                break
            row -= 1
            line = self._line(row)
            column = len(line)
            if not line:
                return row, 0
        if column:
            kind = _kind(line[column - 1], big)
            while column and _kind(line[column - 1], big) == kind:
                column -= 1
        return row, column


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _kind(sign: str, big: bool) -> str:
    """What belongs together in a word: letters, other signs, or space."""
    if sign.isspace():
        return " "
    return "a" if big or sign.isalnum() or sign == "_" else "."
