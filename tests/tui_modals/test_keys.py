"""The table of keys is what the footer, the help and the README are made of."""

from __future__ import annotations

import subprocess
import sys

from corral.tui.keys import HEADINGS, KEYS, group, markdown_table


def test_needs_no_textual() -> None:
    code = "import sys, corral.tui.keys; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_key_stands_in_one_group_and_is_bound_once_there() -> None:
    assert sum(len(group(where)) for where in HEADINGS) == len(KEYS)
    for where in HEADINGS:
        bound = [name for key in group(where) for name in key.keys.split(",")]
        assert len(bound) == len(set(bound))


def test_names_are_written_as_people_read_them() -> None:
    by_action = {key.action: key for key in KEYS}
    assert by_action["newline"].shown == "Ctrl+J / Shift+Enter"
    assert by_action["newline"].short == "^J"
    assert by_action["stop"].shown == "Esc"
    assert by_action["help"].short == "F1"
    assert by_action["copy_message"].shown == "c"
    assert by_action["sibling(-1)"].shown == "["


def test_markdown_table_has_a_row_for_every_key() -> None:
    lines = markdown_table().splitlines()
    assert lines[0] == "| Key | Does | Where |"
    assert len(lines) == len(KEYS) + 2
    assert "| `Ctrl+O` | Models: choose, swap, download | anywhere |" in lines
