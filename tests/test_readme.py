"""The README tells what is so."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.scripts import script

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_program() -> None:
    again = script("docs.py").written(README)
    assert again == README, "run: python packaging/docs.py"


def test_pictures_are_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / path).is_file(), path


def test_the_commands_it_names_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
