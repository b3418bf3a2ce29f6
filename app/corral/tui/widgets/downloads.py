"""What is being downloaded, at the foot of the sidebar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from corral.text import shorten
from corral.tui import wording
from corral.units import duration

if TYPE_CHECKING:
    from corral.store.downloads import Download

SHOWN = 3
"""Downloads that are shown one by one; the others are counted."""

BAR = 10


class DownloadsPanel(Static):
    """Two lines a download; a click opens the models screen."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", markup=False, id=id)
        self._shown: Sequence[Download] = ()

    def tell(self, downloads: Sequence[Download]) -> None:
        """Show these; costs nothing where they are the same."""
        if list(downloads) == list(self._shown):
            return
        self._shown = list(downloads)
        self.set_class(bool(downloads), "-some")
        lines = [line for one in downloads[:SHOWN] for line in _lines(one)]
        if len(downloads) > SHOWN:
            lines.append(Content.styled(f"  and {len(downloads) - SHOWN} more", "$quiet"))
        self.update(Content("\n").join(lines))

    async def on_click(self) -> None:
        await self.run_action("screen.models")


def _lines(download: Download) -> list[Content]:
    fraction = download.done / download.bytes if download.bytes else 0.0
    name = Content.assemble(("↓ ", "$primary"), shorten(download.name, 26))
    bar = Content.assemble(
        "  ",
        (wording.meter(fraction, BAR), "$primary" if download.state == "running" else "$quiet"),
        f" {100 * fraction:.0f} %",
        (f" {_state(download)}", "$quiet"),
    )
    return [name, bar]


def _state(download: Download) -> str:
    if download.state == "failed":
        return "stopped"
    if download.state != "running":
        return {"queued": "waiting", "paused": "paused"}.get(download.state, "")
    if download.stage in ("checking", "verifying", "repairing", "waiting"):
        return download.stage
    return duration(download.eta) if download.eta is not None else ""


def summary(downloads: Sequence[Download]) -> str:
    """All of them in a few characters, for where there is no sidebar: ``↓ 61 %``."""
    going = [one for one in downloads if one.state in ("running", "queued")]
    total = sum(one.bytes for one in going)
    return f"↓ {100 * sum(one.done for one in going) / total:.0f} %" if total else ""
