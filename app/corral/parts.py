"""Builds the parts of the program and hands them on: no part looks for another one itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from corral import settings as settings_file
from corral.chatting import Chatting
from corral.engine.engine import Engine
from corral.errors import CorralError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library import Library
from corral.paths import Paths
from corral.settings import Settings
from corral.store.store import Store


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
    notices: list[str] = field(default_factory=list)
    """Plain sentences about what was found at the start: a broken setting, a mended history."""
    disk: Store | None = None
    """Where models are kept, when conversations are not kept there."""

    async def close(self) -> None:
        await self.engine.close()
        self.close_stores()

    def close_stores(self) -> None:
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
    disk = Store.open(paths.database)
    library = Library(disk, Catalog.load(find_catalogue()))
    engine = Engine(paths.engine_log)
    store = disk if save else Store.open(None)
    chatting = Chatting(store, library, engine, settings)
    notices += disk.notices
    return Parts(paths, settings, store, library, engine, chatting, notices, disk)


def absolute(path: str) -> Path:
    """A path a person typed: ``~`` expanded, made absolute, links left alone."""
    return Path(path).expanduser().absolute()
