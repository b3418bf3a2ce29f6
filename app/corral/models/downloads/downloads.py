"""Downloads: planned, queued, paused, resumed, repaired; the work itself happens in a thread.

Everything that is known lies in the store's rows, so that any number of corrals can look at and
change one queue. Exactly one of them works on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from corral.errors import NotFound, Refused, UsageError
from corral.models.catalog import Catalog, Licence
from corral.models.downloads import files as on_disk
from corral.models.downloads.files import Leftover, bad_of, part_of
from corral.models.downloads.licences import Licences, LicenceStore, NotAccepted
from corral.models.downloads.plan import DownloadPlan, Planner
from corral.models.downloads.queue import Queue
from corral.models.downloads.runner import (
    TUNING,
    DownloadStore,
    Installed,
    Runner,
    installed_files,
)
from corral.models.files import absolute
from corral.models.hub.client import Hub
from corral.models.transfer.pieces import PIECE
from corral.models.transfer.transfer import Tuning
from corral.placing import put
from corral.settings import DownloadSettings
from corral.store.downloads import WAITING, Download, State
from corral.text import shorten

__all__ = ["Download", "DownloadPlan", "Downloads", "Leftover", "NotAccepted"]

_IDLE = {"rate": 0.0, "eta": None, "stage": "", "note": "", "error": "", "hint": ""}


class Rows(DownloadStore, LicenceStore, Protocol):
    """What downloads need of :class:`corral.store.store.Store`."""

    def downloads(self) -> list[Download]: ...
    def next_download(self, now: float, folder: Path) -> Download | None: ...
    def requeue_downloads(self, folder: Path) -> None: ...
    def add_download(self, new: Download) -> Download: ...
    def remove_download(self, id: int) -> bool: ...
    def move_download(self, id: int, step: int) -> None: ...


class Downloads:
    """The queue of downloads. Every method may be called from any thread.

    Args:
        hub: gives the client of the hub; not called before there is something to fetch.
        folder: where models go, ``<owner>--<repository>/<file>``.
        settings: looked at again while a download runs: the limit holds at once.
        note_fault: told of faults of our own, which a row can only call a mistake.
    """

    def __init__(
        self,
        store: Rows,
        catalog: Catalog,
        library: Installed,
        hub: Callable[[], Hub],
        folder: Path,
        settings: DownloadSettings,
        *,
        clock: Callable[[], float] = time.time,
        tuning: Tuning = TUNING,
        note_fault: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.folder = absolute(folder)
        self._store = store
        self._hub = hub
        self._clock = clock
        self._licences = Licences(store, catalog, hub)
        self._planner = Planner(store, catalog, self._licences, hub, self.folder)
        runner = Runner(
            store,
            library,
            self._licences,
            hub,
            self.folder,
            settings,
            clock,
            tuning,
            note_fault,
        )
        self._queue = Queue(
            store,
            self.folder,
            begin=self._forget_removed,
            may_run=lambda: not hub().offline,
            run=runner.run,
            refuse=self._cannot_begin,
            clock=clock,
            note_fault=note_fault,
        )

    # --- what could be fetched ---

    def plan(self, name: str) -> DownloadPlan:
        """What fetching a model would take. Asks the hub, fetches no byte of the weights.

        Args:
            name: a name of the catalogue with or without quantization, ``owner/repository``,
                ``owner/repository:QUANT`` or ``owner/repository/file.gguf``.

        Raises:
            NotFound, UsageError: there is none, or several; the hint names some.
            Refused: not for download, changed upstream, without a hash, or not a usable model.
            DoesNotFit: the disk is too small, with what the queue has reserved.
            HubError: the hub cannot be asked.
        """
        return self._planner.plan(name)

    def licence_text(self, licence: Licence) -> str:
        """All that has to be read before it is accepted. Foreign text: clean it to show it.

        Raises:
            HubError, NotFound, Refused: it cannot be fetched.
        """
        return self._licences.text(licence)

    def accept(self, licence: Licence, text: str) -> None:
        """Remember that the person agreed to ``text``, with date and hash."""
        self._licences.accept(licence, text)

    def accepted(self, licence: Licence) -> bool:
        return self._licences.accepted(licence)

    # --- the queue ---

    def all(self, *, done: bool = False) -> list[Download]:
        """The queue in its order.

        Args:
            done: also those that are complete.
        """
        return [self._seen(d) for d in self._store.downloads() if done or d.state != "done"]

    def get(self, id: int) -> Download:
        """One download, also when it is done.

        Raises:
            NotFound: it was cancelled.
        """
        if (found := self._store.download(id)) is None:
            raise NotFound("There is no such download", hint="It was cancelled, or never begun")
        return self._seen(found)

    def _seen(self, download: Download) -> Download:
        """A download as this corral sees it: without its folder or a network it waits here."""
        if download.state not in WAITING:
            return download
        if why := self._hub().offline:
            if download.state == "running" and self._queue.is_elsewhere():
                return download
            note = f"It waits, because corral is offline: {why}"
        elif download.state == "queued" and not self._is_below(download):
            note = f"It waits until models go to {shorten(download.folder, 160)} again"
        else:
            return download
        return replace(download, state="queued", stage="waiting", note=note, rate=0.0, eta=None)

    def add(self, plan: DownloadPlan) -> Download:
        """Append a model to the queue. The same file twice is one download, which goes on.

        Raises:
            NotAccepted: its licence has to be accepted first.
        """
        self._licences.check(plan.licence_name, plan.title)
        new = Download(
            id=0,
            name=plan.name,
            title=plan.title,
            family=plan.family,
            quant=plan.quant,
            repository=plan.repository,
            revision=plan.revision,
            licence=plan.licence_name,
            folder=str(plan.folder),
            targets=plan.targets,
            bytes=plan.bytes,
        )
        found = self._store.add_download(new)
        if found.targets != plan.targets:
            # The same name for other contents: what came of the old ones is of no use.
            if found.state == "done":
                self._store.remove_download(found.id)
            else:
                self.cancel(found.id)
            found = self._store.add_download(new)
        known = self._store.model_file(str(found.paths[0])) is not None
        if found.state == "done" and not (plan.here and known):
            self._store.update_download(found.id, only=("done",), state="queued", done=0, **_IDLE)
        elif found.state in ("paused", "failed"):
            self.resume(found.id)
        self._queue.wake()
        return self.get(found.id)

    def pause(self, id: int) -> None:
        """Stop a download; what has arrived stays. Harmless when it is not under way."""
        self._store.update_download(id, only=WAITING, state="paused", **_IDLE)
        self._queue.interrupt(id)

    def resume(self, id: int) -> None:
        """Go on with a download that is paused, failed or waits for the network."""
        states: Sequence[State] = ("queued", "paused", "failed")
        again = {"state": "queued", "tries": 0, "retry_at": 0.0}
        self._store.update_download(id, only=states, **(_IDLE | again))
        self._queue.wake()

    def cancel(self, id: int) -> None:
        """Forget a download and remove what has arrived; harmless when it is done or gone.

        A model that was being repaired goes back to where it was, damaged as it is.
        """
        download = self._store.download(id)
        if download is None or download.state == "done":
            return
        installed = installed_files(self._store, download)
        self._store.remove_download(id)
        # Whoever works on it finds that the row is gone, and removes the files.
        if not self._queue.interrupt(id) and not (
            download.state == "running" and self._queue.is_elsewhere()
        ):
            on_disk.discard(download, installed)

    def move(self, id: int, step: int) -> None:
        """Move a download so many places down the queue; up if ``step`` is negative."""
        self._store.move_download(id, step)

    # --- files ---

    def repair(self, path: Path, numbers: Iterable[int]) -> Download:
        """Fetch damaged pieces of an installed file again; until then it cannot be loaded.

        Nothing is copied: the file becomes the incomplete download that it was before.

        Args:
            numbers: of the damaged pieces, as
                :func:`corral.models.transfer.pieces.damaged` gives them.

        Raises:
            NotFound: it is not a file that was downloaded.
            UsageError: it is being downloaded already.
            Refused: the file cannot be renamed.
        """
        path = absolute(path)
        found = next((d for d in self._store.downloads() if path in d.paths), None)
        if found is None:
            raise NotFound(
                f"Where “{shorten(path.name, 80)}” came from is not known",
                hint="Only models that corral downloaded can be repaired",
            )
        if not self._is_below(found):
            raise Refused(
                f"“{shorten(path.name, 80)}” is not in the folder that downloads go to now",
                hint="Set “folder” under [downloads] back to where it lies",
            )
        damaged = list(numbers)
        missing = min(found.bytes, len(damaged) * PIECE)
        # Paused until its file is in place: a kill in between costs nothing.
        begun = {"state": "paused", "done": found.bytes - missing, "fetched": 0, "repair": True}
        if not self._store.update_download(found.id, only=("done",), **(_IDLE | begun)):
            raise UsageError(f"{found.title} is being downloaded already")
        try:
            put(path, part_of(path))
            self._store.drop_pieces(path, damaged)
        except OSError as error:
            done = {"state": "done", "done": found.bytes, "repair": False}
            self._store.update_download(found.id, **done)
            raise Refused(
                f"“{shorten(path.name, 80)}” cannot be repaired: {error.strerror}",
                hint="Look at the permissions of its folder",
            ) from None
        self.resume(found.id)
        return self.get(found.id)

    def leftovers(self) -> list[Leftover]:
        """Incomplete and refused files below the folder that no download continues."""
        return on_disk.leftovers(self.folder, self.all())

    def clean(self, paths: Iterable[Path]) -> int:
        """Remove leftovers; anything else is left alone. Gives the bytes that were freed."""
        wanted, freed = {absolute(path) for path in paths}, 0
        for leftover in self.leftovers():
            if leftover.path in wanted:
                try:
                    leftover.path.unlink()
                except OSError:
                    continue
                freed += leftover.bytes
        return freed

    # --- the thread ---

    def start(self) -> None:
        """Work on the queue, if no other corral does; what ran when corral ended goes on."""
        self._queue.start()

    def close(self) -> None:
        """Stop at once, in less than half a second; parts stay and go on at the next start."""
        self._queue.close()

    def _forget_removed(self) -> None:
        """Rows that are only kept to repair their files go with the files."""
        for download in self._store.downloads():
            places = [p for path in download.paths for p in (path, part_of(path), bad_of(path))]
            # Else its disk may only be away.
            here = self._is_below(download) and os.path.lexists(Path(download.folder).parent)
            if download.state == "done" and here and not any(map(os.path.lexists, places)):
                self._store.remove_download(download.id)

    def _is_below(self, download: Download) -> bool:
        return Path(download.folder).is_relative_to(self.folder)

    def _cannot_begin(self, download: Download, error: OSError) -> None:
        folder = shorten(str(self.folder), 160)
        self._store.update_download(
            download.id,
            only=WAITING,
            state="failed",
            error=f"The folder {folder} cannot be used: {error.strerror}",
            hint="Look at its permissions, or set another folder under [downloads]",
        )
