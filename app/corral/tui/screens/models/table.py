"""A list of rows, one line each, that draws only what is in sight: 450 rows cost what 20 do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual


class Table(ScrollView, can_focus=True):
    """Rows that are asked for when they are drawn, one of them highlighted.

    Args:
        line: the content of a row, by its number and the cells there are for it.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--row", "table--highlighted"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "choose", show=False),
    ]
    ALLOW_SELECT = False

    highlighted: reactive[int] = reactive(0, repaint=False)

    class Highlighted(Message):
        """Another row is highlighted."""

    class Chosen(Message):
        """The highlighted row was chosen."""

    class Resized(Message):
        """Rows have another width now."""

    def __init__(self, line: Callable[[int, int], Content]) -> None:
        super().__init__()
        self._line = line
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    @property
    def width(self) -> int:
        """Cells that a row has."""
        return self.scrollable_content_region.width

    def show(self, count: int, highlighted: int) -> None:
        """Show other rows; the one at ``highlighted`` comes into sight if it moved."""
        self._count = count
        self.virtual_size = Size(self.width, count)
        self.refresh()
        before, number = self.highlighted, max(0, min(highlighted, count - 1))
        self.set_reactive(Table.highlighted, number)
        if number != before:
            self._reveal()
        else:
            # There may be fewer rows than were scrolled over.
            self.scroll_to(y=min(self.scroll_y, self.max_scroll_y), animate=False, force=True)
        self.post_message(self.Highlighted())

    def refresh_row(self, number: int) -> None:
        """Draw one row again."""
        self.refresh_line(number)

    def render_line(self, y: int) -> Strip:
        number, width = y + self.scroll_offset.y, self.width
        highlighted = number == self.highlighted
        style = self.get_visual_style("table--highlighted" if highlighted else "table--row")
        if number >= self._count:
            return Strip.blank(self.size.width, self.rich_style)
        strips = Visual.to_strips(self, self._line(number, width), width, 1, style)
        strip = strips[0] if strips else Strip.blank(width, style.rich_style)
        return strip.extend_cell_length(width, style.rich_style)

    def watch_highlighted(self, before: int, now: int) -> None:
        self.refresh_row(before)
        self.refresh_row(now)
        self._reveal()
        self.post_message(self.Highlighted())

    def _reveal(self) -> None:
        region = Region(0, self.highlighted, 1, 1)
        self.scroll_to_region(region, animate=False, force=True, immediate=True)

    def action_move(self, steps: int) -> None:
        if self._count:
            self.highlighted = max(0, min(self.highlighted + steps, self._count - 1))

    def action_page(self, pages: int) -> None:
        self.action_move(pages * max(1, self.size.height - 1))

    def action_choose(self) -> None:
        if self._count:
            self.post_message(self.Chosen())

    def on_click(self, event: events.Click) -> None:
        number = event.y + self.scroll_offset.y
        if number < self._count:
            self.highlighted = number
            if event.chain == 2:
                self.action_choose()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.width, self._count)
        self.call_after_refresh(self._reveal)
        self.post_message(self.Resized())
