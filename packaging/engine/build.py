"""Builds an engine pack: llama.cpp's libraries and what they are, in a folder of their own.

    python packaging/engine/build.py cpu-avx2 --out dist [--zip]

The flag sets are in flags.toml beside this file. The source is the hash-locked one, the build is
slim, as for the wheel. Prints the path of the pack. Run by ``corral engine build``, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import wheel

from corral.engine.packs import making


def source_in(folder: Path, given: Path | None) -> Path:
    """The source archive: the one given, if its sha256 is the locked one, else as ever.

    Raises:
        SystemExit: it is another one.
    """
    if given is None:
        return wheel.sdist(folder)
    if not wheel.is_locked(given):
        sys.exit(f"{given.name} is not the source that requirements/engine.txt locks")
    return given


def main() -> None:
    pinned, sets = wheel.flagsets()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("flagset", choices=sorted(sets), help="what to build")
    parser.add_argument("--out", type=Path, required=True, help="folder the pack goes to")
    parser.add_argument("--cache", type=Path, help="folder that keeps the source")
    parser.add_argument("--source", type=Path, help="the source archive, if it is here")
    parser.add_argument("--zip", action="store_true", help="a zip file beside the folder, too")
    options = parser.parse_args()
    chosen = sets[options.flagset]
    # What another build was told is not in the manifest of this one.
    os.environ.pop("CMAKE_ARGS", None)
    with tempfile.TemporaryDirectory(prefix="corral-engine-") as temporary:
        work = Path(temporary)
        cache = (options.cache or work).expanduser()
        cache.mkdir(parents=True, exist_ok=True)
        settings = wheel.settings_of(chosen["cmake"])
        try:
            source = source_in(cache, options.source)
            print(f"building {options.flagset}: this takes minutes", file=sys.stderr)
            built = wheel.build(source, work / "wheel", settings, tools=cache)
        except (subprocess.CalledProcessError, OSError) as error:
            reason = f"code {error.returncode}" if hasattr(error, "returncode") else str(error)
            sys.exit(f"the build of {options.flagset} failed: {reason}")
        libraries = work / "libraries"
        libraries.mkdir()
        wheel.unpack(built, libraries)
        wheel.check(libraries, chosen.get("instructions"))
        facts = {key: chosen[key] for key in ("title", "backend")} | pinned
        facts["flags"] = chosen["cmake"]
        try:
            pack = making.make(libraries, options.out, options.flagset, facts)
        except FileExistsError as error:
            sys.exit(f"{error.filename} is there already")
    if options.zip:
        making.zipped(pack)
    print(pack)


if __name__ == "__main__":
    main()
