"""How a model is shown: a row of columns that fits the width, and a few lines about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textual.content import Content

from corral.chat.formats import FORMATS, TEMPLATE, Format
from corral.text import clean_line, shorten
from corral.tui.screens.modal import MUTED
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.local import LocalModel

LOADED = "●"

_STATES = {
    "installed": "ready",
    "missing": "file missing",
    "damaged": "damaged",
    "available": "not here",
}

_STATE_SENTENCES = {
    "missing": "The file is gone. Put it back, or press Del.",
    "damaged": "Damaged: import a good copy, or press Del.",
    "available": "Its file is not on this machine.",
}

_KINDS = {
    "chat": "tuned to chat",
    "base": "continues text, not tuned to chat",
    "unknown": "it is not known whether it can chat",
}

_SOURCES = {
    "person": "chosen by you",
    "catalogue": "from the catalogue",
    "file": "stored in the file",
}


class Column(NamedTuple):
    """One column; the first takes what the others leave."""

    heading: str
    width: int
    text: Callable[[LocalModel], str]
    least: int
    """Cells the whole row must have for this column to be shown."""


def _title(model: LocalModel) -> str:
    return clean_line(model.title or model.name)


def _kind(model: LocalModel) -> str:
    return model.kind if model.kind in ("chat", "base") else "–"


def _size(model: LocalModel) -> str:
    return gigabytes(model.bytes, 2).rjust(8) if model.bytes else "–".rjust(8)


def _format(model: LocalModel) -> str:
    return format_title(model.format) if model.format else "not known"


def state(model: LocalModel) -> str:
    """The state in one or two plain words."""
    return _STATES.get(model.state, clean_line(str(model.state)))


COLUMNS = (
    Column("Model", 0, _title, 0),
    Column("Kind", 5, _kind, 70),
    Column("Quant", 8, lambda model: clean_line(model.quant or "–"), 0),
    Column("    Size", 9, _size, 0),
    Column("Prompt format", 21, _format, 88),
    Column("State", 12, state, 0),
)
_GAP = 2
_MARK = 2


def heading(width: int) -> Content:
    """The names of the columns, as wide as :func:`row`."""
    return _line("", [(column.heading, column) for column in _columns(width)], width)


def row(model: LocalModel, width: int, *, loaded: bool) -> Content:
    """One model on one line of ``width`` cells."""
    usable = model.state == "installed"
    cells = [(column.text(model), column) for column in _columns(width)]
    if loaded and usable:
        cells[-1] = ("in use", cells[-1][1])
    line = _line(LOADED if loaded else "", cells, width)
    return line if usable else line.stylize(MUTED)


def _columns(width: int) -> list[Column]:
    return [column for column in COLUMNS if column.least <= width]


def _line(mark: str, cells: Sequence[tuple[str, Column]], width: int) -> Content:
    rest = sum(column.width + _GAP for _, column in cells[1:])
    first = max(8, width - _MARK - rest)
    parts = [Content.styled(mark.ljust(_MARK), "$accent")]
    for number, (text, column) in enumerate(cells):
        content = Content(text).truncate(column.width or first, ellipsis=True, pad=True)
        if number:
            parts += [Content(" " * _GAP), content.stylize(MUTED)]
        else:
            parts.append(content)
    return Content("").join(parts)


def detail(model: LocalModel, width: int) -> Content:
    """What the row has no room for: its name, where it lies, how it is spoken to."""
    name = shorten(model.name, 120)
    about = ", ".join(
        filter(
            None,
            [
                shorten(model.size or "", 20),
                _KINDS.get(model.kind, ""),
                f"licence {shorten(model.licence, 60)}" if model.licence else "",
            ],
        )
    )
    lines = [Content.assemble((name, "bold"), ("  " + about if about else "", MUTED))]
    if model.path:
        lines.append(Content.styled(middle_cut(shown_path(model.path), width), MUTED))
    if sentence := _STATE_SENTENCES.get(model.state):
        lines.append(Content.styled(sentence, "$error"))
    else:
        lines.append(Content.styled(format_sentence(model), MUTED))
    return Content("\n").join(lines)


def format_sentence(model: LocalModel) -> str:
    """The prompt format, and how it is known."""
    if model.format is None:
        return "Its prompt format is not known: press f to choose one."
    how = _SOURCES.get(model.format_source or "")
    return f"Prompt format: {format_title(model.format)}{', ' + how if how else ''}"


def format_title(name: str) -> str:
    """A format as a person reads it."""
    format = FORMATS.get(name)
    if format is not None:
        return format.title
    return "its own template" if name == TEMPLATE else clean_line(name)


def format_choices() -> list[tuple[str, str]]:
    """All formats for a choice: its title, and what a message looks like in it."""
    choices = [(name, f"{format.title}\t{_sample(format)}") for name, format in FORMATS.items()]
    return [*choices, (TEMPLATE, "Its own template\tthe one that is stored in the file")]


def _sample(format: Format) -> str:
    pieces = "".join(piece.value for piece in format.user if piece.kind != "control")
    sample = pieces.replace("{}", "…").split("\n\n")[0].replace("\n", " ")
    return "no tags, goes on writing the text" if sample == "…" else sample


def shown_path(path: str) -> str:
    """A path with the person's folder as ``~``."""
    home = str(Path.home())
    if path == home or path.startswith(home.rstrip("/") + "/"):
        path = "~" + path[len(home.rstrip("/")) :]
    return clean_line(path)


def middle_cut(text: str, width: int) -> str:
    """At most ``width`` characters, cut in the middle: a path tells most at its ends."""
    if len(text) <= width:
        return text
    begin = max(0, width - 1) // 3
    return text[:begin] + "…" + text[len(text) - max(0, width - 1 - begin) :]
