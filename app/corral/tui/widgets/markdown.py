"""Answers as Markdown: harmless links, HTML shown as it stands, code that can be copied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token as MarkdownToken
from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownParagraph
from textual.widgets.markdown import MarkdownBlock

from corral.text import clean
from corral.tui.widgets import lists
from corral.tui.widgets.fence import Fence
from corral.tui.widgets.placed import Placed
from corral.tui.widgets.sheet import taller
from corral.tui.widgets.tables import Table

__all__ = ["AnswerMarkdown", "Fence", "code_blocks", "parser"]

_LISTS = ("bullet_list_open", "ordered_list_open")
_NUMBER = re.compile(r" {0,3}\d{1,9}")


def parser() -> MarkdownIt:
    """CommonMark with tables and bare links; HTML is shown as it stands, line breaks are kept."""
    parser = MarkdownIt("gfm-like", {"html": False})
    parser.core.ruler.push("kept_breaks", _keep_breaks)
    return parser


def _keep_breaks(state: StateCore) -> None:
    """Models write verses, addresses and steps with single line breaks and mean them."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


class Paragraph(MarkdownParagraph, Placed):
    """A paragraph that lays the screen out again only where it takes more lines than before."""

    def set_content(self, content: Content) -> None:
        layout = not self.is_mounted or taller(self, content, self._content)
        self._content: Content = content
        self.update(content, layout=layout)


@dataclass(slots=True)
class _Unit:
    """What becomes one widget: a top-level block, or some items of a list."""

    tokens: list[MarkdownToken]
    line: int
    """Where it begins in the text that was parsed."""
    list_line: int = 0
    """Where the list begins, in the same text."""
    part: lists.Part | None = None
    width: int = 0
    """Of the numbers of the whole list."""
    goes_on: bool = False
    """Whether more of the same list follows."""


@dataclass(slots=True)
class _List:
    """The list that the end of an answer belongs to, once its first parts are no longer parsed."""

    source: str
    """Of those parts."""
    blocks: list[MarkdownBlock]
    """What they were made into."""
    type: str
    number: int
    """Of the item after them."""
    width: int


