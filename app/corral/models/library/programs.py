"""Where other programs keep their model files, as each of them lays them out.

Everything here is foreign: notes may be damaged or hostile, folders may be loops, anything may
disappear at any moment. What cannot be read is passed over.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from corral.models.library import program_notes as notes

GGUF = ".gguf"
DEPTH = 6
ENTRIES = 20_000
"""Names that are read below one folder."""
_HOME_DEPTH = 3
_KOBOLD = re.compile(r"koboldcpp.*|.*\.kcpps", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file that its program takes for a model."""

    program: str
    path: Path
    name: str
    """What it is called there."""
    sha256: str | None = None
    repository: str | None = None
    revision: str | None = None
    trouble: str = ""
    """Why it cannot be used by itself."""


def sightings(home: Path, environment: Mapping[str, str], root: Path) -> Iterator[Sighting]:
    """All of them; some may be named twice, some may be no models."""
    yield from _ollama(home, environment, root)
    yield from _lm_studio(home)
    yield from _jan(home, environment)
    yield from _gpt4all(home, environment)
    kobold, local = _around(home)
    yield from _kobold(kobold)
    yield from _hugging_face(home, environment)
    for folder in local:
        yield from _local_folder(folder)


# --- each program -------------------------------------------------------------------------------


def _ollama(home: Path, environment: Mapping[str, str], root: Path) -> Iterator[Sighting]:
    """``manifests/<registry>/<namespace>/<model>/<tag>`` names ``blobs/sha256-<hash>``."""
    places = [home / ".ollama/models", root / "usr/share/ollama/.ollama/models"]
    # Where distributions have their own packages put it.
    service = root / "var/lib/ollama"
    places += [service / ".ollama/models", service / "models", service]
    places.insert(0, Path(environment.get("OLLAMA_MODELS") or places[0]))
    for store in dict.fromkeys(places):
        manifests = store / "manifests"
        for path in walk(manifests, depth=8):
            model = notes.ollama(path)
            if model is None:
                continue
            name = _ollama_name(path.relative_to(manifests).parts)
            trouble = "it is only whole together with an adapter" if model.adapter else ""
            for sha256 in model.weights:
                for blob in (f"sha256-{sha256}", f"sha256:{sha256}"):
                    place = store / "blobs" / blob
                    yield Sighting("Ollama", place, name, sha256, trouble=trouble)


def _ollama_name(parts: tuple[str, ...]) -> str:
    """``llama2-7b`` for ``registry.ollama.ai/library/llama2/7b``."""
    *before, tag = parts[1:] if len(parts) > 1 else parts
    words = [word for word in before if word != "library"]
    return "-".join(words + ([] if tag == "latest" and words else [tag]))


def _lm_studio(home: Path) -> Iterator[Sighting]:
    """``models/<publisher>/<repository>/<file>.gguf`` below a home that has moved once."""
    homes = [home / ".lmstudio", home / ".cache/lm-studio"]
    if pointed := notes.line(home / ".lmstudio-home-pointer"):
        homes.insert(0, Path(pointed))
    places = [folder / "models" for folder in homes]
    for folder in homes:
        if chosen := notes.json_text(folder / "settings.json", "downloadsFolder"):
            places.append(Path(chosen))
    yield from _plain("LM Studio", places)


def _jan(home: Path, environment: Mapping[str, str]) -> Iterator[Sighting]:
    """``models/<id>/*.gguf`` and ``llamacpp/models/<id>/model.gguf`` in a folder one can choose."""
    homes = [base / "Jan" for base in _data_folders(home, environment)]
    places = [home / "jan", *(folder / "data" for folder in homes)]
    for folder in homes:
        if chosen := notes.json_text(folder / "settings.json", "data_folder"):
            places.append(Path(chosen))
    for data in dict.fromkeys(places):
        for models in (data / "llamacpp/models", data / "models"):
            for note in walk(models, names=("model.yml",)):
                # What was imported into Jan lies where it was; the note says where.
                if file := notes.yaml_text(note, "model_path"):
                    yield Sighting("Jan", data / file, _folder_name(note, models))
            for path in walk(models, suffix=GGUF):
                generic = path.stem.casefold() == "model"
                name = _folder_name(path, models) if generic else path.stem
                yield Sighting("Jan", path, name)


def _gpt4all(home: Path, environment: Mapping[str, str]) -> Iterator[Sighting]:
    """``*.gguf`` in the folder of its data, or in the one its settings name."""
    places = [base / "nomic.ai/GPT4All" for base in _data_folders(home, environment)]
    places.append(home / ".cache/gpt4all")
    for base in _data_folders(home, environment):
        if chosen := notes.ini_text(base / "nomic.ai/GPT4All.ini", "modelPath"):
            places.append(Path(chosen))
    yield from _plain("GPT4All", places, depth=2)


