"""What the keys of the models screen do: choose, download, pause, import, verify, remove."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work

from corral.errors import CorralError
from corral.text import shorten
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.importing import HOWS, How, ImportScreen, PathDialog
from corral.tui.screens.modal import Modal, Notice
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.starting import start_download
from corral.tui.screens.models.table import Table
from corral.tui.screens.models.words import format_choices, what_goes
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.downloads.downloads import Downloads
    from corral.models.fit.fitter import Fitter
    from corral.models.hub.client import Hub
    from corral.models.library.library import Library
    from corral.models.library.local import LocalModel
    from corral.models.library.verifying import Verdict
    from corral.store.downloads import Download

FORMAT_HINT = "The one the model was trained on. With another one it answers, but poorly."


class ModelDeeds(Modal["LocalModel | None"]):
    """The actions of :class:`corral.tui.screens.models.screen.ModelsScreen`."""

    CSS_PATH: ClassVar[list[Any]] = [  # type: ignore[assignment]
        Modal.CSS_PATH,
        Path(__file__).with_name("models.tcss"),
    ]

    def __init__(
        self, library: Library, downloads: Downloads, hub: Callable[[], Hub], fitter: Fitter
    ) -> None:
        super().__init__()
        self.library = library
        self.downloads = downloads
        self.fitter = fitter
        self._hub = hub
        self._told = ""
        """Key of the entry that the notice is about."""
        self._typed_path = "~/"
        self._check: Check | None = None

    if TYPE_CHECKING:  # What the screen itself brings.

        @property
        def selected(self) -> Entry | None: ...

        def reload(self, select: str | None = None) -> Any: ...

        def follow(self, downloads: Sequence[Download]) -> None: ...

    def tell(self, text: str, *, error: bool = False) -> None:
        """One sentence below the table; nothing where the screen was left meanwhile."""
        if self.is_open:
            self.query_one(Notice).say(text, error=error)

    def fail(self, error: CorralError) -> None:
        if self.is_open:
            self.query_one(Notice).fail(error)

    async def ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """A slow call in a thread; None, and a sentence on the screen, where it fails."""
        try:
            return await asyncio.to_thread(call, *arguments)
        except CorralError as error:
            self.fail(error)
            return None

    def free_on_disk(self) -> int:
        """Bytes that are free where downloads go."""
        folder = self.downloads.folder
        place = next((place for place in (folder, *folder.parents) if place.is_dir()), folder)
        try:
            return shutil.disk_usage(place).free
        except OSError:
            return 0

    # --- choosing ---------------------------------------------------------------------------------

    @on(Table.Chosen)
    @work(exclusive=True, group="deed")
    async def action_choose(self) -> None:
        """What Enter means here: take it, fetch it, or go on fetching it."""
        entry = self.selected
        if entry is None:
            return
        model, download = entry.model, entry.download
        if download is not None:
            if download.state in ("paused", "failed"):
                await self._command(self.downloads.resume, download.id)
            else:
                self.tell("It is on its way. You can go on chatting meanwhile: Esc.")
        elif model.state == "installed":
            await self._take_model(model)
        elif model.state == "available":
            await self.get(model.name)
        elif model.state == "damaged":
            self.tell("It is damaged. v finds out where, Del removes it.", error=True)
        else:
            self.tell("Its file is gone. Put it back, or press Del.", error=True)

    async def _take_model(self, model: LocalModel) -> None:
        if model.format is None:
            changed = await self._give_format(model)
            if changed is None:
                return
            model = changed
        self.dismiss(model)

    async def get(self, name: str) -> None:
        """Start a download, after everything that is to be asked was asked."""
        if (download := await start_download(self, self.downloads, name)) is not None:
            self.reload(download.name)

    @work(exclusive=True, group="deed")
    async def action_set_format(self) -> None:
        entry = self.selected
        if entry is not None and entry.model.state == "installed":
            await self._give_format(entry.model)

    async def _give_format(self, model: LocalModel) -> LocalModel | None:
        dialog = ChoiceDialog("Prompt format", format_choices(), FORMAT_HINT, selected=model.format)
        format = await self.app.push_screen_wait(dialog)
        if format is None or model.path is None:
            return None
        changed: LocalModel | None = await self.ask(self.library.set_format, model.path, format)
        if changed is not None:
            self.reload(model.path)
        return changed

    # --- downloads --------------------------------------------------------------------------------

    async def _command(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Tell the queue something, and look at once what came of it."""
        try:
            await asyncio.to_thread(call, *arguments)
        except CorralError as error:
            self.fail(error)
            return
        if (downloads := await self.ask(self.downloads.all)) is not None:
            self.follow(downloads)

    @work(exclusive=True, group="deed")
    async def action_pause(self) -> None:
        entry = self.selected
        if entry is None or entry.download is None:
            return
        going = entry.download.state in ("running", "queued")
        call = self.downloads.pause if going else self.downloads.resume
        await self._command(call, entry.download.id)

    @work(exclusive=True, group="deed")
    async def action_cancel(self) -> None:
        entry = self.selected
        if entry is None:
            return
        if entry.verifying is not None and self._check is not None:
            self._check.cancelled.set()
            return
        download = entry.download
        if download is None:
            return
        here = f"{gigabytes(download.done, 2)} of {gigabytes(download.bytes, 2)}"
        text = f"{shorten(download.title or download.name, 80)}\n\n"
        text += f"What has come so far is deleted: {here}. To keep it, pause instead (space)."
        if not download.done or await self.app.push_screen_wait(
            ConfirmDialog("Cancel this download?", text, "delete it")
        ):
            await self._command(self.downloads.cancel, download.id)

    @work(exclusive=True, group="deed")
    async def action_forward(self, step: int) -> None:
        """Move a download in the queue, -1 sooner."""
        entry = self.selected
        if entry is not None and entry.download is not None:
            await self._command(self.downloads.move, entry.download.id, step)
            self.tell("Moved forward in the queue" if step < 0 else "Moved back in the queue")

    # --- verifying --------------------------------------------------------------------------------

    def verified_share(self, entry: Entry) -> float | None:
        """How far the check of this model is; None where there is none."""
        check = self._check
        return check.share if check is not None and check.key == entry.key else None

    @work(exclusive=True, group="verify")
    async def action_verify(self) -> None:
        """Read the whole file and compare it with what it should be."""
        entry = self.selected
        if entry is None or entry.model.state not in ("installed", "damaged"):
            return
        if self._check is not None:
            self._check.cancelled.set()
        check = self._check = Check(entry.key)
        try:
            verdict = await asyncio.to_thread(
                self.library.verify, entry.model, check.on_progress, check.cancelled.is_set
            )
        except CorralError as error:
            if check.cancelled.is_set():
                self.tell("The check was cancelled; nothing is known that was not known before.")
            else:
                self.fail(error)
            return
        finally:
            # Also when this screen goes away: the thread must not outlive it.
            check.cancelled.set()
            if self._check is check:
                self._check = None
        self.reload()
        await self._judge(entry.model, verdict)

    async def _judge(self, model: LocalModel, verdict: Verdict) -> None:
        """Say what a check found, and offer what mends it."""
        name = shorten(model.name, 60)
        if verdict.ok:
            self.tell(f"✓ {name} is sound: sha256 {verdict.sha256[:12]}…")
            return
        pieces = len(verdict.damaged_pieces)
        if not pieces:
            again = "Remove it (Del) and get it again."
            self.tell(f"{name}: {shorten(verdict.reason, 200)}. {again}", error=True)
            return
        what = "One piece" if pieces == 1 else f"{pieces} pieces"
        text = (
            f"{name}: {shorten(verdict.reason, 200)}.\n\n{what} of 8 MB can be fetched again; "
            "the rest stays. Until then the model cannot be used."
        )
        if await self.app.push_screen_wait(ConfirmDialog("Repair it?", text, "repair")):
            await self._command(self.downloads.repair, verdict.path, verdict.damaged_pieces)
            self.reload(model.name)

    # --- other files ------------------------------------------------------------------------------

    @work(exclusive=True, group="deed")
    async def action_remove(self) -> None:
        entry = self.selected
        if entry is None or (entry.model.state == "available" and entry.download is None):
            return
        if entry.download is not None:
            self.action_cancel()
            return
        removal = await self.ask(self.library.removal, entry.model)
        if removal is None:
            return
        question = ConfirmDialog("Remove it?", what_goes(entry.model, removal), "remove")
        if await self.app.push_screen_wait(question):
            await self.ask(self.library.remove, entry.model)
            self.reload()

    @work(exclusive=True, group="deed")
    async def action_import_file(self) -> None:
        typed = await self.app.push_screen_wait(PathDialog(self._typed_path))
        if typed is None:
            return
        self._typed_path = typed
        how = await self.app.push_screen_wait(
            ChoiceDialog("How should it come in?", HOWS, selected="in place")
        )
        if how is None:
            return
        outcome = await self.app.push_screen_wait(
            ImportScreen(self.library, typed, how=cast("How", how))
        )
        if outcome is None:
            self.tell("The import was cancelled; nothing was added.")
        elif isinstance(outcome, CorralError):
            self.fail(outcome)
        else:
            self._typed_path = "~/"
            self.reload(outcome.path)
            if outcome.format is None:
                await self._give_format(outcome)

    @work(exclusive=True, group="deed")
    async def action_adopt(self) -> None:
        from corral.tui.screens.models.adopting import AdoptScreen

        adopted = await self.app.push_screen_wait(AdoptScreen(self.library))
        if adopted:
            self.reload(adopted[-1].path)
            names = "1 model" if len(adopted) == 1 else f"{len(adopted)} models"
            self.tell(f"✓ {names} adopted, where they lie; nothing was copied.")

    @work(exclusive=True, group="deed")
    async def action_clean_up(self) -> None:
        from corral.tui.screens.models.cleaning import CleanScreen

        screen = CleanScreen(self.library, self.downloads, getattr(self.app, "kept", None))
        if (told := await self.app.push_screen_wait(screen)) is not None:
            self.reload()
            self.tell(f"✓ {told}")

    @work(exclusive=True, group="deed")
    async def action_search_hub(self) -> None:
        from corral.tui.screens.models.hub_search import HubSearchScreen

        screen = HubSearchScreen(self._hub, self.fitter)
        if (name := await self.app.push_screen_wait(screen)) is not None:
            await self.get(name)

    def action_details(self) -> None:
        from corral.tui.screens.models.details import DetailsScreen

        if (entry := self.selected) is not None:
            self.app.push_screen(DetailsScreen(self.library, entry))


class Check:
    """One verification that runs in a thread."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.cancelled = threading.Event()
        self.share = 0.0

    def on_progress(self, done: int, total: int) -> None:
        """Called in the thread; the screen's timer looks at it."""
        self.share = done / max(1, total)
