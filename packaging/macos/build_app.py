"""Makes corral.app, which opens a terminal with corral in it, and a zip file of it.

    python packaging/macos/build_app.py --out dist [--program FOLDER]

``--program`` is the folder that packaging/pyinstaller/build.py froze on a Mac: then the app needs
nothing else. Without it, it starts the corral that is installed. It can be made on every system.
"""

from __future__ import annotations

import argparse
import plistlib
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import archive  # noqa: E402
import product  # noqa: E402

from corral import program  # noqa: E402

DRAWING = HERE.parent / "linux" / "corral.svg"
ICON = "corral.icns"
OLDEST = "11.0"
"""macOS that Python's and llama.cpp's builds for Apple's own processors ask for."""

_SIZES = {b"ic11": 32, b"ic12": 64, b"ic07": 128, b"ic13": 256, b"ic08": 256, b"ic14": 512,
          b"ic09": 512, b"ic10": 1024}  # fmt: skip
"""Pixels of a side by the kind of a picture in an .icns file; two kinds can be of one size."""


def build(out: Path, frozen: Path | None = None, *, renderer: str = "rsvg-convert") -> Path:
    """Make the app's folder; gives it.

    Args:
        frozen: folder with the program ``corral`` in it that goes into the app.
        renderer: draws the icon; where it is not there, the app has none of its own.

    Raises:
        SystemExit: there is no program in that folder, or something is at the app's place.
    """
    app = out / "corral.app"
    if app.exists():
        sys.exit(f"{app} is there already")
    if frozen is not None and not (frozen / "corral").is_file():
        sys.exit(f"{frozen} has no program corral in it")
    contents = app / "Contents"
    resources = contents / "Resources"
    resources.mkdir(parents=True)
    (contents / "MacOS").mkdir()
    _script(HERE / "launcher.sh", contents / "MacOS" / "corral")
    _script(HERE / "corral.command.in", resources / "corral.command")
    icon = icns(renderer)
    if icon is not None:
        (resources / ICON).write_bytes(icon)
    if frozen is not None:
        shutil.copytree(frozen, resources / "corral", symlinks=True)
    with (contents / "Info.plist").open("wb") as file:
        plistlib.dump(info(has_icon=icon is not None), file)
    (contents / "PkgInfo").write_bytes(b"APPL????")
    return app


def info(*, has_icon: bool) -> dict[str, object]:
    """What macOS wants to know of it."""
    known: dict[str, object] = {
        "CFBundleDevelopmentRegion": "en",
        "CFBundleExecutable": "corral",
        # No underscore may be in it there.
        "CFBundleIdentifier": product.ID.replace("_", "-"),
        "CFBundleInfoDictionaryVersion": "6.0",
        "CFBundleName": product.NAME,
        "CFBundlePackageType": "APPL",
        "CFBundleShortVersionString": product.VERSION,
        "CFBundleVersion": product.VERSION,
        "LSApplicationCategoryType": "public.app-category.productivity",
        "LSMinimumSystemVersion": OLDEST,
        # It is gone when the terminal is there: nothing to see in the Dock.
        "LSUIElement": True,
        "NSHumanReadableCopyright": f"{product.PUBLISHER}, {product.LICENCE} licence",
    }
    return known | ({"CFBundleIconFile": ICON} if has_icon else {})


def icns(renderer: str) -> bytes | None:
    """The icon drawn in every size; None, and a line that says so, where nothing can draw it."""
    if (found := shutil.which(renderer)) is None:
        print(f"{renderer} is not here: the app has no icon of its own", file=sys.stderr)
        return None
    drawn = {size: _picture(found, size) for size in sorted(set(_SIZES.values()))}
    parts = b"".join(
        kind + struct.pack(">I", len(drawn[size]) + 8) + drawn[size]
        for kind, size in _SIZES.items()
    )
    return b"icns" + struct.pack(">I", len(parts) + 8) + parts


def _picture(renderer: str, size: int) -> bytes:
    command = [renderer, "--width", str(size), "--height", str(size), str(DRAWING)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _script(source: Path, to: Path) -> None:
    text = source.read_text(encoding="utf-8").replace("@OPENED@", program.OPENED)
    to.write_text(text, encoding="utf-8", newline="\n")
    to.chmod(0o755)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the app's zip file")
    parser.add_argument("--program", type=Path, help="folder with the frozen program")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), options.program)
        packed = options.out / f"corral-{product.VERSION}-macos-app.zip"
        archive.pack_zip(Path(folder), packed, below=False)
        print(packed)


if __name__ == "__main__":
    main()
