"""One download from its first byte to an installed model, and what its row says meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from corral.errors import CorralError, DoesNotFit, Refused, StoreError
from corral.models.downloads.files import (
    bad_of,
    check_free,
    discard,
    install,
    is_whole,
    make_folder,
    part_of,
    room,
)
from corral.models.downloads.licences import Licences, lay_beside
from corral.models.files import Cancellation, status_of
from corral.models.gguf.header import read_header
from corral.models.hub.client import Hub
from corral.models.hub.types import HubError, RemoteFile
from corral.models.transfer.transfer import (
    Control,
    Limit,
    Mismatch,
    Progress,
    Segment,
    SegmentSource,
    Tuning,
    transfer,
)
from corral.placing import put
from corral.settings import DownloadSettings
from corral.store.downloads import WAITING, Download, Target
from corral.store.model_files import ModelFile
from corral.text import shorten

REPORT = 0.5
"""Seconds between two looks at the row and two notes in it."""
TUNING = Tuning(longest_request=60.0)
"""When the hub wants to be left alone for longer, another download has its turn."""
FIRST_WAIT = 15.0
LONGEST_WAIT = 300.0
"""Seconds between two attempts when the network stays away."""


class DownloadStore(Protocol):
    """What downloads need of :class:`corral.store.store.Store`."""

    def download(self, id: int) -> Download | None: ...
    def update_download(self, id: int, *, only: Any = None, **changes: Any) -> bool: ...
    def pieces(self, path: str | Path) -> dict[int, bytes]: ...
    def put_pieces(self, path: str | Path, pieces: Mapping[int, bytes]) -> None: ...
    def drop_pieces(self, path: str | Path, numbers: Iterable[int] | None = None) -> None: ...
    def model_file(self, path: str) -> ModelFile | None: ...


class Installed(Protocol):
    """What downloads need of :class:`corral.models.library.library.Library`."""

    def installed(self, download: Download, path: Path, sha256: str) -> object: ...


class PieceJournal:
    """The pieces of one file, as the transfer wants them."""

    def __init__(self, store: DownloadStore, path: Path) -> None:
        self._store = store
        self._path = path

    def pieces(self) -> dict[int, bytes]:
        return self._store.pieces(self._path)

    def record(self, pieces: Mapping[int, bytes]) -> None:
        self._store.put_pieces(self._path, pieces)

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        self._store.drop_pieces(self._path, numbers)


class Runner:
    """Works on one download at a time; whatever happens ends in its row."""

    def __init__(
        self,
        store: DownloadStore,
        library: Installed,
        licences: Licences,
        hub: Callable[[], Hub],
        folder: Path,
        settings: DownloadSettings,
        clock: Callable[[], float],
        tuning: Tuning,
        note_fault: Callable[[BaseException], object],
    ) -> None:
        self._tuning = tuning
        self._note_fault = note_fault
        self._store = store
        self._library = library
        self._licences = licences
        self._hub = hub
        self._folder = folder
        self._settings = settings
        self._clock = clock

    def run(self, download: Download, control: Control) -> None:
        """Work until it is done, fails, has to wait, or ``control`` or the row says stop.

        Raises:
            StoreError: its row could not be written.
        """
        id = download.id
        started = {"state": "running", "stage": "checking", "note": "", "error": "", "hint": ""}
        if not self._store.update_download(id, only=WAITING, **started):
            self._clear_if_cancelled(download)
            return
        report = _Report(self._store, download, control, self._settings)
        ended: dict[str, Any] = {"rate": 0.0, "eta": None, "stage": "", "note": ""}
        try:
            sha256 = self._fetch(download, control, report)
            self._library.installed(download, download.paths[0], sha256)
            ended |= {"state": "done", "done": download.bytes, "fetched": report.fetched}
            ended |= {"repair": False, "tries": 0}
        except Cancellation:
            self._clear_if_cancelled(download)
            ended |= {"state": "queued"}
        except DoesNotFit as error:
            ended |= {"state": "paused", "error": error.message, "hint": error.hint}
        except (HubError, StoreError) as error:
            if isinstance(error, HubError) and not error.retry:
                ended |= {"state": "failed", "error": error.message, "hint": error.hint}
            else:
                ended |= self._waiting(download, report, error)
        except CorralError as error:
            ended |= {"state": "failed", "error": error.message, "hint": error.hint}
            ended |= {"repair": download.repair or isinstance(error, Mismatch)}
        except Exception as error:
            self._note_fault(error)
            why = getattr(error, "strerror", None) or "corral made a mistake"
            ended |= {"state": "failed", "error": f"It could not be installed: {why}"}
        self._store.update_download(id, only=("running",), **(report.last | ended))

    def _clear_if_cancelled(self, download: Download) -> None:
        """Whoever cancelled it left the files to us, because we held them."""
        if self._store.download(download.id) is None:
            for path in download.paths:
                self._store.drop_pieces(path)  # the last ones were noted after it was cancelled
            discard(download, installed_files(self._store, download))

    def _waiting(self, download: Download, report: _Report, error: CorralError) -> dict[str, Any]:
        """What the row says until the next attempt."""
        tries = 0 if report.came else download.tries + 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 10)) * random.uniform(0.8, 1.2)  # noqa: S311
        if isinstance(error, HubError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        at = self._clock() + wait
        when = time.strftime("%H:%M:%S", time.localtime(at))
        note = f"{error.message}; next attempt at {when}"
        return {
            "state": "queued",
            "stage": "waiting",
            "note": note,
            "hint": error.hint,
            "tries": tries,
            "retry_at": at,
        }

    def _fetch(self, download: Download, control: Control, report: _Report) -> str:
        """Every file, complete, sound and under its own name; the sha256 of the first one."""
        folder = Path(download.folder)
        if download.done and not os.path.lexists(folder):
            # To begin anew would forget what is known about the part that is there.
            raise Refused(
                f"The folder {shorten(str(folder), 160)} is gone, and what has arrived with it",
                hint="Connect the disk it is on, or cancel the download and begin again",
            )
        make_folder(self._folder, folder)
        for path in download.paths:
            check_free(path)
        room(folder, download.targets).check(download.title)
        texts = self._licences.files(download.licence)
        hashes = []
        for path, target in zip(download.paths, download.targets, strict=True):
            hashes.append(self._fetch_file(download, path, target, control, report))
            report.before += target.size
        alone = len(download.targets) == 1
        if alone and part_of(download.paths[0]).exists():
            read_header(part_of(download.paths[0]))
        lay_beside(folder, texts)
        for path in download.paths:
            if part_of(path).exists():
                if path.exists():
                    put(path, bad_of(path))
                install(part_of(path), path)
        if not alone:
            self._check_shards(download.paths)
        return hashes[0]

    def _fetch_file(
        self,
        download: Download,
        path: Path,
        target: Target,
        control: Control,
        report: _Report,
    ) -> str:
        part, journal = part_of(path), PieceJournal(self._store, path)
        if path.exists():
            checked = is_whole(path, target, report.checked, lambda: control.stopped)
            if checked is not None:
                part.unlink(missing_ok=True)
                return checked
        if not part.exists():
            if download.repair and status_of(bad_of(path)):
                put(bad_of(path), part)
            elif path.exists() and journal.pieces():
                put(path, part)  # ours: most of it can be kept
            else:
                # What is at its place is older, or nobody knows what: it stays until the end.
                journal.forget()
        hub = self._hub()
        segments = [
            Segment(
                SegmentSource(
                    hub,
                    RemoteFile(
                        repository=download.repository,
                        revision=download.revision,
                        file=segment.file,
                        size=segment.size,
                        sha256=segment.sha256,
                        etag=segment.sha256 or "",
                    ),
                ),
                segment.size,
                segment.sha256,
            )
            for segment in target.segments
        ]
        try:
            outcome = transfer(
                part,
                segments,
                sha256=target.sha256,
                journal=journal,
                control=control,
                limit=report.limit,
                progress=report,
                connections=self._settings.connections,
                repair=download.repair,
                tuning=self._tuning,
            )
        except Mismatch:
            # Never under a name that can be loaded; resuming repairs it, after a kill here as well.
            self._store.update_download(download.id, repair=True)
            put(part, bad_of(path))
            raise
        report.file_is_done()
        return outcome.sha256

    def _check_shards(self, paths: tuple[Path, ...]) -> None:
        """The shards name each other, so they can be read only under their own names."""
        try:
            read_header(paths[0])
        except CorralError as error:
            for path in paths:
                put(path, bad_of(path))
            raise Refused(error.message, hint=error.hint, title=error.title) from None


class _Report:
    """Takes the transfer's progress to the row, and what others wrote there to the transfer."""

    def __init__(
        self,
        store: DownloadStore,
        download: Download,
        control: Control,
        settings: DownloadSettings,
    ) -> None:
        self._store = store
        self._download = download
        self._control = control
        self._settings = settings
        self.limit = Limit(settings.limit * 1e6)
        self.before = 0
        """Bytes of the files that are complete."""
        self._fetched_before = download.fetched
        self._fetched_now = 0
        self.last: dict[str, Any] = {}
        """What was counted last, whether it is noted in the row or not."""
        self._said: dict[str, Any] = {}
        self._looked = 0.0

    @property
    def fetched(self) -> int:
        return self._fetched_before + self._fetched_now

    @property
    def came(self) -> bool:
        """Whether any byte came over the network."""
        return self.fetched > self._download.fetched

    def __call__(self, progress: Progress) -> None:
        self._fetched_now = progress.fetched
        done = self.before + progress.done
        self.last = {"done": done, "fetched": self.fetched}
        now = time.monotonic()
        if now - self._looked < REPORT:
            return
        self._looked = now
        self.limit.bytes_per_second = self._settings.limit * 1e6
        rest = self._download.bytes - done
        said = self.last | {
            "rate": progress.rate,
            "eta": rest / progress.rate if progress.rate else None,
            "stage": progress.stage,
            "note": progress.note,
        }
        with contextlib.suppress(StoreError):  # The next look says it again.
            self._tell(said)

    def _tell(self, said: dict[str, Any]) -> None:
        if said != self._said:
            mine = self._store.update_download(self._download.id, only=("running",), **said)
        else:
            row = self._store.download(self._download.id)
            mine = row is not None and row.state == "running"
        self._said = said
        if not mine:
            self._control.stop()

    def checked(self, done: int, total: int) -> None:
        """As :class:`Progress` while a file that was there already is hashed."""
        self(Progress(done, total, 0, 0.0, None, 0, "checking"))

    def file_is_done(self) -> None:
        self._fetched_before, self._fetched_now = self.fetched, 0


def installed_files(store: DownloadStore, download: Download) -> list[Path]:
    """Those of its files that the library knows, if they are being repaired."""
    return [p for p in download.paths if download.repair and store.model_file(str(p)) is not None]