class AnswerMarkdown(Markdown, Placed):
    """The text of an answer, which can grow.

    Only the last block is parsed again when something is added; of a list, only its last part.
    """

    BLOCKS = {  # noqa: RUF012 - as in Textual
        **Markdown.BLOCKS,
        "paragraph_open": Paragraph,
        "ordered_list_open": lists.NumberedItems,
        "fence": Fence,
        "code_block": Fence,
    }
    BULLETS = ["• ", "◦ ", "▪ ", "‣ ", "· "]  # noqa: RUF012 - as in Textual
    DEFAULT_CSS = "AnswerMarkdown > .-goes-on { margin: 0; }"

    def __init__(self, text: str) -> None:
        # One parser for all pieces of a streamed answer: making it costs more than a short parse.
        self._parser = parser()
        super().__init__(text, parser_factory=lambda: self._parser, open_links=False)
        self._open = ""
        """The end of the source, which is parsed again with everything that is added."""
        self._tail: list[MarkdownBlock] = []
        """What it was made into."""
        self._list: _List | None = None

    def fences(self) -> list[Fence]:
        """The blocks of code, from top to bottom."""
        return list(self.query(Fence))

    def update(self, markdown: str) -> AwaitComplete:
        """Show another text."""
        self._markdown = markdown

        async def update() -> None:
            async with self.lock:
                with self.app.batch_update():
                    await self.remove_children(MarkdownBlock)
                    self._open, self._tail, self._list = "", [], None
                    await self._grow(markdown)

        return AwaitComplete(update())

    def append(self, markdown: str) -> AwaitComplete:
        """Show more of the text."""
        self._markdown += markdown

        async def append() -> None:
            async with self.lock:
                with self.app.batch_update():
                    await self._grow(markdown)

        return AwaitComplete(append())

    def finish(self) -> None:
        """Nothing more comes: what was coloured line by line gets its right colours."""
        for block in self._tail:
            if isinstance(block, Fence):
                block.finish()

    async def _grow(self, more: str) -> None:
        self._open += more
        units = self._units()
        shown = await self._show(units)
        if units:
            self._settle(units, shown)
        else:
            self._tail = []

    def _units(self) -> list[_Unit]:
        groups = list(_groups(self._parser.parse(self._open)))
        known = self._list
        units: list[_Unit] = []
        for group in groups:
            opening = group[0]
            line = opening.map[0] if opening.map else 0
            goes_on = known is not None and not units
            if opening.type not in _LISTS:
                if goes_on:
                    return self._reopened()
                units.append(_Unit(group, line))
                continue
            parts = lists.parts(group, known.number if known and goes_on else None)
            width = lists.marker_width(parts[-1].number + parts[-1].items - 1)
            if known and goes_on and (known.type, known.width) != (opening.type, width):
                return self._reopened()
            units += [_Unit(part.tokens, part.line, line, part, width, True) for part in parts]
            units[-1].goes_on = False
        return units

    def _reopened(self) -> list[_Unit]:
        """Parse a list from its beginning, because something in all its parts has changed."""
        assert self._list is not None
        self._open = self._list.source + self._open
        self._tail = [*self._list.blocks, *self._tail]
        self._list = None
        return self._units()

    async def _show(self, units: Sequence[_Unit]) -> list[MarkdownBlock]:
        """Make widgets of the units, and go on with those that are there already."""
        shown: list[MarkdownBlock] = []
        fresh: list[MarkdownBlock] = []
        for at, unit in enumerate(units):
            old = self._tail[at] if not fresh and at < len(self._tail) else None
            last = at == len(units) - 1
            if isinstance(old, Fence) and unit.tokens[0].type == old.name:
                old.grow(unit.tokens[0])
                if not last:
                    old.finish()
                shown.append(old)
                continue
            if isinstance(old, Table) and unit.tokens[0].type == old.name:
                old.grow(unit.tokens)
                shown.append(old)
                continue
            block = self._block(unit)
            if old is not None and _continues(old, block):
                await old._update_from_block(block)
                block = old
            else:
                fresh.append(block)
            block.set_class(unit.goes_on, "-goes-on")
            shown.append(block)
        for stale in self._tail[len(shown) - len(fresh) :]:
            await stale.remove()
        if fresh:
            await self.mount_all(fresh)
        return shown

    def _block(self, unit: _Unit) -> MarkdownBlock:
        if unit.part is not None and unit.part.plain:
            width = unit.width if unit.tokens[0].type == "ordered_list_open" else 0
            return lists.TextList(self, unit.tokens, width, self.BULLETS)
        if unit.tokens[0].type == "table_open":
            return Table(self, unit.tokens)
        (block,) = self._parse_markdown(unit.tokens)
        if isinstance(block, lists.NumberedItems):
            block.width = unit.width
        return block

    def _settle(self, units: Sequence[_Unit], shown: Sequence[MarkdownBlock]) -> None:
        """Leave everything before the last unit as it is from now on."""
        lines = self._open.split("\n")
        # A number at the end may yet become the next item of the list above.
        at = len(units) - (2 if len(units) > 1 and _NUMBER.fullmatch(lines[-1]) else 1)
        last, known = units[at], self._list
        self._open = "\n".join(lines[last.line :])
        self._tail = list(shown[at:])
        self._list = None
        if last.part is None:
            return
        source = "".join(f"{line}\n" for line in lines[last.list_line : last.line])
        before = [
            block
            for unit, block in zip(units[:at], shown[:at], strict=True)
            if unit.part is not None and unit.list_line == last.list_line
        ]
        if known is not None and last.list_line == units[0].list_line:
            source, before = known.source + source, [*known.blocks, *before]
        if before:
            opening = last.tokens[0].type
            self._list = _List(source, before, opening, last.part.number, last.width)


def _groups(tokens: Sequence[MarkdownToken]) -> Iterator[list[MarkdownToken]]:
    """The tokens of each top-level block."""
    group: list[MarkdownToken] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _continues(old: MarkdownBlock, new: MarkdownBlock) -> bool:
    """Whether a widget can take the later state of its block."""
    return type(old) is type(new) and isinstance(new, Paragraph | lists.TextList)


def code_blocks(text: str) -> list[str]:
    """The code in an answer, from top to bottom."""
    return [
        token.content.rstrip("\n")
        for token in parser().parse(clean(text))
        if token.type in ("fence", "code_block") and token.content.strip()
    ]
