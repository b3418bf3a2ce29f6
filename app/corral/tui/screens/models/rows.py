"""How a model is shown: a row of columns that fits the width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple

from textual.content import Content

from corral.text import clean_line, shorten
from corral.tui.screens.modal import MUTED, bar
from corral.tui.screens.models.entries import Entry, Sort
from corral.tui.screens.models.words import quality, tokens_per_second
from corral.units import gigabytes

BEST = "★"

_MARK = 2
_GAP = 2
_LONGEST_BAR = 8
_WORD = 10
"""Cells beside a bar: a space, and the longest word there, ``repairing``."""
_TITLE = (12, 34)
"""Fewest and most cells of the first column."""


class Column(NamedTuple):
    """One column; the first takes what the others leave, up to a limit."""

    heading: str
    width: int
    cell: Callable[[Entry], Content]
    least: int = 0
    """Cells the whole row must have for this column to be shown."""
    below: int = 1 << 16
    """Cells from which on another column says it better."""
    sort: Sort | None = None
    right: bool = False
    """Whether it is a number, set to the right."""


def fits(entry: Entry, *, brief: bool = False) -> tuple[str, str, str]:
    """How a file fits this machine: a sign, its style, and a few words."""
    fit = entry.fit
    if fit is None:
        return " ", "", ""
    loaded = entry.loaded and fit.fits == "no"
    if fit.fits == "gpu":
        return "●", "$success", "on the GPU" if brief else "all on the GPU"
    if fit.fits == "partial":
        layers = f"{fit.gpu_layers} of {fit.layers}"
        return "◐", "$warning", layers if brief else f"{layers} layers"
    if fit.fits == "cpu" or loaded:
        return "●", "$success", "in memory"
    if fit.fits_if_released:
        return "○", "$success", "after a swap"
    if brief:
        return "✗", "$error", f"{ceil(fit.missing / 1e9)} GB short"
    return "✗", "$error", f"needs {gigabytes(fit.missing, int(fit.missing < 9.95e9))} more"


def state(entry: Entry) -> str:
    """The state in one or two plain words."""
    model, download = entry.model, entry.download
    if entry.verifying is not None:
        return f"verifying {100 * entry.verifying:.0f} %"
    if download is not None:
        if download.state == "running" and download.stage in ("checking", "verifying", "repairing"):
            return download.stage
        share = f"{100 * download.done / max(1, download.bytes):.0f} %"
        return {"running": share, "queued": "waiting"}.get(
            download.state, clean_line(download.state)
        )
    if entry.loaded and model.state == "installed":
        return "✓ loaded"
    if model.state == "installed":
        return "✓ starter" if model.source == "starter" else "✓ installed"
    if model.state == "available":
        return "needs more memory" if _too_large(entry) else "download"
    gone = {"missing": "✗ missing", "damaged": "✗ damaged"}
    return gone.get(model.state, clean_line(str(model.state)))


def _too_large(entry: Entry) -> bool:
    fit = entry.fit
    return fit is not None and fit.fits == "no" and not fit.fits_if_released


def _title(entry: Entry) -> Content:
    return Content.styled(entry.title, "bold")


def _quant(entry: Entry) -> Content:
    return Content(shorten(entry.model.quant or "–", 20))


def _download(entry: Entry) -> Content:
    return Content(gigabytes(entry.model.bytes, 2) if entry.model.bytes else "–")


def _memory(entry: Entry) -> Content:
    return Content(gigabytes(entry.fit.bytes.total) if entry.fit else "–")


def _fits(entry: Entry, *, brief: bool = False) -> Content:
    sign, style, words = fits(entry, brief=brief)
    return Content.assemble((sign, style), " ", (words, MUTED if sign == "✗" else ""))


def _brief_fits(entry: Entry) -> Content:
    return _fits(entry, brief=True)


def _speed(entry: Entry) -> Content:
    return Content(tokens_per_second(entry.fit.tokens_per_second if entry.fit else None))


def _quality(entry: Entry) -> Content:
    return Content(quality(entry.fit.quality_loss if entry.fit else None))


def _state(entry: Entry, room: int) -> Content:
    """The state on ``room`` cells; with a bar where something goes on."""
    text, download = state(entry), entry.download
    width = min(_LONGEST_BAR, room - _WORD)
    if entry.verifying is not None:
        percent = f" {100 * entry.verifying:.0f} %"
        return bar(entry.verifying, width, "$success") + percent
    if download is not None:
        style = {"running": "$accent", "failed": "$error"}.get(download.state, "$warning 60%")
        return bar(download.done / max(1, download.bytes), width, style) + f" {text}"
    if text.startswith("✓"):
        return Content.styled(text, "bold $success" if entry.loaded else "$success")
    if text.startswith("✗"):
        return Content.styled(text, "$error")
    if len(text) > room:
        return Content("")  # The other column says it.
    return Content.styled(text, "" if text == "download" else MUTED)


COLUMNS = (
    Column("Model", 0, _title, sort="name"),
    Column("Quant", 6, _quant),
    Column("Download", 9, _download, least=70, sort="size", right=True),
    Column("Memory @4k", 10, _memory, least=90, right=True),
    Column("Fits", 19, _fits, least=70, sort="fits"),
    Column("Fits", 13, _brief_fits, below=70, sort="fits"),
    Column("≈ tok/s", 9, _speed, least=101, sort="speed"),
    Column("Quality", 7, _quality, least=110),
    Column("State", 17, partial(_state, room=17), sort="state", least=90),
    Column("State", 16, partial(_state, room=16), sort="state", least=70, below=90),
    Column("State", 14, partial(_state, room=14), sort="state", below=70),
)


def heading(width: int, sort: Sort) -> Content:
    """The names of the columns, as wide as :func:`row`; the one that sorts is marked."""
    return _line(
        "",
        [
            (Content(column.heading + ("▾" if column.sort == sort != "name" else "")), column)
            for column in _columns(width)
        ],
        width,
    )


def row(entry: Entry, width: int, *, first: bool) -> Content:
    """One model on one line of ``width`` cells.

    Args:
        first: whether it begins a family, and so bears its name.
    """
    cells = [(column.cell(entry), column) for column in _columns(width)]
    if not first:
        cells[0] = (Content(""), cells[0][1])
    line = _line(BEST if entry.best else "", cells, width)
    dim = not entry.here and _too_large(entry)
    return line.stylize_before(MUTED) if dim else line


def _columns(width: int) -> list[Column]:
    return [column for column in COLUMNS if column.least <= width < column.below]


def _line(mark: str, cells: Sequence[tuple[Content, Column]], width: int) -> Content:
    rest = sum(column.width + _GAP for _, column in cells[1:])
    first = max(_TITLE[0], min(_TITLE[1], width - _MARK - rest))
    parts = [Content.styled(mark.ljust(_MARK), "$accent")]
    for number, (content, column) in enumerate(cells):
        room = column.width or first
        if column.right and content.cell_length < room:
            content = content.pad_left(room - content.cell_length)
        parts += [Content(" " * _GAP)] if number else []
        parts.append(content.truncate(room, ellipsis=True, pad=True))
    return Content("").join(parts)
