"""Taking a model off this machine: what goes and what stays is known before anything happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from corral.errors import CorralError, UsageError
from corral.models.files import real, status_of
from corral.models.library import shards
from corral.models.library.local import LocalModel
from corral.models.library.names import full_name
from corral.models.library.shelf import IMPORTED, Shelf, path_of
from corral.placing import hint
from corral.store.model_files import ModelFile
from corral.text import shorten
from corral.units import gigabytes


@dataclass(frozen=True, slots=True)
class Removal:
    """What removing a model would do."""

    deletes: list[Path]
    keeps: list[Path]
    bytes: int
    """That become free on the disk."""
    conversations: int
    """How many go on with this model; they stay."""
    sentence: str
    """All of that for a person, without full stop."""


class Removing(Shelf):
    def removal(self, model: LocalModel) -> Removal:
        """What :meth:`remove` would do.

        Raises:
            NotFound: it is not on this machine.
        """
        path, row = path_of(model), self._row_of(model)
        places = [p for p in shards.places_of(row) if status_of(p)] if row else [path]
        ours = row is not None and self._is_ours(row)
        deletes = places + self._texts(places) if ours else []
        freed = sum(
            status.st_size
            for place in deletes
            if (status := status_of(place)) and status.st_nlink <= 1 and not place.is_symlink()
        )
        names = {model.name, model.path or "", *_family_name(model)}
        conversations = self._store.conversations_with(names)
        sentence = self._sentence(model, freed, bool(places), ours=ours)
        if conversations == 1:
            sentence += "; 1 conversation uses it and stays"
        elif conversations:
            sentence += f"; {conversations} conversations use it and stay"
        keeps = [] if ours else places
        return Removal(deletes, keeps, freed, conversations, sentence)

    def _sentence(self, model: LocalModel, freed: int, here: bool, *, ours: bool) -> str:
        if model.source == "starter":
            return f"It belongs to the package {_package(model)} and goes with it"
        if not here:
            return "Its file is gone already, and it is only forgotten"
        if not ours:
            return "Its file stays where it is, and corral only forgets it"
        if not freed:
            return "It is deleted, which frees nothing: its file has another name elsewhere"
        return f"It is deleted from the disk, which frees {gigabytes(freed, 2)}"

    def remove(self, model: LocalModel) -> None:
        """Removes a model as :meth:`removal` says. Conversations stay as they are.

        Raises:
            NotFound: it is not on this machine.
            UsageError: it belongs to a package, was never taken in, or is being downloaded.
            CorralError: a file cannot be deleted; then the model is still there.
        """
        row = self._row_of(model)
        if model.download is not None:
            raise UsageError(f"{model.name} is being downloaded", hint="Cancel the download")
        if model.source == "starter":
            raise UsageError(
                f"{model.title} belongs to a Python package",
                hint=f"Remove it with “pip uninstall {_package(model)}”",
            )
        if row is None:
            raise UsageError(f"“{shorten(str(path_of(model)), 160)}” is not in the library")
        removal = self.removal(model)
        for place in reversed(removal.deletes):  # The first file says that there is a model.
            try:
                place.unlink(missing_ok=True)
            except OSError as error:
                raise CorralError(
                    f"“{shorten(place.name, 80)}” cannot be deleted: {error.strerror}",
                    hint=hint(error, "Look at the permissions of its folder"),
                ) from None
        if self._is_ours(row):
            self._drop_folder(Path(row.path).parent)
        for place in shards.places_of(row):
            self._store.drop_pieces(place)
        for download in self._store.downloads():
            if download.state == "done" and Path(row.path) in download.paths:
                self._store.remove_download(download.id)
        self._store.remove_model_file(row.path)

    def _is_ours(self, row: ModelFile) -> bool:
        """Whether the files are there only because corral put them there."""
        if row.source == "download":
            return True
        if row.source != "import" or self._folder is None:
            return False
        imported = self._folder / IMPORTED
        # A link to a folder of the person's can lie in there.
        inside = real(Path(row.path).parent).is_relative_to(real(imported))
        return inside and Path(row.path).is_relative_to(imported)

    def _texts(self, places: Iterable[Path]) -> list[Path]:
        """The licence's texts beside the last model of a folder."""
        going = set(places)
        folder = next((place.parent for place in going), None)
        if folder is None or (self._folder and folder.is_relative_to(self._folder / IMPORTED)):
            return []
        known = {name for one in self.catalog.licences.values() for name in one.files} | {"Notice"}
        try:
            found = list(folder.iterdir())
        except OSError:
            return []
        texts = sorted(p for p in found if p.name in known and status_of(p) and p not in going)
        return texts if set(found) == going | set(texts) else []

    def _drop_folder(self, folder: Path) -> None:
        """Remove the folder of a model if nothing is left in it, up to that of all models."""
        for place in (folder, *folder.parents):
            if place == self._folder or place.name == IMPORTED:
                return
            try:
                place.rmdir()
            except OSError:
                return
            if "--" in place.name:  # owner--repository
                return


def _package(model: LocalModel) -> str:
    package = model.family.package if model.family else ""
    return package.replace("_", "-")


def _family_name(model: LocalModel) -> list[str]:
    return [full_name(model.family, model.quant)] if model.family else []
