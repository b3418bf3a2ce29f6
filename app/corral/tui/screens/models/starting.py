"""From a name to a running download: the plan, the question, the licence, the queue."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from corral.errors import CorralError
from corral.text import shorten
from corral.tui.screens.dialogs import ConfirmDialog
from corral.tui.screens.modal import MUTED, Bottom, Frame, Heading, Hints, Top
from corral.tui.screens.models.licence import LicenceScreen
from corral.tui.screens.models.waiting import Waiting
from corral.tui.screens.models.words import middle_cut, shown_path
from corral.tui.toasts import fail
from corral.units import gigabytes

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from corral.models.downloads.downloads import DownloadPlan, Downloads
    from corral.store.downloads import Download

_LABEL = 9


async def start_download(node: DOMNode, downloads: Downloads, name: str) -> Download | None:
    """Ask everything that is to be asked, then put the download into the queue.

    Must run in a worker. What stands in the way is told in the corner.

    Args:
        name: of the catalogue, or ``owner/repo:QUANT``, or ``owner/repo/file.gguf``.
    """
    app = node.app
    try:
        plan = await Waiting.run(app, "Looking at the hub", name, downloads.plan, name)
        if plan is None or not await app.push_screen_wait(DownloadDialog(plan)):
            return None
        if (licence := plan.licence) is not None:
            text = await Waiting.run(
                app, "Fetching the licence", licence.title, downloads.licence_text, licence
            )
            if text is None or not await app.push_screen_wait(LicenceScreen(licence, text)):
                return None
            await asyncio.to_thread(downloads.accept, licence, text)
        return await asyncio.to_thread(downloads.add, plan)
    except CorralError as error:
        fail(node, error)
        return None


class DownloadDialog(ConfirmDialog):
    """Says what a download brings and costs before the first byte of it is fetched."""

    def __init__(self, plan: DownloadPlan) -> None:
        super().__init__("Download?", "", "download")
        self._plan = plan

    def compose(self) -> ComposeResult:
        with Frame(classes="-medium"):
            with Top():
                yield Heading(self._heading)
            yield Static(facts(self._plan), markup=False, classes="text")
            yield Static(
                "It goes on while you chat, can be paused, and resumes after a stop.",
                markup=False,
                classes="muted",
            )
            with Bottom():
                yield Hints([("Enter", self._yes, "agree"), ("Esc", "cancel", "close")])


def facts(plan: DownloadPlan) -> Content:
    """The name, and what it takes, line by line."""
    left = gigabytes(max(0, plan.free - plan.needed))
    licence = plan.licence_name or "none is named"
    if plan.licence is not None:
        licence = f"{plan.licence.title}, shown next"
    lines = {
        "Size": gigabytes(plan.bytes, 2),
        "Disk": f"{gigabytes(plan.free)} free, {left} left after the queue",
        "Licence": shorten(licence, 60),
        "From": shorten(f"{plan.repository} at {plan.revision[:8]}", 60),
        "To": middle_cut(shown_path(str(plan.folder)), 60),
    }
    rows = [Content.assemble((label.ljust(_LABEL), MUTED), text) for label, text in lines.items()]
    if plan.warning:
        rows += [Content(""), Content.styled(f"{shorten(plan.warning, 200)}.", "$warning")]
    title = Content.styled(shorten(plan.title, 60), "bold")
    return Content("\n").join([title, Content(""), *rows])
