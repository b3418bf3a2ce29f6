"""What is installed is what was tested: the built wheel carries a catalogue that loads."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.scripts import script

from corral.models.catalog import Catalog, find_catalogue

ROOT = Path(__file__).parents[2]

LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
import corral
from corral.models.catalog import Catalog, find_catalogue
assert corral.__file__.startswith(sys.argv[1]), corral.__file__
from corral.engine.packs import building
assert str(building.script()).startswith(sys.argv[1])
print(find_catalogue())
print(len(building.flagsets()))
print(len(Catalog.load(find_catalogue()).families))
"""


def test_the_wheel_carries_the_catalogue(tmp_path: Path) -> None:
    wheel = script("own.py").wheel(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("corral/models.toml") == find_catalogue().read_bytes()
        names = archive.namelist()
        for file in (ROOT / "packaging" / "engine").iterdir():
            assert file.is_dir() or f"corral/packaging/engine/{file.name}" in names
        assert "corral/requirements/engine.txt" in names
        assert not any("__pycache__" in name for name in names)
        archive.extractall(tmp_path / "site")
    found = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout.split()
    assert found[0] == str(tmp_path / "site" / "corral" / "models.toml")
    assert found[1] == "6"
    assert int(found[2]) == len(Catalog.load(find_catalogue()).families)
