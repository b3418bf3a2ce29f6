"""The packs on this machine: below one folder of corral's own, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corral.engine.packs import binding, checking, manifest
from corral.engine.packs.checking import Hashes
from corral.engine.packs.manifest import Manifest, refused
from corral.errors import CorralError, DoesNotFit, NotFound, Refused, UsageError
from corral.placing import hint, put
from corral.text import shorten

if TYPE_CHECKING:
    from corral.engine.packs.arriving import FolderSource, ZipSource

BUILT_IN = "built-in"
"""What came with the binding."""
AUTO = "auto"
_ARRIVING, _LEAVING = ".arriving-", ".leaving-"


@dataclass(frozen=True, slots=True)
class Pack:
    """One of the engines that could be used.

    Attributes:
        name: of its folder, or :data:`BUILT_IN`.
        folder: where its libraries are; absolute.
        manifest: None of the built-in one, and of one that has none.
        content: stands for every byte in it; "" where it was refused.
        refusal: why it cannot even be tried; "" where it can.
    """

    name: str
    folder: Path
    manifest: Manifest | None = None
    content: str = ""
    refusal: str = ""

    @property
    def is_built_in(self) -> bool:
        return self.name == BUILT_IN


class Shelf:
    """Args:
    folder: corral's own, absolute; it need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """What lies there, whether or not it is any good; nothing hidden."""
        try:
            found = os.listdir(self.folder)  # noqa: PTH208  # Whole, or an error here.
        except OSError:
            return []
        return sorted(name for name in found if not name.startswith("."))

    def all(self, hashes: Hashes) -> list[Pack]:
        """Every engine there is, the built-in one first, each checked to the last byte."""
        folder = binding.built_in()
        found = [] if folder is None else [Pack(BUILT_IN, folder, None, binding.content(folder))]
        return found + [self._checked(self.folder / name, hashes) for name in self.names()]

    def _checked(self, folder: Path, hashes: Hashes) -> Pack:
        try:
            known, content = checking.check(folder, hashes)
        except Refused as error:
            reason = error.message.partition(" is refused: ")[2] or error.message
            said: Manifest | None = None
            with contextlib.suppress(CorralError):
                said = manifest.parse(manifest.read(folder), folder.name)
            return Pack(folder.name, folder, said, "", reason)
        return Pack(folder.name, folder, known, content)

    def called(self, name: str) -> str:
        """The full name of a pack: given in full, or as its flag set.

        Raises:
            NotFound, UsageError: there is none, or several.
        """
        names = self.names()
        current = name_of(binding.version(), binding.platform_tag(), name)
        if name == BUILT_IN or name in names:
            return name
        if current in names:  # There may be one of before, too.
            return current
        near = [one for one in names if one.startswith("engine-") and one.endswith(f"-{name}")]
        if len(near) == 1 and name:
            return near[0]
        shown = shorten(name, 80)
        if near:
            raise UsageError(f"“{shown}” can be {' or '.join(near)}", title="Which one?")
        raise NotFound(
            f"There is no engine pack “{shown}”", hint="“corral engine list” shows what there is"
        )

    # --- coming -----------------------------------------------------------------------------------

    def add(self, source: Path) -> Pack:
        """Take in a folder or a zip file; what is there afterwards is whole, or nothing is.

        Raises:
            NotFound: there is no such file.
            Refused: it is no pack, damaged, for another system, or one of its name is there.
            DoesNotFit: the disk is full.
            CorralError: something cannot be read or written.
        """
        from corral.engine.packs.arriving import opened

        try:
            with opened(source) as found:
                return self._add(found)
        except FileNotFoundError:
            raise NotFound(f"{source} is not there") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DoesNotFit("The disk is full; nothing was added") from None
            raise CorralError(
                f"{source.name} cannot be added: {error.strerror or error}",
                title="Not added",
            ) from None

    def _add(self, source: FolderSource | ZipSource) -> Pack:
        data = source.manifest()
        known = manifest.parse(data, source.name)
        checking.suits(known)
        place = self.folder / known.name
        if place.exists() or place.is_symlink():
            raise refused(known.name, "a pack of this name is here; remove that one first")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep()
        arriving = self.folder / f"{_ARRIVING}{os.getpid()}"
        # The check wants to find the folder under its name.
        fresh = arriving / known.name
        shutil.rmtree(arriving, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        try:
            first: dict[str, Path] = {}
            for name, file in known.files.items():
                if (same := first.get(file.sha256)) is None or not _linked(same, fresh / name):
                    source.copy(name, fresh / name, file.bytes)
                    first[file.sha256] = fresh / name
            source.done(known)
            (fresh / manifest.FILE).write_bytes(data)
            _, content = checking.check(fresh)
            put(fresh, place)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        return Pack(known.name, place, known, content)

    # --- going ------------------------------------------------------------------------------------

    def remove(self, name: str) -> Path:
        """Delete a pack; a worker that has it loaded goes on with it. Gives where it was.

        Raises:
            UsageError: it came with the binding.
            NotFound: there is none.
            CorralError: it cannot be deleted.
        """
        if name == BUILT_IN:
            raise UsageError(
                "The built-in engine belongs to the package llama-cpp-python and goes with it"
            )
        if name not in self.names():
            raise NotFound(f"There is no engine pack “{shorten(name, 80)}”")
        place = self.folder / name
        try:
            if place.is_symlink() or not place.is_dir():
                place.unlink()  # Never what a link leads to.
                return place
            leaving = self.folder / f"{_LEAVING}{os.getpid()}"
            put(place, leaving)
            shutil.rmtree(leaving)
        except OSError as error:
            raise CorralError(
                f"{name} cannot be removed: {error.strerror or error}",
                title="Not removed",
                hint=hint(error),
            ) from None
        return place

    def sweep(self) -> None:
        """Delete what a process that is no more was about to add or remove."""
        import psutil

        with contextlib.suppress(OSError):
            for entry in list(self.folder.iterdir()):
                begin, _, pid = entry.name.rpartition("-")
                if f"{begin}-" not in (_ARRIVING, _LEAVING) or not pid.isdigit():
                    continue
                number = int(pid[:9])  # More digits no process has.
                if number == os.getpid() or not psutil.pid_exists(number):
                    shutil.rmtree(entry, ignore_errors=True)


def _linked(known: Path, to: Path) -> bool:
    """One file under two names is loaded once, and takes the disk once."""
    try:
        to.hardlink_to(known)
    except OSError:
        return False
    return True


def name_of(version: str, platform: str, flagset: str) -> str:
    """What a pack is called: ``engine-0.3.36-linux_x86_64-cpu-avx2``."""
    return f"engine-{version}-{platform}-{flagset}"


def label(name: str) -> str:
    """How a pack is called here and in settings: its flag set, where it is for this binding, so
    that a choice stays when the next version comes with a pack of its own."""
    return name.removeprefix(name_of(binding.version(), binding.platform_tag(), "")) or name
