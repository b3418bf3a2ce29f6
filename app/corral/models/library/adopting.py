"""Models that other programs have brought to this machine: found, looked at, and left alone.

A name that is a hash is a claim: it is checked when a model is adopted, by
:meth:`corral.models.library.importing.Importing.adopt`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from corral.errors import CorralError
from corral.models.catalog import Catalog
from corral.models.files import absolute, status_of
from corral.models.gguf.header import Header, read_header
from corral.models.library import programs, shards
from corral.models.library.local import recognise
from corral.models.library.names import full_name, of_file
from corral.models.library.programs import Sighting
from corral.text import shorten

MOST = 1000
"""Files that are looked at; a header takes about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be used where it lies."""

    program: str
    """Whose it is: ``Ollama``."""
    path: Path
    name: str
    """What it would be called here."""
    bytes: int
    known: bool
    """Whether it is in the library already."""
    sha256: str | None = None
    """What its program says that its contents have."""
    quant: str = ""
    repository: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no model for corral."""

    program: str
    path: Path
    reason: str
    """One plain sentence without full stop."""


@dataclass(frozen=True, slots=True)
class Findings:
    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find(
    home: Path,
    environment: Mapping[str, str],
    *,
    catalog: Catalog | None = None,
    here: Iterable[Path] = (),
    root: Path = Path("/"),
) -> list[Candidate]:
    """As :func:`look`, without what was skipped."""
    return look(home, environment, catalog=catalog, here=here, root=root).candidates


def look(
    home: Path,
    environment: Mapping[str, str],
    *,
    catalog: Catalog | None = None,
    here: Iterable[Path] = (),
    root: Path = Path("/"),
) -> Findings:
    """Looks where Ollama, LM Studio, Jan, GPT4All, KoboldCpp and Hugging Face's cache keep models.

    Reads names, small notes and the headers of model files. A file is named once, however many
    names it has. A folder that cannot be read holds nothing.

    Args:
        home: of the person.
        environment: variables by which those programs are told another place.
        catalog: names what it knows.
        here: files that are in the library.
        root: of the file system, for what is installed for the whole machine.
    """
    known = {inode for path in here if (inode := _inode(path))}
    seen: set[tuple[int, int]] = set()
    troubled: set[tuple[int, int]] = set()  # Alone, the same file may be whole.
    findings = Findings()
    for sighting in programs.sightings(home, environment, root):
        if len(seen) + len(troubled) >= MOST:
            break
        path = absolute(sighting.path)
        inode = _inode(path)
        if inode is None or inode in seen or shards.is_later_part(path.name):
            continue
        if sighting.trouble:
            if inode not in troubled:
                findings.skipped.append(Skipped(sighting.program, path, sighting.trouble))
            troubled.add(inode)
            continue
        seen.add(inode)
        try:
            header = read_header(path)
            findings.candidates.append(_candidate(sighting, header, catalog, inode in known))
        except CorralError as error:
            findings.skipped.append(Skipped(sighting.program, path, error.message))
    return findings


def _candidate(
    sighting: Sighting, header: Header, catalog: Catalog | None, known: bool
) -> Candidate:
    path = absolute(sighting.path)
    found = recognise(catalog, path, header, sighting.sha256) if catalog else None
    name = full_name(found[0], found[1].quant) if found else shorten(sighting.name, 80)
    return Candidate(
        program=sighting.program,
        path=path,
        name=name or of_file(path),
        bytes=header.bytes,
        known=known,
        sha256=sighting.sha256,
        quant=header.quant,
        repository=sighting.repository,
        revision=sighting.revision,
    )


def _inode(path: Path) -> tuple[int, int] | None:
    status = status_of(path)
    return (status.st_dev, status.st_ino) if status else None
