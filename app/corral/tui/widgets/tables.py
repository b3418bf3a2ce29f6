"""A table of an answer in one widget: a grid of widgets would be laid out anew with every row."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.token import Token
from textual.content import Content
from textual.css.styles import RulesMap
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock

from corral.tui.widgets.sheet import Row, Sheet, SheetView

_LINE = "$border-blurred"
_HEAD = "$primary"
_NARROWEST = 3

Cells = list[Content]


class TableSheet(Sheet):
    """Rows of cells, with columns as wide as they need to be and as there is room for."""

    def __init__(self) -> None:
        super().__init__()
        self.table: list[Cells] = []
        """The first row is the head."""
        self.aligned: list[str] = []
        """``left``, ``center`` or ``right`` for each column."""
        self._fitted: tuple[int, ...] = ()
        self._room = 0
        self._needed: list[int] = []

    def take(self, table: list[Cells], aligned: list[str]) -> None:
        """Show another table; rows that are the same are not made again."""
        same = 0
        if aligned == self.aligned:
            for new, old in zip(table, self.table, strict=False):
                if not all(map(Content.is_same, new, old)):
                    break
                same += 1
        # The line below a row depends on whether it is the last one.
        kept = max(0, same - 1)
        self.table[kept:] = table[kept:]
        self.aligned = aligned
        self._needed = _widest(self.table, len(aligned))
        if self._room:
            widths = columns(self._needed, self._room)
            self._make(widths, kept if widths == self._fitted else 0)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return min(container_width, sum(self._needed) + 3 * len(self._needed) + 1)

    def get_height(self, rules: RulesMap, width: int) -> int:
        self._fit(width)
        return sum(row.lines for row in self.rows)

    def render_strips(
        self, width: int, height: int | None, style: Style, options: RenderOptions
    ) -> list[Strip]:
        self._fit(width)
        return super().render_strips(width, height, style, options)

    def _fit(self, room: int) -> None:
        if room != self._room:
            self._room = room
            self._make(columns(self._needed, room), 0)

    def _make(self, widths: tuple[int, ...], kept: int) -> None:
        self._fitted = widths
        rows = []
        for at in range(kept, len(self.table)):
            lines = [_rule(widths, "┌┬┐")] if not at else []
            lines += self._lines(at, widths)
            lines.append(_rule(widths, "└┴┘" if at == len(self.table) - 1 else "├┼┤"))
            rows.append(Row(Content("\n").join(lines)))
        self.rows[kept:] = rows

    def _lines(self, at: int, widths: tuple[int, ...]) -> list[Content]:
        """The lines of one row, without the one below it."""
        cells = [cell.wrap(width) for cell, width in zip(self.table[at], widths, strict=True)]
        bar = Content.styled("│", _LINE)
        lines = []
        for line in range(max(map(len, cells))):
            parts = [bar]
            for wrapped, width, side in zip(cells, widths, self.aligned, strict=True):
                text = wrapped[line] if line < len(wrapped) else Content()
                padded = _padded(text, width, side)
                parts += [Content(" "), padded if at else padded.stylize_before(_HEAD)]
                parts += [Content(" "), bar]
            lines.append(Content("").join(parts))
        return lines


def columns(needed: Sequence[int], room: int) -> tuple[int, ...]:
    """How wide the columns are in ``room`` cells: the narrow ones as they are, the wide share."""
    free = room - 3 * len(needed) - 1
    widths = list(needed)
    open_ones = set(range(len(needed)))
    while open_ones and sum(widths) > free:
        taken = sum(width for at, width in enumerate(widths) if at not in open_ones)
        share = (free - taken) // len(open_ones)
        small = {at for at in open_ones if needed[at] <= share}
        if not small:
            for at in open_ones:
                widths[at] = max(_NARROWEST, share)
            break
        open_ones -= small
    return tuple(widths)


def _widest(table: Sequence[Cells], count: int) -> list[int]:
    widths = [_NARROWEST] * count
    for row in table:
        for at, cell in enumerate(row):
            lines = cell.plain.split("\n") if "\n" in cell.plain else None
            width = max(Content(line).cell_length for line in lines) if lines else cell.cell_length
            widths[at] = max(widths[at], width)
    return widths


def _padded(text: Content, width: int, side: str) -> Content:
    missing = max(0, width - text.cell_length)
    if side == "right":
        return text.pad_left(missing)
    if side == "center":
        return text.pad(missing // 2, missing - missing // 2)
    return text.pad_right(missing)


def _rule(widths: Sequence[int], corners: str) -> Content:
    line = corners[1].join("─" * (width + 2) for width in widths)
    return Content.styled(f"{corners[0]}{line}{corners[2]}", _LINE)


class Table(SheetView, MarkdownBlock):
    """A table."""

    DEFAULT_CSS = "Table { margin: 0 0 1 0; width: 1fr; text-wrap: nowrap; text-overflow: clip; }"

    sheet: TableSheet

    def __init__(self, markdown: Markdown, tokens: Sequence[Token]) -> None:
        super().__init__(markdown, tokens[0])
        self.sheet = TableSheet()
        self._take(tokens)
        self.update(self.sheet)

    def _take(self, tokens: Sequence[Token]) -> None:
        table: list[Cells] = []
        aligned: list[str] = []
        for token in tokens:
            if token.type == "tr_open":
                table.append([])
            elif token.type == "th_open":
                aligned.append(str(token.attrs.get("style", "")).rpartition(":")[2] or "left")
            elif token.type == "inline":
                table[-1].append(self._token_to_content(token))
        self.sheet.take(table, aligned)

    def grow(self, tokens: Sequence[Token]) -> None:
        """Take a later state of the same table."""
        width = self.content_size.width
        rules: RulesMap = {}
        before = self.sheet.get_height(rules, width) if width else -1
        self._take(tokens)
        after = self.sheet.get_height(rules, width) if width else 0
        self.update(self.sheet, layout=before != after)
