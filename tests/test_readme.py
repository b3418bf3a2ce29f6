"""The README tells what is so."""

from __future__ import annotations

import re
from pathlib import Path

from corral.tui.keys import markdown_table

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_key_table_is_the_one_of_the_program() -> None:
    written = README.split("tui/keys.py -->")[1].split("<!-- end of keys -->")[0].strip()
    assert written == markdown_table().strip(), "paste tui.keys.markdown_table() into README.md"


def test_pictures_are_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / path).is_file(), path


def test_the_commands_it_names_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
