"""What wheels say of themselves: name, version, licence, home page, needs, licence texts."""

from __future__ import annotations

import email
import re
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_TEXT = re.compile(
    r"(?i)(.*[-_.])?(un)?(licen[cs]es?|copying|copyright|notices?|authors)([-_.].*)?", re.ASCII
)
_CODE = (".py", ".pyi", ".pyc", ".c", ".h", ".so", ".js", ".json", ".toml")
_ALIASES = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What packages write instead of SPDX, where it means one licence only; BSD does not."""
_HOMES = ("homepage", "home", "source", "source code", "code", "repository")


@dataclass(frozen=True)
class Wheel:
    """One wheel, read without installing it."""

    path: Path
    name: str
    """As its makers write it."""
    version: str
    licence: str
    """An SPDX expression where it can be told, else their words; empty where they say nothing."""
    home: str
    requires: tuple[Requirement, ...]
    texts: tuple[str, ...]
    """Members of the archive that hold licences, copyright notices or the names of authors."""

    @property
    def key(self) -> str:
        """The name by which packages are compared."""
        return canonicalize_name(self.name)


def read(path: Path) -> Wheel:
    """What a wheel says.

    Raises:
        SystemExit: it cannot be opened, has no metadata, or needs what is no requirement.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            inside = next(n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            about = email.message_from_bytes(archive.read(inside))
        requires = tuple(Requirement(line) for line in about.get_all("Requires-Dist", []))
    except (OSError, zipfile.BadZipFile, StopIteration, InvalidRequirement) as error:
        raise SystemExit(f"{path.name} is no wheel that can be read: {error!r}") from error
    folder = inside.rpartition("/")[0]
    listed = {f"{folder}/{name}" for name in about.get_all("License-File", [])}
    listed |= {f"{folder}/licenses/{name}" for name in about.get_all("License-File", [])}
    return Wheel(
        path=path,
        name=str(about["Name"]),
        version=str(about["Version"]),
        licence=licence(about),
        home=_home(about),
        requires=requires,
        texts=tuple(sorted(n for n in names if n in listed or _is_text(n))),
    )


def read_all(folder: Path) -> list[Wheel]:
    """Every wheel of a folder, by name, version and file."""
    found = [read(path) for path in folder.glob("*.whl")]
    return sorted(found, key=lambda wheel: (wheel.key, wheel.version, wheel.path.name))


def licence(about: Message) -> str:
    """What the metadata of a package says: expression, field, or classifier."""
    field = str(about["License"] or "").strip()
    classifiers = [
        line.rpartition("::")[2].strip()
        for line in about.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    said = [str(about["License-Expression"] or ""), field, *classifiers]
    # Some put the whole text into the field.
    short = [words for words in said if words and "\n" not in words]
    return next((found for words in short if (found := spdx(words))), short[0] if short else "")


def spdx(words: str) -> str:
    """The same as an SPDX expression; empty if it is none."""
    words = _ALIASES.get(words, words)
    try:
        return str(canonicalize_license_expression(words))
    except InvalidLicenseExpression:
        return ""


def _home(about: Message) -> str:
    links = {}
    for line in about.get_all("Project-URL", []):
        label, _, address = line.partition(",")
        links[label.strip().lower()] = address.strip()
    told = [str(about["Home-page"] or ""), *(links.get(label, "") for label in _HOMES)]
    return next((address for address in told if address), "")


def _is_text(name: str) -> bool:
    path = PurePosixPath(name)
    if path.suffix in _CODE:
        return False
    below = re.search(r"\.dist-info/licenses/", name)
    return bool(below or _TEXT.fullmatch(path.name))
