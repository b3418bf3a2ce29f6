"""The lines below the table: what the highlighted row has no room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content

from corral.text import clean_line, shorten
from corral.tui.screens.modal import MUTED
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.words import (
    format_sentence,
    middle_cut,
    shown_path,
    tokens_per_second,
)
from corral.units import duration, gigabytes, transfer_rate

if TYPE_CHECKING:
    from corral.store.downloads import Download

ESTIMATE = (
    "Speed is a range until the first run corrects it; "
    "quality is perplexity against the unquantized model."
)

_STATE_SENTENCES = {
    "missing": "The file is gone. Put it back, or press Del.",
    "damaged": "It is damaged: v finds out where and repairs it, Del removes it.",
}


def lines(entry: Entry, machine: str, width: int) -> Content:
    """Four lines or fewer: its name, why it fits or not, where it is, and what else matters.

    Args:
        machine: this one in a few words.
    """
    model = entry.model
    title = Content.styled(f"{entry.title} · {shorten(model.quant or '–', 20)}", "bold")
    about = [shorten(model.name, 80) if model.name != model.title else ""]
    about.append(f"licence {shorten(model.licence, 40)}" if model.licence else "")
    if entry.best:
        recommended = "Recommended for this machine: " if width >= 100 else "★ "
        title = Content.assemble((recommended, "bold $accent"), title)
        about = [f"the largest that is comfortable with {shorten(machine, 60)}"]
    shown = [title + Content.styled("  " + " · ".join(filter(None, about)), MUTED)]
    if model.state not in _STATE_SENTENCES:
        shown.append(Content.styled(_why(entry), MUTED))
    if entry.download is not None:
        shown += progress(entry.download)
    elif model.state in _STATE_SENTENCES:
        shown.append(Content.styled(_STATE_SENTENCES[model.state], "$error"))
        shown.append(Content.styled(_place(entry, width), MUTED))
    else:
        shown.append(Content.styled(_place(entry, width), MUTED))
        here = model.state == "installed"
        shown.append(Content.styled(format_sentence(model) if here else ESTIMATE, MUTED))
    return Content("\n").join(shown)


def _why(entry: Entry) -> str:
    """Why it fits or not, and how fast it would be."""
    fit = entry.fit
    if fit is None:
        return "How it fits is not known"
    why = shorten(fit.reason, 300)
    if fit.tokens_per_second:
        how = "measured" if fit.measured else "about"
        why += f" · {how} {tokens_per_second(fit.tokens_per_second)} tok/s"
    return why


def _place(entry: Entry, width: int) -> str:
    model = entry.model
    if model.path:
        return middle_cut(shown_path(model.path), width)
    parts = [clean_line(model.repository)] if model.repository else []
    if model.revision:
        parts.append(f"at {clean_line(model.revision)[:8]}")
    parts.append(f"sha256 {model.sha256[:12]}…" if model.sha256 else "no known sha256")
    return shorten(" · ".join(parts), max(20, width))


def progress(download: Download) -> list[Content]:
    """How far a download is, or why it stopped and what helps."""
    read = f"{gigabytes(download.done, 2)} of {gigabytes(download.bytes, 2)}"
    failed = download.state == "failed"
    if failed or (download.state == "paused" and download.error):
        hint = f". {shorten(download.hint, 200)}" if download.hint else ""
        error = shorten(download.error or "It stopped", 200)
        return [
            Content.styled(f"✗ {error}{hint}", "$error" if failed else "$warning"),
            Content.styled(f"{read} are here; Enter goes on from there", MUTED),
        ]
    if download.state == "paused":
        return [Content.styled(f"Paused at {read}; Space or Enter goes on", MUTED)]
    if download.note:
        return [Content.styled(f"{shorten(download.note, 200)} · {read}", "$warning")]
    if download.state == "queued":
        return [Content.styled(f"Waiting for its turn, {read}; K moves it forward", MUTED)]
    parts = [read]
    if download.stage and download.stage != "transfer":
        parts.append(clean_line(download.stage))
    if download.rate:
        parts.append(transfer_rate(download.rate))
    if download.eta is not None:
        parts.append(f"{duration(download.eta)} left")
    return [Content.styled(" · ".join(parts), "$accent")]
