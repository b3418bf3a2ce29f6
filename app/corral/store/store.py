"""The history: conversations, messages, model files, downloads and memos in one SQLite file.

Every method is one transaction and may be called from any thread. When a method that writes
returns, what it wrote survives a power cut; when it raises, nothing was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from corral.store.branches import Branches
from corral.store.conversations import Conversations
from corral.store.downloads import Downloads
from corral.store.filing import Filing
from corral.store.licences import Licences
from corral.store.memo import Memo
from corral.store.messages import Messages
from corral.store.model_files import ModelFiles
from corral.store.moving import Moving
from corral.store.opening import close_database, open_database
from corral.store.prompts import Prompts
from corral.store.search import Search
from corral.store.texts import Texts
from corral.store.votes import Votes

PATIENCE = 5.0
"""Seconds to wait while another program writes."""


class Store(
    Conversations,
    Messages,
    Branches,
    Texts,
    Search,
    Filing,
    Prompts,
    ModelFiles,
    Downloads,
    Licences,
    Memo,
    Votes,
    Moving,
):
    @classmethod
    def open(
        cls,
        path: Path | None,
        clock: Callable[[], float] = time.time,
        *,
        patience: float = PATIENCE,
    ) -> Store:
        """Open the history and mark answers of processes that are gone as stopped.

        Args:
            path: the file; None keeps everything in memory.
            clock: gives the seconds since the epoch.
            patience: seconds to wait while another program writes.

        Raises:
            StoreError: the history cannot be used; the message says why.
        """
        database, notices = open_database(path, clock=clock, patience=patience)
        store = cls(database, clock)
        store.notices += notices
        try:
            store.recover()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the history; harmless when closed already."""
        close_database(self._database)
