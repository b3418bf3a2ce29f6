"""Writes what a Linux desktop and its shells want to know of corral, below a share folder.

Desktop entry, icon and AppStream data lie beside this file; the manual page and the completions
come out of the program itself: ``python packaging/linux/share.py OUT``.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import manual  # noqa: E402

from corral import __version__  # noqa: E402
from corral.cli.shells import SHELLS  # noqa: E402
from corral.cli.tree import whole  # noqa: E402

ID = "io.github.corral_chat.corral"
"""AppStream's name of the program. It has to be changed here once the project has a home page."""

COMPLETIONS = {
    "bash": "bash-completion/completions/corral",
    "zsh": "zsh/{zsh}/_corral",
    "fish": "fish/vendor_completions.d/corral.fish",
}


def write(share: Path, *, zsh: str = "site-functions") -> None:
    """Write all of it.

    Args:
        share: as ``/usr/share`` or ``~/.local/share``; folders are made.
        zsh: the folder of zsh's completions; Debian calls it ``vendor-completions``.
    """
    date = release_date()
    metainfo = (HERE / "metainfo.xml.in").read_text(encoding="utf-8")
    for mark, value in (("@ID@", ID), ("@VERSION@", __version__), ("@DATE@", date)):
        metainfo = metainfo.replace(mark, value)
    # No time stamp and no name inside: the same program gives the same bytes.
    page = gzip.compress(manual.page(date).encode("ascii"), mtime=0)
    files = {
        "applications/corral.desktop": (HERE / "corral.desktop").read_bytes(),
        "icons/hicolor/scalable/apps/corral.svg": (HERE / "corral.svg").read_bytes(),
        f"metainfo/{ID}.metainfo.xml": metainfo.encode(),
        "man/man1/corral.1.gz": page,
    }
    root = whole()
    for shell, place in COMPLETIONS.items():
        files[place.format(zsh=zsh)] = SHELLS[shell](root).encode()
    for name, content in files.items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)


def release_date() -> str:
    """The day of the release as 2026-11-21: SOURCE_DATE_EPOCH, else of the last commit."""
    return datetime.datetime.fromtimestamp(epoch(), datetime.UTC).date().isoformat()


def epoch() -> int:
    """Seconds since 1970 that everything built from this checkout carries."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(HERE), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(command, capture_output=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return int(Path(__file__).stat().st_mtime)  # an unpacked archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a share folder, such as ~/.local/share")
    write(parser.parse_args().out.expanduser())


if __name__ == "__main__":
    main()
