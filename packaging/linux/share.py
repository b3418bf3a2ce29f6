"""Writes what a Linux desktop and its shells want to know of corral, below a share folder.

Desktop entry, icon and AppStream data lie beside this file; the manual page and the completions
come out of the program itself: ``python packaging/linux/share.py OUT``.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import manual  # noqa: E402
import product  # noqa: E402

from corral.cli.shells import SHELLS  # noqa: E402
from corral.cli.tree import whole  # noqa: E402

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
    date = product.release_date()
    metainfo = (HERE / "metainfo.xml.in").read_text(encoding="utf-8")
    marks = {"ID": product.ID, "VERSION": product.VERSION, "DATE": date, "HOME": product.HOME,
             "SUMMARY": product.SUMMARY, "DESCRIPTION": product.DESCRIPTION}  # fmt: skip
    for mark, value in marks.items():
        metainfo = metainfo.replace(f"@{mark}@", value)
    # No time stamp and no name inside: the same program gives the same bytes.
    page = gzip.compress(manual.page(date).encode("ascii"), mtime=0)
    files = {
        "applications/corral.desktop": (HERE / "corral.desktop").read_bytes(),
        "icons/hicolor/scalable/apps/corral.svg": (HERE / "corral.svg").read_bytes(),
        f"metainfo/{product.ID}.metainfo.xml": metainfo.encode(),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a share folder, such as ~/.local/share")
    write(parser.parse_args().out.expanduser())


if __name__ == "__main__":
    main()
