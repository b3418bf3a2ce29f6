"""Lists of an answer: items of plain text share a widget, whatever else is in one has its own.

A list is built in parts, each of so few items that a change to the last part costs little. The same
list gives the same parts, however it arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBullet, MarkdownListItem, MarkdownOrderedList
from textual.widgets.markdown import MarkdownBlock

from corral.tui.widgets.sheet import Row, SheetView

MOST_ITEMS = 16
"""Items of plain text in one part."""

_PLAIN = {"paragraph_open", "paragraph_close", "inline"}
_FRAME = {"list_item_open", "list_item_close"}
_LISTS = {"bullet_list_open", "bullet_list_close", "ordered_list_open", "ordered_list_close"}


class TextList(SheetView, MarkdownBlock):
    """Some items of a list, with lists inside them.

    Args:
        tokens: a plain part of a list.
        width: of the outermost numbers, see :func:`marker_width`.
        bullets: for each depth.
    """

    DEFAULT_CSS = "TextList { margin: 0 0 1 0; }"

    def __init__(
        self, markdown: Markdown, tokens: Sequence[Token], width: int, bullets: Sequence[str]
    ) -> None:
        super().__init__(markdown, tokens[0])
        tree = _tree(tokens, self._token_to_content)
        self.spread(_rows(tree, width, bullets, Content(), 0))

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        assert isinstance(block, TextList)
        self.show(block.sheet.rows)
        self._copy_context(block)


class NumberedItems(MarkdownOrderedList):
    """Items of a list with numbers, with anything in them."""

    width = 0
    """Cells before their text; 0 for as many as these items need."""

    def compose(self) -> ComposeResult:
        items = [block for block in self._blocks if isinstance(block, MarkdownListItem)]
        start = int(items[0].bullet) if items else 1
        width = self.width or marker_width(start + len(items) - 1)
        for number, item in enumerate(items, start):
            bullet = MarkdownBullet()
            bullet.symbol = f"{number}. ".rjust(width)
            yield Horizontal(bullet, Vertical(*item._blocks))
        self._blocks.clear()


@dataclass(slots=True)
class Part:
    """A few items of a list.

    Attributes:
        tokens: the items as a list of their own; the first one has the part's first number.
        line: where the first item begins, in the text that was parsed.
        number: of the first item.
        plain: whether there is nothing but text and lists of text in it.
        items: how many there are.
    """

    tokens: list[Token]
    line: int
    number: int
    plain: bool
    items: int = 1


@dataclass(slots=True)
class _Nested:
    """A list inside an item."""

    start: int
    items: list[list[Content | _Nested]] = field(default_factory=list)


def parts(tokens: Sequence[Token], number: int | None = None) -> list[Part]:
    """The parts of one list, given all its tokens; ``number`` is that of the first item if known.

    The items of a list are numbered by counting, as everywhere in Markdown.
    """
    opening, closing = tokens[0], tokens[-1]
    ordered = opening.type == "ordered_list_open"
    if number is None:
        number = int(opening.attrs.get("start", 1))
    made: list[Part] = []
    for item in _items(tokens[1:-1], opening.level + 1):
        if ordered:
            item[0].info = str(number)
        kinds = {token.type for token in item}
        plain = kinds <= _PLAIN | _FRAME | _LISTS
        last = made[-1] if made else None
        if plain and last is not None and last.plain and last.items < MOST_ITEMS:
            last.tokens[-1:-1] = item
            last.items += 1
        else:
            line = item[0].map[0] if item[0].map else 0
            made.append(Part([opening, *item, closing], line, number, plain))
        number += 1
    return made


def _items(tokens: Sequence[Token], level: int) -> Iterator[list[Token]]:
    item: list[Token] = []
    for token in tokens:
        item.append(token)
        if token.type == "list_item_close" and token.level == level:
            yield item
            item = []


def marker_width(last_number: int) -> int:
    """Cells before the text of a list with numbers up to this one."""
    return len(str(last_number)) + 3


def _tree(tokens: Sequence[Token], inline: Callable[[Token], Content]) -> _Nested:
    outermost = _Nested(0)
    stack: list[_Nested] = []
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            ordered = token.type == "ordered_list_open"
            fresh = _Nested(int(token.attrs.get("start", 1)) if ordered else -1)
            if stack:
                stack[-1].items[-1].append(fresh)
            else:
                outermost = fresh
            stack.append(fresh)
        elif token.type.endswith("list_close"):
            stack.pop()
        elif token.type == "list_item_open":
            if len(stack) == 1 and not stack[0].items and token.info:
                stack[0].start = int(token.info)
            stack[-1].items.append([])
        elif token.type == "inline":
            stack[-1].items[-1].append(inline(token))
    return outermost


def _rows(
    nested: _Nested, width: int, bullets: Sequence[str], before: Content, depth: int
) -> Iterator[Row]:
    """``before`` stands before the marker of the first item; as much space before the others."""
    indent = before.cell_length
    last = nested.start + len(nested.items) - 1
    width = width or marker_width(last)
    for at, item in enumerate(nested.items):
        if nested.start >= 0:
            marker, deeper = f"{nested.start + at}. ".rjust(width), depth
        else:
            marker, deeper = bullets[depth % len(bullets)], depth + 1
        head = Content.assemble(before, (marker, "$primary"))
        space = Content(" " * head.cell_length)
        for element in item or [Content()]:
            if isinstance(element, Content):
                yield Row(element, head)
            else:
                yield from _rows(element, 0, bullets, head, deeper)
            head = space
        before = Content(" " * indent)
