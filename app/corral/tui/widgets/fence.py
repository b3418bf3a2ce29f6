"""Blocks of code in an answer: few colours, a way to copy, and cheap while they grow."""

from __future__ import annotations

from markdown_it.token import Token as MarkdownToken
from pygments.token import Token  # type: ignore[import-untyped]
from textual.app import ComposeResult
from textual.content import Content
from textual.highlight import HighlightTheme, highlight
from textual.message import Message
from textual.widgets import Label, Markdown
from textual.widgets.markdown import MarkdownBlock, MarkdownFence

from corral.text import shorten
from corral.tui.widgets.line import Line, Part
from corral.tui.widgets.placed import Placed
from corral.tui.widgets.sheet import Row, SheetView

_COPIED_SECONDS = 1.5

_GROWTH = 1.5
_FEW_LINES = 12
"""A block of code gets all its colours anew when it has so many lines more, or times as many."""


class _Colours(HighlightTheme):
    """Few colours, all of them the theme's own."""

    STYLES = {  # noqa: RUF012 - as in Textual
        Token.Comment: "$quiet italic",
        Token.Error: "",
        Token.Generic.Deleted: "$text-error",
        Token.Generic.Emph: "italic",
        Token.Generic.Heading: "bold",
        Token.Generic.Inserted: "$text-success",
        Token.Generic.Strong: "bold",
        Token.Generic.Subheading: "bold",
        Token.Keyword: "$text-accent",
        Token.Keyword.Constant: "$text-warning",
        Token.Literal.Number: "$text-warning",
        Token.Literal.String: "$text-success",
        Token.Literal.String.Doc: "$text-success italic",
        Token.Name.Builtin: "$text-secondary",
        Token.Name.Builtin.Pseudo: "italic",
        Token.Name.Class: "$text-warning bold",
        Token.Name.Decorator: "$text-secondary",
        Token.Name.Function: "$text-warning",
        Token.Name.Function.Magic: "$text-warning",
        Token.Name.Tag: "$text-accent",
        Token.Operator.Word: "$text-accent",
        Token.Number: "$text-warning",
        Token.String: "$text-success",
    }


class FenceBar(Line):
    """The line above a block of code."""

    def action_copy(self) -> None:
        self.post_message(Fence.CopyWanted(self.query_ancestor(Fence)))


class Code(SheetView, Label):
    """The lines of a block of code."""

    def __init__(self, code: Content) -> None:
        super().__init__(id="code-content", expand=True)
        self.auto_links = False
        self.spread(_lines(code))


class Fence(MarkdownFence, Placed):
    """A block of code under a line with its language and a way to copy it.

    While it grows, each line gets its colours by itself, and now and then all of them together,
    because what a line means may depend on those before it.
    """

    class CopyWanted(Message):
        """Somebody clicked on "copy"."""

        def __init__(self, fence: Fence) -> None:
            super().__init__()
            self.fence = fence

    def __init__(self, markdown: Markdown, token: MarkdownToken, code: str) -> None:
        super().__init__(markdown, token, code)
        self._bar = FenceBar()
        self._code = Code(self._highlighted_code)
        self._exact = len(code.splitlines())
        """Lines whose colours were found together."""
        self._whole = True
        """Whether those are all."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        return highlight(code, language=_lexer_name(language), theme=_Colours)

    def notify_style_update(self) -> None:
        # The colours are names out of the theme: another theme changes nothing in the content.
        MarkdownBlock.notify_style_update(self)

    def compose(self) -> ComposeResult:
        yield self._bar
        yield self._code

    def on_mount(self) -> None:
        self.label()

    def label(self, copied: bool = False) -> None:
        """Show the language, and for a moment that the code was copied."""
        language = shorten(self.lexer.split(maxsplit=1)[0] if self.lexer.strip() else "", 24)
        copy = Part("copied", "$text-success") if copied else Part("copy", "$quiet", click="copy")
        self._bar.show([Part(language, "$quiet")], [copy])
        if copied:
            self.set_timer(_COPIED_SECONDS, self.label)

    def grow(self, token: MarkdownToken) -> None:
        """Take a later state of the same block."""
        code, before = token.content.rstrip(), self.code
        if token.info != self.lexer:
            self.lexer = token.info
            self.label()
            before, self._exact = "", 0
        elif code == before:
            return
        self.code, self._token = code, token
        lines = code.splitlines()
        if len(lines) > _GROWTH * self._exact + _FEW_LINES:
            self.finish(again=True)
            return
        self._whole = False
        keep = max(0, len(before.splitlines()) - 1) if code.startswith(before) else 0
        self._code.show([Row(self.highlight(line, self.lexer)) for line in lines[keep:]], keep)

    def finish(self, *, again: bool = False) -> None:
        """Give all lines their right colours."""
        if self._whole and not again:
            return
        self._whole = True
        self._exact = len(self.code.splitlines())
        self._highlighted_code = self.highlight(self.code, self.lexer)
        self._code.show(_lines(self._highlighted_code))


def _lines(code: Content) -> list[Row]:
    return [Row(line) for line in code.split("\n", allow_blank=True)] or [Row(Content())]


def _lexer_name(info: str) -> str | None:
    """The first word of a fence's info string where it can be the name of a language."""
    name = info.split(maxsplit=1)[0].lower() if info.strip() else ""
    return name if name and len(name) <= 40 else "text"
