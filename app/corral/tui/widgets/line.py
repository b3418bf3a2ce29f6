"""One line of the screen that always fits: parts give way in the order of their worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

_ELLIPSIS_FROM = 8
"""A text on the left is cut rather than dropped while this many cells are left for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line; those with the highest ``rank`` are dropped first, 0 never is."""

    text: str | Content
    style: str = ""
    rank: int = 0
    click: str = ""
    """The action a click on it runs."""
    key: str = ""
    """A key that stands before the text."""

    def content(self) -> Content:
        content = self.text if isinstance(self.text, Content) else Content(self.text)
        if self.style:
            content = content.stylize_before(self.style)
        if self.key:
            content = Content.assemble((self.key, "bold $primary"), " ", content)
        return content.stylize(Style.from_meta({"@click": self.click})) if self.click else content


class Line(Widget):
    """Text on the left, text on the right, and what fits of both.

    The left one may be cut with an ellipsis, parts of either are dropped by rank.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = "Line { width: 1fr; height: 1; }"

    def __init__(
        self,
        left: Sequence[Part] = (),
        right: Sequence[Part] = (),
        *,
        separator: str = "  ",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._left = list(left)
        self._right = list(right)
        self._separator = separator
        # What can be clicked looks like the rest of the line.
        self.auto_links = False

    def show(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show other parts; costs nothing where they are the same."""
        if self._left == list(left) and self._right == list(right):
            return
        self._left, self._right = list(left), list(right)
        self.refresh()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1

    def render(self) -> RenderResult:
        return fit(self._left, self._right, self.content_size.width, self._separator)


def fit(left: Sequence[Part], right: Sequence[Part], width: int, separator: str = "  ") -> Content:
    """Both sides on ``width`` cells."""
    left, right = list(left), list(right)
    while True:
        a, b = _joined(left, separator), _joined(right, separator)
        room = width - b.cell_length - (2 if b else 0)
        worst = max((part.rank for part in (*left, *right)), default=0)
        if a.cell_length <= room or not worst:
            break
        side = right if any(part.rank == worst for part in right) else left
        del side[max(at for at, part in enumerate(side) if part.rank == worst)]
    if a.cell_length > room:
        if b and room < _ELLIPSIS_FROM:
            return b.truncate(width, ellipsis=True)
        a = a.truncate(max(0, room), ellipsis=True)
    if not b:
        return a
    return a.pad_right(max(0, width - a.cell_length - b.cell_length)).append(b)


def _joined(parts: Sequence[Part], separator: str) -> Content:
    between = Content.styled(separator, "$faint")
    return between.join([part.content() for part in parts])