def _kobold(folders: list[Path]) -> Iterator[Sighting]:
    """Folders with its program, and what its settings name."""
    for folder in folders:
        for settings in walk(folder, suffix=".kcpps", depth=1):
            for named in notes.kobold(settings):
                path = folder / named
                if path.name.casefold().endswith(GGUF):
                    yield Sighting("KoboldCpp", path, path.stem)
    yield from _plain("KoboldCpp", folders, depth=1)
    yield from _plain("KoboldCpp", [folder / "models" for folder in folders], depth=2)


def _hugging_face(home: Path, environment: Mapping[str, str]) -> Iterator[Sighting]:
    """``models--<owner>--<name>/snapshots/<commit>/<file>``, a link to ``blobs/<etag>``."""
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    base = Path(environment.get("HF_HOME") or cache / "huggingface")
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    hub = Path(named) if named else base / "hub"
    for folder in sorted(_folders(hub)):
        kind, _, rest = folder.name.partition("--")
        if kind != "models":
            continue
        repository = rest.replace("--", "/", 1)
        for snapshot in sorted(_folders(folder / "snapshots"), key=_age):
            revision = snapshot.name if _COMMIT.fullmatch(snapshot.name) else None
            for path in walk(snapshot, suffix=GGUF):
                yield Sighting(
                    "Hugging Face",
                    path,
                    path.stem,
                    _etag_of(path),
                    repository=repository if "/" in repository else None,
                    revision=revision,
                )


def _etag_of(link: Path) -> str | None:
    """The sha256 that the name of a blob is; git's hashes of small files are shorter."""
    try:
        name = link.resolve().name
    except (OSError, RuntimeError):
        return None
    return name if _SHA256.fullmatch(name) else None


def _local_folder(folder: Path) -> Iterator[Sighting]:
    """A download into a folder of the person's choice: notes in ``.cache/huggingface``."""
    records = folder / ".cache/huggingface/download"
    for note in walk(records, suffix=".gguf.metadata"):
        file = note.relative_to(records).as_posix().removesuffix(".metadata")
        commit, etag = notes.metadata(note)
        sha256 = etag if _SHA256.fullmatch(etag) else None
        revision = commit if _COMMIT.fullmatch(commit) else None
        path = folder / file
        yield Sighting("Hugging Face", path, path.stem, sha256, revision=revision)


# --- what they have in common -------------------------------------------------------------------


def _data_folders(home: Path, environment: Mapping[str, str]) -> list[Path]:
    """Where programs keep what is theirs: on Linux, macOS and Windows."""
    places = [home / ".local/share", home / ".config", home / "Library/Application Support"]
    places += [home / "AppData/Roaming", home / "AppData/Local"]
    named = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA")
    places += [Path(environment[name]) for name in named if environment.get(name)]
    return list(dict.fromkeys(places))


def _plain(program: str, places: list[Path], depth: int = DEPTH) -> Iterator[Sighting]:
    for place in dict.fromkeys(places):
        for path in walk(place, suffix=GGUF, depth=depth):
            yield Sighting(program, path, path.stem)


def _folder_name(path: Path, above: Path) -> str:
    return path.parent.name if path.parent != above else path.stem


def _around(home: Path) -> tuple[list[Path], list[Path]]:
    """Folders near home with KoboldCpp in them, and those the hub's tools may have noted."""
    kobold: list[Path] = []
    local: list[Path] = []
    left, seen = ENTRIES, set[tuple[int, int]]()
    queue = [(home, 0)]
    while queue and left > 0:
        folder, depth = queue.pop(0)
        entries = _entries(folder, seen)
        left -= len(entries)
        if any(_KOBOLD.fullmatch(entry.name) and _is_file(entry) for entry in entries):
            kobold.append(folder)
        if any(entry.name == ".cache" for entry in entries):
            local.append(folder)
        if depth < _HOME_DEPTH:
            queue += [
                (Path(entry.path), depth + 1)
                for entry in entries
                if not entry.name.startswith(".") and _is_folder(entry)
            ]
    return [*kobold, home / "koboldcpp"], local


def walk(
    top: Path, *, suffix: str = "", names: tuple[str, ...] = (), depth: int = DEPTH
) -> Iterator[Path]:
    """Files below a folder, by name; links are followed, and no folder is entered twice."""
    left, seen = ENTRIES, set[tuple[int, int]]()
    queue = [(top, 1)]
    while queue and left > 0:
        folder, level = queue.pop(0)
        entries = _entries(folder, seen)
        left -= len(entries)
        for entry in entries:
            if _is_folder(entry):
                if level < depth:
                    queue.append((Path(entry.path), level + 1))
            elif (not names or entry.name in names) and entry.name.casefold().endswith(suffix):
                yield Path(entry.path)


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    try:
        status = folder.stat()
        inode = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode) or inode in seen:
            return []
        seen.add(inode)
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder, set()) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _age(path: Path) -> float:
    """The newest first."""
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
