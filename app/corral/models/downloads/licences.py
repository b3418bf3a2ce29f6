"""The licence gate: a text is shown and accepted once, and lies beside the weights ever after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from corral.errors import CorralError, NotFound, Refused
from corral.models.catalog import Catalog, Licence
from corral.placing import put

if TYPE_CHECKING:
    from corral.models.hub.client import Hub
    from corral.store.licences import Accepted

NOTICE = "Notice"
"""The name of the file that some licences want beside every copy."""
NOTICES = {
    "llama2": "Llama 2 is licensed under the LLAMA 2 Community License, "
    "Copyright (c) Meta Platforms, Inc. All Rights Reserved.\n"
}
"""What they want in it, by the name of the licence."""


class LicenceStore(Protocol):
    """What the gate needs of :class:`corral.store.store.Store`."""

    def licence(self, name: str) -> Accepted | None: ...
    def accept_licence(self, name: str, title: str, text: str) -> None: ...


class NotAccepted(Refused):
    title = "Licence not accepted"


class Licences:
    """The licences of the catalogue, and what the person has said about them."""

    def __init__(self, store: LicenceStore, catalog: Catalog, hub: Callable[[], Hub]) -> None:
        self._store = store
        self._catalog = catalog
        self._hub = hub
        self._fetched: dict[str, dict[str, bytes]] = {}

    def open_question(self, name: str | None) -> Licence | None:
        """The licence that has to be accepted before anything under it is downloaded, or None.

        Raises:
            Refused: the licence does not allow that corral downloads it.
        """
        licence = self._catalog.licence(name) if name else None
        if licence and not licence.download:
            raise Refused(
                f"corral downloads nothing under “{licence.title}”",
                title="Not offered for download",
                hint="A file that you have may be used: “corral models import FILE”",
            )
        return licence if licence and licence.accept and not self.accepted(licence) else None

    def check(self, name: str | None, title: str) -> None:
        """Refuse what may not be downloaded yet.

        Raises:
            NotAccepted: the licence of ``title`` is not accepted.
            Refused: as :meth:`open_question`.
        """
        if licence := self.open_question(name):
            raise NotAccepted(
                f"{title} is under the {licence.title}, which you have not accepted",
                hint=f"Read it and accept it, on the command line with"
                f" “--accept-licence {licence.name}”",
            )

    def text(self, licence: Licence) -> str:
        """All of its texts, one after the other; what was accepted where it was. Foreign text.

        Raises:
            HubError, NotFound, Refused: it cannot be fetched.
        """
        if accepted := self._store.licence(licence.name):
            return accepted.text
        files = self.files(licence.name)
        return "\n\n".join(
            f"{name}\n{'=' * len(name)}\n\n{content.decode('utf-8', 'replace').strip()}\n"
            for name, content in files.items()
        )

    def accept(self, licence: Licence, text: str) -> None:
        """Remember that the person has read ``text`` and agreed."""
        self._store.accept_licence(licence.name, licence.title, text)

    def accepted(self, licence: Licence) -> bool:
        return self._store.licence(licence.name) is not None

    def files(self, name: str | None) -> dict[str, bytes]:
        """The texts to lay beside the weights, by file name; empty where there are none.

        Raises:
            HubError, NotFound, Refused: they cannot be fetched.
        """
        licence = self._catalog.licence(name) if name else None
        if licence is None or not licence.files:
            return {}
        if licence.name not in self._fetched:
            notice = NOTICES.get(licence.name)
            files: dict[str, bytes] = {}
            for file in licence.files:
                try:
                    files[file] = self._hub().text(licence.repository, licence.revision, file)
                except NotFound:
                    # The licence itself must be there; a notice we can write.
                    if file != NOTICE or notice is None:
                        raise
            if notice:
                files.setdefault(NOTICE, notice.encode())
            self._fetched[licence.name] = files
        return self._fetched[licence.name]


def lay_beside(folder: Path, files: dict[str, bytes]) -> None:
    """Write texts into the folder of the weights; those that lie there stay.

    Raises:
        CorralError: the folder cannot be written to.
    """
    for name, content in files.items():
        path = folder / name
        fresh = path.with_name(f"{path.name}.part")
        try:
            if not path.exists():
                fresh.unlink(missing_ok=True)  # never through a link, never half of it
                fresh.write_bytes(content)
                put(fresh, path)
        except OSError as error:
            raise CorralError(
                f"The licence cannot be laid beside the model: {error.strerror}",
                hint="Look at the permissions of the folder and the room on the disk",
            ) from None
