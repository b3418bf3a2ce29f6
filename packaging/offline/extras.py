"""Gives an installed corral what else its bundle brings: engine packs, and models with their texts.

Run by the installers, with the interpreter of the new environment: ``extras.py BUNDLE RECEIPT``.
Packs and models go in by corral's own commands, which check them; what is there stays as it is.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from corral.paths import Paths

CORRAL = (sys.executable, "-I", "-m", "corral")


def add_packs(bundle: Path, receipt: Path) -> None:
    """Add the packs, and write down those that came from here. corral works without them."""
    shelf = Paths.from_environment().engines
    for pack in sorted(bundle.glob("engines/*")):
        place = shelf / pack.name
        if place.exists():
            continue
        if subprocess.run([*CORRAL, "engine", "add", str(pack)], check=False).returncode:
            print(f"The engine pack {pack.name} was left out; corral works without it.", flush=True)
            continue
        with receipt.open("a", encoding="utf-8") as file:
            # The installers take away nothing by a path with .. in it.
            file.write(f"pack {place.resolve()}\n")


def add_models(bundle: Path) -> bool:
    """Add the models, each with its texts beside it; whether all of them are there now."""
    whole = True
    for model in sorted(bundle.glob("models/*/*.gguf")):
        with model.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if _where(sha256) is not None:
            continue
        done = subprocess.run([*CORRAL, "models", "import", "--copy", str(model)], check=False)
        place = None if done.returncode else _where(sha256)
        if place is None:
            print(f"corral: corral is installed, but not the model {model.name}", file=sys.stderr)
            whole = False
            continue
        # The licence wants its texts to go where the weights go.
        for text in sorted(model.parent.iterdir()):
            if text.suffix != ".gguf":
                _copy(text, place)
    return whole


def _where(sha256: str) -> Path | None:
    """Where the model lies that has it, if there is one; one that is on its way lies nowhere."""
    ask = [*CORRAL, "models", "list", "--json"]
    told = subprocess.run(ask, check=False, stdout=subprocess.PIPE).stdout
    known = json.loads(told or "[]")
    found = (one["path"] for one in known if one["sha256"] == sha256)
    return next((Path(path) for path in found if path), None)


def _copy(text: Path, model: Path) -> None:
    """Another model's text of that name is not overwritten."""
    place = model.parent / text.name
    if place.exists() and not filecmp.cmp(text, place, shallow=False):
        place = model.with_name(f"{model.stem}-{text.name}")
    shutil.copyfile(text, place)


def main() -> None:
    bundle, receipt = map(Path, sys.argv[1:])
    try:
        add_packs(bundle, receipt)
        whole = add_models(bundle)
    except OSError as error:
        sys.exit(f"corral: corral is installed, but not all that came with it: {error}")
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
