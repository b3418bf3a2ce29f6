"""Vim's keys in the box, for those who asked for them: what a person uses daily, no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from textual.widgets import TextArea
from textual.widgets.text_area import Selection

from corral.tui.widgets.vim_motions import Motions, Place, indent

Mode = Literal["insert", "normal", "visual", "visual line"]

_COMMAND = re.compile(r"(?P<count>[1-9]\d*)?(?P<name>[xXDCYSsJpPuiaIAoO~vV]|r.)\Z", re.DOTALL)
_MOTION = re.compile(
    r"(?P<count>[1-9]\d*)?(?P<operator>[dcy]?)(?P<again>[1-9]\d*)?"
    r"(?P<motion>[hjklwbeWBE$^G]|(?<!\d)0|gg|[fFtT].|(?<=[dcy])[ia][wW]|(?<=d)d|(?<=c)c|(?<=y)y)\Z",
    re.DOTALL,
)
_VISUAL = re.compile(
    r"(?P<count>[1-9]\d*)?(?:(?P<name>[vVydcxXsSDCRYJpPoOuU~]|r.)"
    r"|(?P<motion>[hjklwbeWBE$^G]|(?<!\d)0|gg|[fFtT].|[ia][wW]))\Z",
    re.DOTALL,
)
_BEGINNING = re.compile(
    r"(?:[1-9]\d*)?(?:[dcy](?:[1-9]\d*)?)?(?:g|[fFtT]|(?<=[dcy])[ia]|(?<![dcy])r)?\Z"
)
_VISUAL_BEGINNING = re.compile(r"(?:[1-9]\d*)?[gfFtTiar]?\Z")
_MANY = re.compile(r"[1-9]\d{5}\Z")
_OPERATORS = dict(zip("dDxXyYcCsSR", "ddddyyccccc", strict=True))
"""What the letters of a visual mode do, those that are capital with whole lines."""

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
        self._anchor: Place = (0, 0)
        """Where what is selected begins; the cursor is its other end."""
        self.mode: Mode = "insert"

    @property
    def selecting(self) -> bool:
        """Whether it is one of the visual modes."""
        return self.mode.startswith("visual")

    @property
    def selected(self) -> tuple[Place, Place]:
        """What the commands of a visual mode mean: from, and up to."""
        start, last = sorted([self._clamp(self._anchor), self._place])
        length = len(self._line(last[0]))
        if self.mode == "visual line":
            return (start[0], 0), (last[0], length)
        return start, (last[0], min(last[1] + 1, length))

    def switch(self, mode: Mode) -> None:
        """Go into a mode, as with Esc and ``i``."""
        self._typed = ""
        if mode != self.mode:
            before, self.mode = self.mode, mode
            row, column = self._place
            if mode == "normal":
                self._go((row, max(0, column - (before == "insert"))))
                self.keep_inside()
            self._changed()

    def key(self, character: str) -> None:
        """A printable key in normal mode, or in a visual one."""
        if character.isdecimal() and _MANY.search(self._typed):
            return  # A key that something leans on: Python reads no number of any length.
        self._typed += character
        if self.selecting:
            self._visual_key()
        elif found := _COMMAND.match(self._typed):
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

    # --- visual modes -----------------------------------------------------------------------------

    def _visual_key(self) -> None:
        found = _VISUAL.match(self._typed)
        if found is None:
            if not _VISUAL_BEGINNING.match(self._typed):
                self._typed = ""
            return
        self._typed = ""
        count = min(_MOST, int(found["count"] or 1))
        if motion := found["motion"]:
            self._extend(motion, count, given=bool(found["count"]))
        else:
            self._visual_command(found["name"], count)

    def _extend(self, motion: str, count: int, *, given: bool) -> None:
        """Move the cursor, and what is selected with it."""
        to: Place | None
        row, column = self._place
        if motion in "jk" and self.mode == "visual line":
            to = min(self._last, max(0, row + (count if motion == "j" else -count))), 0
        elif motion in "jk":
            for _ in range(min(count, self._last + 1)):
                area = self._area
                (area.action_cursor_up if motion == "k" else area.action_cursor_down)(True)
            to = self._place
        elif motion[0] in "ia":
            to = None
            if (word := self._motions.around((row, column), motion)) is not None:
                if self._anchor == (row, column):
                    self._anchor = word[0]
                to = (row, word[1][1] - 1)
        else:
            to = self._motions.target((row, column), motion, count, given=given)
        if to is not None:
            self._select(to)

    def _select(self, place: Place) -> None:
        """Show what is selected from the anchor to a place, both characters included."""
        row, column = self._anchor = self._clamp(self._anchor)
        place = (place[0], min(place[1], max(0, len(self._line(place[0])) - 1)))
        back = place < self._anchor
        if self.mode == "visual line":
            back = place[0] < row
            column = len(self._line(row)) if back else 0
            place = (place[0], 0 if back else len(self._line(place[0])))
        elif back:
            column = min(len(self._line(row)), column + 1)
        self._area.selection = Selection((row, column), place)
        self._area.scroll_cursor_visible()

    def _clamp(self, place: Place) -> Place:
        """The place, or the nearest one: the text may have become another one."""
        row = min(place[0], self._last)
        return row, min(place[1], len(self._line(row)))

    def _visual_command(self, name: str, count: int) -> None:
        whole = self.mode == "visual line"
        if name == "o" or name == "O":
            at, self._anchor = self._anchor, self._place
            self._select(self._clamp(at))
            return
        if name in ("v", "V"):
            wanted: Mode = "visual" if name == "v" else "visual line"
            at = self._place
            self.switch("normal" if wanted == self.mode else wanted)
            if self.selecting:
                self._select(at)
            return
        start, end = self.selected
        self.switch("normal")
        self._go(start)
        if (operator := _OPERATORS.get(name)) is not None:
            if whole or name.isupper():
                self._lines(operator, start[0], end[0])
            else:
                self._operate(operator, start, end)
        elif name == "J":
            self._join(max(1, end[0] - start[0]))
        elif name in "pP":
            self._put_over(start, end, count, whole=whole)
        else:
            text = self._area.get_text_range(start, end)
            self._replace(_recased(text, name), start, end)
            self._go(start)
        if self.mode == "normal":
            self.keep_inside()

    def _put_over(self, start: Place, end: Place, count: int, *, whole: bool) -> None:
        """Put the register in for what is selected, which then is the register."""
        if count * len(self._register) > _LARGEST:
            return
        text = "\n".join([self._register] * count) if self._whole_lines else self._register * count
        if self._whole_lines and not whole:
            text = f"\n{text}\n"
        self._take(start, end, lines=whole)
        self._replace(text, start, end)
        self._go(start)

    # --- the text ---------------------------------------------------------------------------------

    @property
    def _place(self) -> Place:
        return self._area.cursor_location

    @property
    def _last(self) -> int:
        return self._area.document.line_count - 1

    @property
    def _motions(self) -> Motions:
        return Motions(self._area.document)

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
            case "v" | "V":
                self._anchor = (row, column)
                self.switch("visual" if name == "v" else "visual line")
                self._select((row, column))
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
            self._go((row, indent(line)))
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
            self._replace(space, start, (row + 1, indent(following)))
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
            if (word := self._motions.around((row, column), motion)) is not None:
                self._operate(operator, *word)
            return
        if not operator and motion in "jk":
            for _ in range(min(count, self._last + 1)):
                # At the edges it recalls, as the arrows do.
                (self._area.action_cursor_up if motion == "k" else self._area.action_cursor_down)()
            return
        if operator == "c" and motion in "wW" and self._line(row)[column : column + 1].strip():
            motion = "e" if motion == "w" else "E"  # as in vi: the space behind the word stays
        to = self._motions.target((row, column), motion, count, given=given)
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
        if start != end:
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
        self._go((row, indent(self._line(row))))


def _recased(text: str, name: str) -> str:
    """What ``~ u U`` and ``rX`` make of what is selected."""
    if name[0] == "r":
        return re.sub(r"[^\n]", lambda _: name[1], text)
    return {"~": text.swapcase, "u": text.lower, "U": text.upper}[name]()
