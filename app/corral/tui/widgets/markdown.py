"""Answers as Markdown: harmless links, HTML shown as it stands, code that can be copied."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token as MarkdownToken
from pygments.token import Token  # type: ignore[import-untyped]
from textual.app import ComposeResult
from textual.content import Content
from textual.highlight import HighlightTheme, highlight
from textual.message import Message
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock, MarkdownFence

from corral.text import clean, shorten
from corral.tui.widgets.line import Line, Part

_COPIED_SECONDS = 1.5


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


class FenceBar(Line):
    """The line above a block of code."""

    def action_copy(self) -> None:
        self.post_message(Fence.CopyWanted(self.query_ancestor(Fence)))


class Fence(MarkdownFence):
    """A block of code under a line with its language and a way to copy it."""

    class CopyWanted(Message):
        """Somebody clicked on "copy"."""

        def __init__(self, fence: Fence) -> None:
            super().__init__()
            self.fence = fence

    def __init__(self, markdown: Markdown, token: MarkdownToken, code: str) -> None:
        super().__init__(markdown, token, code)
        self._bar = FenceBar()

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        return highlight(code, language=_lexer_name(language), theme=_Colours)

    def compose(self) -> ComposeResult:
        yield self._bar
        yield from super().compose()

    def on_mount(self) -> None:
        self.label()

    def label(self, copied: bool = False) -> None:
        """Show the language, and for a moment that the code was copied."""
        language = shorten(self.lexer.split(maxsplit=1)[0] if self.lexer.strip() else "", 24)
        copy = Part("copied", "$text-success") if copied else Part("copy", "$quiet", click="copy")
        self._bar.show([Part(language, "$quiet")], [copy])
        if copied:
            self.set_timer(_COPIED_SECONDS, self.label)

    def _copy_context(self, block: MarkdownBlock) -> None:
        super()._copy_context(block)
        self.label()


def _lexer_name(info: str) -> str | None:
    """The first word of a fence's info string where it can be the name of a language."""
    name = info.split(maxsplit=1)[0].lower() if info.strip() else ""
    return name if name and len(name) <= 40 else "text"


class AnswerMarkdown(Markdown):
    """The text of an answer."""

    BLOCKS = {  # noqa: RUF012 - as in Textual
        **Markdown.BLOCKS,
        "fence": Fence,
        "code_block": Fence,
    }
    BULLETS = ["• ", "◦ ", "▪ ", "‣ ", "· "]  # noqa: RUF012 - as in Textual

    def __init__(self, text: str) -> None:
        # One parser for all pieces of a streamed answer: making it costs more than a short parse.
        own = parser()
        super().__init__(text, parser_factory=lambda: own, open_links=False)

    def fences(self) -> list[Fence]:
        """The blocks of code, from top to bottom."""
        return list(self.query(Fence))


def code_blocks(text: str) -> list[str]:
    """The code in an answer, from top to bottom."""
    return [
        token.content.rstrip("\n")
        for token in parser().parse(clean(text))
        if token.type in ("fence", "code_block") and token.content.strip()
    ]
