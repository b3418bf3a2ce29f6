"""What scoop and winget want to know of a release: see packaging/channels.py.

winget's manifests are of version 1.10. Strings stand in them as in JSON, which is YAML, too: no
value can be taken for a number, a date or a mark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import product  # noqa: E402

from corral import program  # noqa: E402

PACKAGE = "CorralChat.corral"
"""winget's name: the publisher and the program."""
MANIFESTS = "1.10.0"
LANGUAGE = "en-US"

_SCOOP = {"amd64": "64bit", "arm64": "arm64"}
_WINGET = {"amd64": "x64", "arm64": "arm64"}


class Program(Protocol):
    """What is needed of :class:`channels.Portable`."""

    name: str
    machine: str
    url: str
    sha256: str


def scoop(programs: Sequence[Program]) -> dict[str, Any]:
    """The manifest of a scoop bucket, as JSON has it."""
    here, again = {}, {}
    for one in programs:
        here[_SCOOP[one.machine]] = {"url": one.url, "hash": one.sha256}
        newer = one.url.replace(product.VERSION, "$version")
        again[_SCOOP[one.machine]] = {"url": newer}
    return {
        "version": product.VERSION,
        "description": product.SUMMARY,
        "homepage": product.HOME,
        "license": product.LICENCE,
        "notes": "Conversations, settings and models stay where they are when corral is "
        "uninstalled; `corral --help` says where that is.",
        "suggest": {"vcredist": "extras/vcredist2022"},
        "architecture": here,
        "bin": "corral.exe",
        # A window that was opened for corral stays until an error in it was read.
        "shortcuts": [["corral.exe", "corral", program.OPENED]],
        "checkver": {"github": product.HOME},
        "autoupdate": {"architecture": again, "hash": {"url": "$baseurl/SHA256SUMS"}},
    }


def winget(programs: Sequence[Program]) -> dict[str, str]:
    """The three manifests by the names of their files."""
    shared = {"PackageIdentifier": PACKAGE, "PackageVersion": product.VERSION}
    version = {"DefaultLocale": LANGUAGE}
    return {
        f"{PACKAGE}.yaml": _manifest("version", {**shared, **version}),
        f"{PACKAGE}.installer.yaml": _manifest("installer", {**shared, **_installer(programs)}),
        f"{PACKAGE}.locale.{LANGUAGE}.yaml": _manifest("defaultLocale", {**shared, **_words()}),
    }


def _installer(programs: Sequence[Program]) -> dict[str, Any]:
    return {
        "InstallerType": "zip",
        "NestedInstallerType": "portable",
        "NestedInstallerFiles": [{"RelativeFilePath": "corral.exe"}],
        # A link to the program alone would not find the libraries beside it: a folder goes on PATH.
        # The program's or the archive's, that depends on winget's version; here both are one.
        "ArchiveBinariesDependOnPath": True,
        "UpgradeBehavior": "uninstallPrevious",
        "Commands": ["corral"],
        "ReleaseDate": product.release_date(),
        "Installers": [
            {
                "Architecture": _WINGET[one.machine],
                "InstallerUrl": one.url,
                "InstallerSha256": one.sha256.upper(),
                "Dependencies": {
                    "PackageDependencies": [
                        {"PackageIdentifier": f"Microsoft.VCRedist.2015+.{_WINGET[one.machine]}"}
                    ]
                },
            }
            for one in programs
        ],
    }


def _words() -> dict[str, Any]:
    return {
        "PackageLocale": LANGUAGE,
        "Publisher": product.PUBLISHER,
        "PackageName": product.NAME,
        "PackageUrl": product.HOME,
        "License": product.LICENCE,
        "LicenseUrl": f"{product.HOME}/blob/v{product.VERSION}/LICENSE",
        "ShortDescription": product.SUMMARY,
        "Description": product.DESCRIPTION,
        "Moniker": product.NAME,
        "Tags": list(product.PROJECT["keywords"]),
        "ReleaseNotesUrl": f"{product.HOME}/releases/tag/v{product.VERSION}",
    }


def _manifest(kind: str, values: Mapping[str, Any]) -> str:
    schema = f"https://aka.ms/winget-manifest.{kind}.{MANIFESTS}.schema.json"
    whole = {**values, "ManifestType": kind, "ManifestVersion": MANIFESTS}
    return "\n".join([f"# yaml-language-server: $schema={schema}", *_yaml(whole)]) + "\n"


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, one in value.items():
        if isinstance(one, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(one, indent + "  ")
        elif isinstance(one, list):
            yield f"{indent}{key}:"
            for item in one:
                yield from _item(item, indent)
        else:
            yield f"{indent}{key}: {_scalar(one)}"


def _item(item: Any, indent: str) -> Iterator[str]:
    if not isinstance(item, Mapping):
        yield f"{indent}- {_scalar(item)}"
        return
    for number, line in enumerate(_yaml(item, indent + "  ")):
        yield f"{indent}- {line.strip()}" if number == 0 else line


def _scalar(value: str | bool) -> str:
    return json.dumps(value, ensure_ascii=False)
