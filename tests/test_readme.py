"""The README tells what is so."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.scripts import script

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_program() -> None:
    again = script("docs.py").written(README)
    assert again == README, "run: python packaging/docs.py"


def test_pictures_are_there_and_have_no_other_use() -> None:
    named = set(re.findall(r'(?:srcset|src)="(docs/[^"]+)"', README))
    root = Path(__file__).parent.parent
    assert named == {f"docs/{path.name}" for path in (root / "docs").iterdir()}


def test_the_commands_it_names_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
