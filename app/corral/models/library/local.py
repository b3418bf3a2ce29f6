"""One model as everything else sees it: put together from the catalogue, the file and the person.

The order of truth is fixed: what the person chose, then the catalogue, then the file's own
metadata. What none of them says stays unknown; nothing is guessed from a name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from corral.chat.formats import COMPLETION, TEMPLATE
from corral.models.catalog import Catalog, Family, File
from corral.models.gguf.header import Header
from corral.store.downloads import WAITING, Download
from corral.text import shorten

Kind = Literal["chat", "base", "unknown"]
State = Literal["available", "downloading", "paused", "installed", "missing", "damaged"]
Source = Literal["starter", "import", "adopted", "download", "file", "catalogue"]
FormatSource = Literal["person", "catalogue", "file"]
Found = tuple[Family, File]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model file that is here, was here, or could be here."""

    name: str
    """What people type: ``family:QUANT``, ``owner/repository:QUANT`` for what came from a hub
    without being in the catalogue, the starter's own name, or the stem of the file."""
    title: str
    """What people read: ``Llama 2 7B Chat``."""
    family: Family | None
    size: str
    kind: Kind
    quant: str
    path: str | None
    """Absolute; None for a file of the catalogue that is not here."""
    bytes: int
    """Of the file, or of all files of a split model."""
    sha256: str | None
    """Of the file as it is now; None until somebody computed it. Of a split model the sha256 over
    the sha256s (32 bytes each) of its files, in order: the files' own are what a hub gives."""
    state: State
    source: Source
    """``file`` is a path that was named without being imported; ``import`` and ``adopted`` files
    are the person's or another program's, ``download`` files are corral's."""
    licence: str | None
    format: str | None
    """A name from ``corral.chat.formats``, ``template`` for the file's own, None if unknown."""
    format_source: FormatSource | None
    default_system: str
    sampling: dict[str, Any]
    file: str = ""
    """The file's name; of a split model that of the first one."""
    repository: str | None = None
    """Where it came from, or would come from, as ``owner/name``."""
    revision: str | None = None
    """The commit of the repository, 40 hexadecimal digits."""
    verified: float | None = None
    """When its contents were last found to be right, seconds since the epoch."""
    download: Download | None = None
    """The row of the queue while it is ``downloading`` or ``paused``."""


def summary(header: Header) -> dict[str, Any]:
    """What of a header is worth keeping, so that a list of models need not read every file."""
    return {
        "name": header.name,
        "architecture": header.architecture,
        "n_layer": header.n_layer,
        "n_embd": header.n_embd,
        "n_head": header.n_head,
        "n_head_kv": header.n_head_kv,
        "n_ff": header.n_ff,
        "context_length": header.context_length,
        "vocab_size": header.vocab_size,
        "parameters": header.parameters,
        "tensor_bytes": header.tensor_bytes,
        "license": header.license,
        "template_sha256": header.template_sha256,
    }


def recognise(catalog: Catalog, path: Path, header: Header, sha256: str | None) -> Found | None:
    """The catalogue's entry for a file, or None.

    The hash decides where it is known. Else name and size have to agree, and the header has to have
    the family's numbers: a file can be renamed.
    """
    if sha256 and (found := catalog.by_sha256(sha256)):
        return found
    named = by_name(catalog, path, header)
    if named and sha256 and named[1].sha256:
        return None
    return named


def by_name(catalog: Catalog, path: Path, header: Header) -> Found | None:
    """As :func:`recognise`, without regard to the hash."""
    found = catalog.by_file(path.name, header.bytes)
    if found is None:
        return None
    family = found[0]
    expected = (family.n_layer, family.n_embd, family.n_head, family.n_head_kv, family.n_ff)
    numbers = (header.n_layer, header.n_embd, header.n_head, header.n_head_kv, header.n_ff)
    return found if numbers == expected else None


def describe(
    path: Path,
    about: dict[str, Any],
    found: Found | None,
    *,
    name: str,
    quant: str,
    size: int,
    sha256: str | None,
    format: str | None,
    state: State,
    source: Source,
    repository: str | None = None,
    revision: str | None = None,
    verified: float | None = None,
) -> LocalModel:
    """A file on this machine.

    Args:
        about: what :func:`summary` gave, now or when the file was imported.
        found: the catalogue's entry for it.
        format: what the person chose.
    """
    family = found[0] if found else None
    chosen, format_source = _format(format, family, about)
    return LocalModel(
        name=name,
        title=family.title if family else shorten(about.get("name") or path.stem, 60),
        family=family,
        size=family.size if family else _size(about.get("parameters") or 0),
        kind=_kind(family, chosen),
        quant=found[1].quant if found else quant,
        path=str(path),
        bytes=size,
        sha256=sha256,
        state=state,
        source=source,
        licence=family.licence if family else about.get("license"),
        format=chosen,
        format_source=format_source,
        default_system=family.default_system if family else "",
        sampling=dict(family.sampling) if family else {},
        file=path.name,
        repository=repository,
        revision=revision,
        verified=verified,
    )


def from_catalogue(family: Family, file: File) -> LocalModel:
    """A file that is not on this machine."""
    return LocalModel(
        name=f"{family.name}:{file.quant}",
        title=family.title,
        family=family,
        size=family.size,
        kind=family.kind,
        quant=file.quant,
        path=None,
        bytes=file.bytes or round(file.gigabytes * 1e9),
        sha256=file.sha256,
        state="available",
        source="catalogue",
        licence=family.licence,
        format=family.format,
        format_source="catalogue",
        default_system=family.default_system,
        sampling=dict(family.sampling),
        file=file.file,
        repository=family.repository or None,
        revision=family.revision or None,
    )


def from_download(download: Download, found: Found | None) -> LocalModel:
    """A model on its way to this machine.

    Args:
        found: the catalogue's entry for it.
    """
    model = from_catalogue(*found) if found else _from_hub(download)
    return replace(
        model,
        name=download.name,
        bytes=download.bytes,
        state="downloading" if download.state in WAITING else "paused",
        source="download",
        repository=download.repository,
        revision=download.revision,
        download=download,
    )


def _from_hub(download: Download) -> LocalModel:
    first = download.targets[0] if download.targets else None
    return LocalModel(
        name=download.name,
        title=download.title,
        family=None,
        size="",
        kind="unknown",
        quant=download.quant,
        path=None,
        bytes=download.bytes,
        sha256=first.sha256 if first and len(download.targets) == 1 else None,
        state="paused",
        source="download",
        licence=download.licence,
        format=None,
        format_source=None,
        default_system="",
        sampling={},
        file=first.name if first else "",
    )


def _format(
    chosen: str | None, family: Family | None, about: dict[str, Any]
) -> tuple[str | None, FormatSource | None]:
    if chosen:
        return chosen, "person"
    if family:
        return family.format, "catalogue"
    if about.get("template_sha256"):
        return TEMPLATE, "file"
    return None, None


def _kind(family: Family | None, format: str | None) -> Kind:
    if family:
        return family.kind
    if format is None:
        return "unknown"
    return "base" if format == COMPLETION.name else "chat"


def _size(parameters: int) -> str:
    """Parameters as model names have them: ``135M``, ``1.1B``, ``13B``."""
    if parameters >= 9.95e9:
        return f"{parameters / 1e9:.0f}B"
    if parameters >= 0.9995e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e6 else f"{parameters / 1e6:.1f}M"
