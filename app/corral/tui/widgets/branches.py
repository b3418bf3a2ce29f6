"""The whole tree of a conversation, a line a message: only the lines in view are painted.

The branch that is shown in the transcript runs straight down at the left, as does the main line of
every other branch: only what turns off from it is indented, so a long conversation stays narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message as TextualMessage
from textual.scroll_view import ScrollView
from textual.strip import Strip

from corral.chat.conversation import Message
from corral.text import shorten
from corral.tui import wording
from corral.tui.dialogue import Dialogue

LEVELS = 6
"""Most levels that are indented; deeper ones stand below a mark that says so."""

BROAD = 100
"""Cells from which on a line names the model in full."""


@dataclass(frozen=True, slots=True)
class Twig:
    """One line of the tree."""

    message: Message
    level: int
    """How many times a branch turned off above it."""
    first: bool
    """Whether the branch turns off here."""
    active: bool
    """Whether it is on the path that the transcript shows."""
    place: tuple[int, int]
    """Which one of how many siblings it is."""


def lay_out(dialogue: Dialogue) -> list[Twig]:
    """The lines from top to bottom; what turns off a line stands above what goes on in it."""
    active = {message.id for message in dialogue.path()}
    children: dict[int | None, list[Message]] = {}
    for message in sorted(dialogue.messages(), key=lambda one: one.id):
        parent = message.parent if message.parent in dialogue else None
        children.setdefault(parent, []).append(message)
    twigs: list[Twig] = []
    waiting = [
        (message, level, first) for message, level, first in _below(None, 0, active, children)
    ]
    while waiting:
        message, level, first = waiting.pop()
        on_path = message.id in active
        twigs.append(Twig(message, level, first, on_path, dialogue.place(message)))
        waiting += _below(message.id, level, active, children)
    return twigs


def _below(
    parent: int | None, level: int, active: set[int], children: dict[int | None, list[Message]]
) -> list[tuple[Message, int, bool]]:
    """What follows a message, the last one to be painted first."""
    below = children.pop(parent, [])  # Each only once, also in a damaged tree.
    if not below:
        return []
    trunk = next((one for one in below if one.id in active), below[-1])
    turned_off = [(one, level + 1, True) for one in reversed(below) if one is not trunk]
    return [(trunk, level, False), *turned_off]


def who(message: Message, broad: bool) -> str:
    """``You``, or the model: in full, or as short as ``7B Q4_K_M``."""
    if message.role == "user":
        return "You"
    model = message.model or {}
    if broad:
        return wording.model_of(message) or "Answer"
    quant = shorten(str(model.get("quant") or ""), 10)
    name = str(model.get("name") or "")
    short = f"{wording.model_size(name)} {quant}".strip()
    return short or shorten(name, 14) or "Answer"


def marks(twig: Twig) -> str:
    """What is worth a word at the end of a line."""
    message = twig.message
    found = []
    if message.pinned:
        found.append("★")
    if message.role == "assistant" and "edited_from" in (message.parameters or {}):
        found.append("edited")
    if message.status in ("failed", "stopped"):
        found.append(message.status)
    elif message.status == "streaming":
        found.append("writing")
    elif message.stop_reason == "length":
        found.append("cut")
    if twig.place[1] > 1:
        found.append(f"{twig.place[0]}/{twig.place[1]}")
    return "  ".join(found)


class BranchesView(ScrollView, can_focus=True):
    """The lines, with a cursor on one of them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "branches--quiet",
        "branches--line",
        "branches--mark",
        "branches--active",
        "branches--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", show=False),
        Binding("down,j", "step(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "to(0)", show=False),
        Binding("end", "to(-1)", show=False),
        Binding("left,left_square_bracket", "sibling(-1)", show=False),
        Binding("right,right_square_bracket", "sibling(1)", show=False),
    ]

    class Moved(TextualMessage):
        """The cursor is on another line, or the lines are other ones."""

    class Chosen(TextualMessage):
        """A line was double-clicked."""

    def __init__(self) -> None:
        super().__init__()
        self._twigs: list[Twig] = []
        self._at = 0
        self._names = 0

    @property
    def twig(self) -> Twig | None:
        """The line under the cursor."""
        return self._twigs[self._at] if self._twigs else None

    @property
    def twigs(self) -> Sequence[Twig]:
        return self._twigs

    def show(self, twigs: Iterable[Twig], at: int | None) -> None:
        """Show other lines, with the cursor on message ``at``, else about where it was."""
        self._twigs = list(twigs)
        ids = {twig.message.id: number for number, twig in enumerate(self._twigs)}
        self._at = min(ids.get(at or 0, self._at), max(0, len(self._twigs) - 1))
        self._measure()
        self.refresh()
        self.call_after_refresh(self._reveal, centre=True)
        self.post_message(self.Moved())

    def on_resize(self) -> None:
        self._measure()
        self.call_after_refresh(self._reveal)

    def _measure(self) -> None:
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width, len(self._twigs))
        widest = 26 if width >= BROAD else 12
        # Names are as wide as those near the cursor need: looking at all would take its time.
        near = self._twigs[max(0, self._at - 200) : self._at + 200]
        broad = width >= BROAD
        names = (cell_len(who(one.message, broad)) for one in near)
        self._names = min(widest, max(names, default=3))

    # --- the cursor -------------------------------------------------------------------------------

    def _move(self, to: int) -> None:
        to = min(max(0, to), len(self._twigs) - 1)
        if to != self._at and self._twigs:
            before, self._at = self._at, to
            self._repaint(before)
            self._repaint(to)
            self._reveal()
            self.post_message(self.Moved())

    def _repaint(self, line: int) -> None:
        self.refresh(Region(0, line - self.scroll_offset.y, self.size.width, 1))

    def _reveal(self, *, centre: bool = False) -> None:
        height, top = self.scrollable_content_region.height, self.scroll_offset.y
        if not height:
            return
        if not top <= self._at < top + height:
            if centre:
                top = self._at - height // 2
            else:
                top = self._at if self._at < top else self._at - height + 1
            self.scroll_to(y=max(0, top), animate=False, immediate=True)

    def action_step(self, step: int) -> None:
        self._move(self._at + step)

    def action_page(self, step: int) -> None:
        self._move(self._at + step * max(1, self.scrollable_content_region.height - 1))

    def action_to(self, end: int) -> None:
        self._move(len(self._twigs) - 1 if end else 0)

    def action_sibling(self, step: int) -> None:
        """To the sibling before or after; where there is none, to the next place with some."""
        twig = self.twig
        if twig is None:
            return
        numbers = range(self._at + step, len(self._twigs) if step > 0 else -1, step)
        alike = (twig.message.parent, twig.message.role)
        for number in numbers if twig.place[1] > 1 else ():
            other = self._twigs[number]
            if (other.message.parent, other.message.role) == alike:
                self._move(number)
                return
        for number in numbers if twig.place[1] == 1 else ():
            if self._twigs[number].place[1] > 1:
                self._move(number)
                return

    def on_click(self, event: events.Click) -> None:
        line = event.y + self.scroll_offset.y
        if 0 <= line < len(self._twigs):
            self._move(line)
            if event.chain == 2:
                self.post_message(self.Chosen())

    # --- painting ---------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        line, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        base = self.rich_style
        if not 0 <= line < len(self._twigs):
            return Strip.blank(self.size.width, base)
        twig = self._twigs[line]
        cursor = self.get_component_rich_style("branches--cursor") if line == self._at else Style()
        quiet = self.get_component_rich_style("branches--quiet", partial=True)
        lines = self.get_component_rich_style("branches--line", partial=True)
        mark = self.get_component_rich_style("branches--mark", partial=True)
        active = self.get_component_rich_style("branches--active", partial=True)
        said = Style() if twig.active else quiet
        guides = _guides(twig)
        dot = "●" if twig.active else "○"
        name = shorten(who(twig.message, width >= BROAD), self._names)
        end = marks(twig)
        parts = [
            (" " + guides, lines),
            (dot + " ", active if twig.active else lines),
            (set_cell_size(name, self._names) + "  ", active if twig.active else quiet),
        ]
        taken = sum(cell_len(text) for text, _ in parts)
        room = max(0, width - taken - (cell_len(end) + 2 if end else 0) - 1)
        # No more is cleaned than can be seen: a message may have megabytes.
        parts.append((set_cell_size(shorten(twig.message.text[: 4 * room + 80], room), room), said))
        parts += [("  " + end, mark)] if end else []
        segments = [Segment(text, base + style + cursor) for text, style in parts if text]
        strip = Strip(segments).adjust_cell_length(width, base + cursor)
        return strip.adjust_cell_length(self.size.width, base)


def _guides(twig: Twig) -> str:
    """The lines at the left that say what a line of the tree hangs below."""
    level, deeper = twig.level, ""
    if level > LEVELS:
        level, deeper = LEVELS, "⋯"
    if not level:
        return deeper
    return deeper + "│ " * (level - 1) + ("├─" if twig.first else "│ ")
