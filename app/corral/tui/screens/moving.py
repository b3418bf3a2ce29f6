"""What an export can be, and what came of an import."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corral.moving.importing import Imported
from corral.text import clean, clean_line, shorten
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Notice, Top

FORMATS: list[tuple[str, str]] = [
    ("markdown", "Markdown\tto read, and for notes"),
    ("json", "JSON\tthe whole tree; can be imported again"),
    ("html", "HTML\tone page for a browser, nothing fetched"),
    ("text", "Plain text\tfor printing and for mail"),
]


class ReportScreen(Modal[None]):
    """What an import brought, and which records could not be read.

    Args:
        summary: all of it in one line.
    """

    def __init__(self, done: Imported, summary: str) -> None:
        super().__init__()
        self._done = done
        self._summary = summary

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading("Imported")
                yield Static(clean(self._summary), markup=False, classes="hint")
            with VerticalScroll():
                yield Static(_problems(self._done), markup=False, classes="text")
            with Bottom():
                yield Notice()
                yield Hints([("↑↓", "scroll", ""), ("Esc", "close", "close")])

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _problems(done: Imported) -> Content:
    lines = []
    for one in done.problems:
        where = f"record {one.record}" if one.record else "the file"
        named = f" “{one.title}”" if one.title else ""
        lines.append(
            Content.assemble((where + clean_line(named), "bold"), f"  {shorten(one.reason, 200)}")
        )
    if done.failed > len(done.problems):
        lines.append(Content.assemble((f"and {done.failed - len(done.problems)} more", MUTED)))
    return Content("\n").join(lines)
