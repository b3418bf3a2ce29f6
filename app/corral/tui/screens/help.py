"""The keys, what the models are not good at, and where everything is kept."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from corral.paths import Paths
from corral.tui import keys, slash
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Modal, Top
from corral.tui.screens.models.words import shown_path

KEY_WIDTH = 19

EXPECT = (
    "An answer can be wrong, biased or made up, and sound sure all the same. Check what matters.",
    "Nothing is looked up. What Llama 2 knows ends in September 2022.",
    "Llama 2 is meant for English; in other languages it is worse.",
    "No doctor, lawyer or other professional is speaking, and no person: "
    "do not pass an answer off as one of a human.",
    "A base model continues a text. It was not tuned to chat.",
    "The beginning of a long conversation falls out of the context window; "
    "a line shows from where on the model still sees it.",
)

PRIVATE = (
    "Chatting needs no network and opens no connection; only a download and a search on the hub "
    "do. The model runs on this machine, in a process of its own.",
    "No telemetry is sent, and no update is looked for, ever.",
    "A model file of yours stays where it lies. None is copied, moved or deleted unasked.",
    "Every message is on disk before the model gets it.",
)

LICENCE = (
    "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved. Risky content can be reported at "
    "developers.facebook.com/llama_output_feedback, violations of its use policy to "
    "LlamaUseReport@meta.com.",
)


class HelpScreen(Modal[None]):
    """All of it on one page that scrolls.

    Args:
        paths: where the files of this machine are; their part is left out without it.
    """

    def __init__(self, paths: Paths | None = None) -> None:
        super().__init__()
        self._paths = paths

    def compose(self) -> ComposeResult:
        with Frame(classes="-tall"):
            with Top():
                yield Heading("Help", "corral: keep your llamas at home")
            with VerticalScroll():
                with Container(classes="columns"):
                    with Vertical(classes="column"):
                        for where in keys.HEADINGS:
                            if where not in ("models", "tree", "text"):
                                yield _keys(where)
                        commands = [_command(one) for one in slash.COMMANDS]
                        yield _section("Typed into the box", commands)
                    with Vertical(classes="column"):
                        yield _points("What to expect of a model", EXPECT)
                        yield _points("What stays here", PRIVATE)
                        if self._paths is not None:
                            yield _section("Where the files are", _places(self._paths))
                        yield _keys("tree")
                        yield _keys("text")
                        yield _keys("models")
                # The columns are not equally long, and this is to be the end of both.
                yield _points("Licence of Llama 2", LICENCE)
            with Bottom():
                yield Hints([("↑↓ PgUp PgDn", "scroll", ""), ("Esc", "close", "close")])


def _section(heading: str, lines: list[Content]) -> Static:
    content = Content("\n").join([Content.styled(heading, "bold"), *lines])
    return Static(content, markup=False, classes="section")


def _keys(where: keys.Where) -> Static:
    return _section(keys.HEADINGS[where], [key_line(key) for key in keys.group(where)])


def key_line(key: keys.Key) -> Content:
    """A key and what it does."""
    shown = key.shown.replace(" / ", " ")
    gap = " " * (KEY_WIDTH - len(shown)) if len(shown) < KEY_WIDTH else "\n" + " " * KEY_WIDTH
    return Content.assemble((shown, "$accent"), gap, key.text)


def _command(command: slash.Command) -> Content:
    shown = f"/{command.name} {command.argument}".rstrip()
    gap = " " * (KEY_WIDTH - len(shown)) if len(shown) < KEY_WIDTH else "\n" + " " * KEY_WIDTH
    return Content.assemble((shown, "$accent"), gap, command.text)


def _points(heading: str, texts: tuple[str, ...]) -> Vertical:
    points = [
        Horizontal(
            Static("·", markup=False, classes="dot"),
            Static(text, markup=False, classes="point"),
        )
        for text in texts
    ]
    return Vertical(Static(heading, markup=False, classes="title"), *points, classes="section")


def _places(paths: Paths) -> list[Content]:
    places = {
        "conversations": paths.database,
        "settings": paths.settings_file,
        "logs": paths.logs,
    }
    return [
        Content.assemble(f"{name}\n", ("  " + shown_path(str(path)), MUTED))
        for name, path in places.items()
    ]
