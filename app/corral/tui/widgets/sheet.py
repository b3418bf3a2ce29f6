"""Many lines in one widget: each is wrapped and painted once, however often lines are added.

Textual gives every item of a list four widgets and wraps a block of code anew with every change.
A layout pass visits every widget, so long answers would cost more with each word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widgets import Static

from corral.tui.widgets.placed import Placed


class Row:
    """A text that is wrapped, with something before its first line.

    Args:
        body: the text; a line break in it begins a new line below the first.
        before: what stands before it, such as a bullet; the other lines are indented by its width.
    """

    __slots__ = ("_strips", "before", "body", "indent", "lines")

    def __init__(self, body: Content, before: Content | None = None) -> None:
        self.body = body
        self.before = before
        self.indent = before.cell_length if before else 0
        self.lines = body.plain.count("\n") + 1
        self._strips: list[Strip] | None = None

    @property
    def plain(self) -> str:
        """The text as it can be selected."""
        if self.before is None:
            return self.body.plain
        return self.before.plain + self.body.plain.replace("\n", "\n" + " " * self.indent)

    def same(self, other: Row) -> bool:
        """Whether the other one looks the same."""
        if self.before is not None and other.before is not None:
            if not self.before.is_same(other.before):
                return False
        elif self.before is not other.before:
            return False
        return self.body.is_same(other.body)

    def forget(self) -> None:
        self._strips = None

    def height(self, rules: RulesMap, width: int) -> int:
        """Lines it takes at a width of so many cells."""
        return self.body.get_height(rules, max(1, width - self.indent))

    def strips(self, width: int, style: Style, options: RenderOptions, line: int) -> list[Strip]:
        """The painted lines; ``line`` is the number of its first line in the whole text."""
        if options.selection is None and self._strips is not None:
            return self._strips
        selection = options.selection
        if selection is not None:
            options = replace(options, selection=_moved(selection, self.indent, line))
        strips = self.body.render_strips(max(1, width - self.indent), None, style, options)
        if self.indent or line:
            strips = [_shifted(strip, self.indent, line) for strip in strips]
        if self.before is not None:
            strips = self._indented(strips, style, options, line)
        if selection is None:
            self._strips = strips
        return strips

    def _indented(
        self, strips: list[Strip], style: Style, options: RenderOptions, line: int
    ) -> list[Strip]:
        assert self.before is not None
        plain = replace(options, selection=None, selection_style=None)
        (first,) = self.before.render_strips(self.indent, 1, style, plain)
        blank = Strip([Segment(" " * self.indent, style.rich_style)], self.indent)
        heads = [_shifted(first, 0, line), *[blank] * (len(strips) - 1)]
        return [Strip.join([head, strip]) for head, strip in zip(heads, strips, strict=True)]


def _moved(selection: Selection, columns: int, lines: int) -> Selection:
    """The same selection, as seen from a text that begins so far to the right and below."""

    def move(offset: Offset | None) -> Offset | None:
        return offset and Offset(max(0, offset.x - columns), offset.y - lines)

    return Selection(move(selection.start), move(selection.end))


def _shifted(strip: Strip, columns: int, lines: int) -> Strip:
    """The same strip, with the places that a mouse selects moved."""
    segments = []
    for text, style, control in strip:
        if style is not None and (offset := style.meta.get("offset")) is not None:
            x, y = offset
            style = style + RichStyle(meta={"offset": (x + columns, y + lines)})
        segments.append(Segment(text, style, control))
    return Strip(segments, strip.cell_length)


class Sheet(Visual):
    """Rows below one another."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._painted: tuple[int, Style] | None = None
        self._width = 0
        self._heights: list[int] = []
        """Of the first rows, at that width."""

    def put(self, rows: Iterable[Row], keep: int = 0) -> None:
        """Take other rows after the first ``keep``; those that look the same stay as they are."""
        fresh = list(rows)
        known = keep
        for row, old in zip(fresh, self.rows[keep:], strict=False):
            if not row.same(old):
                break
            known += 1
        self.rows[known:] = fresh[known - keep :]
        del self._heights[known:]

    def forget(self) -> None:
        """Paint everything anew next time: the colours are other ones."""
        for row in self.rows:
            row.forget()

    @property
    def plain(self) -> str:
        return "\n".join(row.plain for row in self.rows)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        if self._width != width:
            self._width, self._heights = width, []
        heights = self._heights
        heights += [row.height(rules, width) for row in self.rows[len(heights) :]]
        return sum(heights)

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        if self._painted != (width, style):
            self._painted = (width, style)
            self.forget()
        strips: list[Strip] = []
        line = 0
        for row in self.rows:
            strips += row.strips(width, style, options, line)
            line += row.lines
        return strips if height is None else strips[:height]


class SheetView(Static, Placed):
    """A widget that shows a sheet; its text can be selected like any other."""

    sheet: Sheet

    def spread(self, rows: Iterable[Row]) -> None:
        """Begin with these rows; to be called once, before the widget is mounted."""
        self.sheet = Sheet()
        self.sheet.put(rows)
        self.update(self.sheet)

    def show(self, rows: Iterable[Row], keep: int = 0) -> None:
        """Show other rows after the first ``keep``; lays out only where the height is another."""
        width = self.content_size.width
        before = self.sheet.get_height(_rules(self), width) if width else -1
        self.sheet.put(rows, keep)
        after = self.sheet.get_height(_rules(self), width) if width else 0
        self.update(self.sheet, layout=before != after)

    def notify_style_update(self) -> None:
        self.sheet.forget()
        super().notify_style_update()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract(self.sheet.plain), "\n"


def taller(widget: Static, content: Content, old: Content) -> bool:
    """Whether another content takes another number of lines in a widget as wide as it is."""
    width = widget.content_size.width
    if not width:
        return True
    rules = _rules(widget)
    return content.get_height(rules, width) != old.get_height(rules, width)


def _rules(widget: Static) -> RulesMap:
    return cast(RulesMap, widget.styles)  # as Textual does
