"""Words about models that several screens use: prompt formats, paths, and how large and fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corral.chat.formats import FORMATS, TEMPLATE, Format
from corral.text import clean_line, shorten

if TYPE_CHECKING:
    from corral.models.library.local import LocalModel
    from corral.models.library.removing import Removal

_SOURCES = {
    "person": "chosen by you",
    "catalogue": "from the catalogue",
    "file": "stored in the file",
}


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


def what_goes(model: LocalModel, removal: Removal) -> str:
    """What removing a model does, for a question before it."""
    parts = [shorten(model.name, 120), removal.sentence]
    parts += [f"Deleted: {shown_path(str(path))}" for path in removal.deletes]
    parts += [f"Stays: {shown_path(str(path))}" for path in removal.keeps]
    return "\n\n".join(filter(None, parts))


def middle_cut(text: str, width: int) -> str:
    """At most ``width`` characters, cut in the middle: a path tells most at its ends."""
    if len(text) <= width:
        return text
    begin = max(0, width - 1) // 3
    return text[:begin] + "…" + text[len(text) - max(0, width - 1 - begin) :]


def tokens_per_second(speed: tuple[float, float] | None) -> str:
    """``38–46``, ``0.8–1.2``, or a dash where it is not known."""
    if not speed:
        return "–"
    digits = 1 if speed[0] < 3 else 0
    low, high = (f"{value:.{digits}f}" for value in speed)
    return low if low == high else f"{low}–{high}"


def quality(loss: float | None) -> str:
    """``-1.4 %``: how much worse than the unquantized model."""
    if loss is None:
        return "–"
    return "≈ 0" if abs(loss) < 0.1 else f"−{loss:.1f} %"
