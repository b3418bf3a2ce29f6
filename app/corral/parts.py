"""Builds the parts of the program and hands them on: no part looks for another one itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from corral import settings as settings_file
from corral import trouble
from corral.chatting import Chatting
from corral.engine.engine import Engine
from corral.engine.packs.choosing import Chooser
from corral.engine.packs.probing import Prober
from corral.engine.packs.shelf import Shelf as PackShelf
from corral.engine.process import worker_command
from corral.engine.protocol import Device, Ready, States
from corral.engine.states.shelf import Shelf
from corral.errors import CorralError, StoreError
from corral.kept import KeptPrompts
from corral.loading.loader import machine_with
from corral.models import catalog as catalogue
from corral.models.catalog import Catalog, CatalogError
from corral.models.downloads.downloads import Downloads
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.hub.client import Hub
from corral.models.library.library import Library
from corral.paths import Paths
from corral.presets import Presets
from corral.settings import Settings
from corral.store.store import Store

MEASURED_WITH = "speed:engine"
"""In the memo: the engine that what is known of the machine's speed was measured with."""

OFFLINE = "CORRAL_OFFLINE"
"""Set in the environment, no socket is opened."""


@dataclass(slots=True)
class Parts:
    """Everything a screen or a command needs."""

    paths: Paths
    settings: Settings
    store: Store
    """Where conversations are kept."""
    library: Library
    engine: Engine
    chatting: Chatting
    hub: Callable[[], Hub]
    """The client of the hub, made when it is first asked for."""
    downloads: Downloads
    """The queue; nothing is fetched before it is started."""
    fitter: Fitter
    notices: list[str] = field(default_factory=list)
    """Plain sentences about what was found at the start: a broken setting, a mended history."""
    disk: Store | None = None
    """Where models are kept, when conversations are not kept there."""
    devices: Sequence[Device] = ()
    """What the engine computes on, as far as it was asked."""
    states: Shelf | None = None
    """Evaluated prompts on disk; None where conversations are not kept either."""

    def machine(self) -> Machine:
        """What this machine has at the moment; may be called in any thread."""
        return machine_with(self.devices, self.engine.held())

    def keep_engine_settings(self) -> None:
        """Let the settings hold that were changed: how long models stay, and what of them."""
        wanted = self.settings.engine
        self.engine.keep_warm = wanted.keep_warm
        self.engine.idle_after(60 * wanted.idle_minutes)
        self.engine.change_pack(wanted.pack)
        if self.states is not None and self.disk is not None:
            self.engine.states = states_in(self.states, self.disk, wanted.kv_disk)

    async def calibrate(self) -> None:
        """Ask the engine for its devices, and measure once how fast they compute with it.

        Raises:
            EngineError: the engine cannot be started, or could not measure it.
        """
        self.devices = await self.engine.devices()
        build = build_of(await self.engine.ready(), self.devices)
        if not await asyncio.to_thread(self._calibrated, build):
            probed = await self.engine.probe()
            await asyncio.to_thread(self.fitter.calibrate, probed)
            await asyncio.to_thread(self._remember_build, build)

    def _calibrated(self, build: str) -> bool:
        """Whether what is known of the speed was measured with this engine."""
        if not self.fitter.calibrated:
            return False
        try:
            known = self._memo.recall(MEASURED_WITH)
        except StoreError:
            return True
        if known is None:  # From before there was a choice of engines.
            self._remember_build(build)
        return known in (None, build)

    def _remember_build(self, build: str) -> None:
        with contextlib.suppress(StoreError):
            self._memo.remember(MEASURED_WITH, build)

    @property
    def _memo(self) -> Store:
        return self.disk or self.store

    async def close(self) -> None:
        await self.engine.close()
        self.close_stores()

    def close_stores(self) -> None:
        self.downloads.close()
        self.store.close()
        if self.disk is not None:
            self.disk.close()


def build(paths: Paths, *, save: bool = True) -> Parts:
    """All parts on the folders of ``paths``.

    Args:
        save: keep conversations on disk; False keeps them in memory and forgets them.

    Raises:
        CorralError: a folder cannot be used, or the history is from a newer version.
    """
    os.umask(0o077)
    try:
        paths.make()
    except OSError as error:
        raise CorralError(
            f"The folder {error.filename} cannot be used: {error.strerror}",
            title="No place to work",
            hint="Set CORRAL_HOME to a folder you may write to.",
        ) from None
    settings, notices = settings_file.load(paths.settings_file)
    catalog = _catalog(paths, notices)
    disk = Store.open(paths.database)
    folder = Path(settings.downloads.folder or paths.data / "models").expanduser()
    library = Library(disk, catalog, folder=folder)
    shelf = Shelf(paths.cache / "kv") if save else None
    if shelf is not None and settings.engine.kv_disk == 0:
        shelf.clear()  # What was kept before is not wanted any more.
    engine = Engine(
        paths.engine_log,
        states=states_in(shelf, disk, settings.engine.kv_disk) if shelf else None,
        keep_warm=settings.engine.keep_warm,
        idle_seconds=60 * settings.engine.idle_minutes,
        packs=packs_in(paths, settings),
    )
    store = disk if save else Store.open(None)
    hub = cache(lambda: Hub(paths.cache, offline=os.environ.get(OFFLINE, "") not in ("", "0")))
    fitter = Fitter(catalog, disk, machine=lambda: parts.machine())
    parts = Parts(
        paths,
        settings,
        store,
        library,
        engine,
        Chatting(store, library, engine, settings, fitter=fitter, memo=disk),
        hub,
        Downloads(
            disk,
            catalog,
            library,
            hub,
            folder,
            settings.downloads,
            note_fault=partial(trouble.write_down, paths.app_log),
        ),
        fitter,
        notices + disk.notices,
        disk,
        states=shelf,
    )
    parts.chatting.planner.presets = Presets(paths.presets)
    return parts


def packs_in(paths: Paths, settings: Settings) -> Chooser:
    """Chooses among the engines of these folders."""
    prober = Prober(paths.engine_log, worker_command, os.environ)
    return Chooser(PackShelf(paths.engines), paths.engine_notes, prober, settings.engine.pack)


def build_of(ready: Ready, devices: Sequence[Device]) -> str:
    """Names an engine by what its speed depends on."""
    parts = [ready.binding, ready.commit, ready.system_info, *(device.name for device in devices)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def states_in(shelf: Shelf, disk: Store, gigabytes: float) -> States:
    """Where the engine keeps evaluated prompts, and how much of them.

    Args:
        gigabytes: as in the settings; below 0 it follows the disk, as free as without them.
    """
    free = 0
    if gigabytes < 0:
        free = shutil.disk_usage(shelf.folder.parent).free + shelf.total()
    limit = KeptPrompts(shelf, disk).limit(gigabytes, free)
    return States(folder=str(shelf.folder), limit=limit)


def _catalog(paths: Paths, notices: list[str]) -> Catalog:
    """The catalogue with the person's own families; a fault in those stops nothing."""
    found = catalogue.find_catalogue()
    try:
        return Catalog.load(found, paths.config / catalogue.NAME)
    except CatalogError as error:
        notices.append(f"Your own catalogue is left out: {error.message}")
        return Catalog.load(found)


def absolute(path: str) -> Path:
    """A path a person typed: ``~`` expanded, made absolute, links left alone."""
    found = Path(path)
    with contextlib.suppress(RuntimeError):  # ~nobody
        found = found.expanduser()
    return found.absolute()
