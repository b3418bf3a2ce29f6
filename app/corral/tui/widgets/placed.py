"""Widgets that are laid out once when their contents grow."""

from __future__ import annotations

from textual.geometry import Size
from textual.widget import Widget


class Placed(Widget):
    """Takes a new size from the layout that gave it, and asks for no other one.

    Textual lays out the screen, and paints it, a second time for every widget whose virtual size
    has changed (``Widget.virtual_size``), though by then everything is in its place: an answer that
    grows by a line costs twice. A scrollbar that comes or goes asks for its layout by itself.

    Comes last among the bases of a class: Textual takes the looks from the first.
    """

    def _size_updated(
        self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True
    ) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)
