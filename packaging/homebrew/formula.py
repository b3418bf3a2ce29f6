"""Fills the Homebrew formula with the programs of a release: see packaging/channels.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import product  # noqa: E402

_SYSTEMS = (("darwin", "on_macos"), ("linux", "on_linux"))
_MACHINES = {"arm64": "on_arm", "aarch64": "on_arm", "x86_64": "on_intel"}


class Program(Protocol):
    """What is needed of :class:`channels.Portable`."""

    system: str
    machine: str
    url: str
    sha256: str


def text(programs: Sequence[Program]) -> str:
    """The formula as Ruby."""
    marks = {
        "SUMMARY": json.dumps(product.SUMMARY),
        "HOME": json.dumps(product.HOME),
        "VERSION": json.dumps(product.VERSION),
        "LICENCE": json.dumps(product.LICENCE),
        "PLACES": "\n\n".join(
            _system(block, [one for one in programs if one.system == system])
            for system, block in _SYSTEMS
        ),
    }
    filled = (HERE / "corral.rb.in").read_text(encoding="utf-8")
    for mark, value in marks.items():
        filled = filled.replace(f"@{mark}@", value)
    return filled


def _system(block: str, programs: Sequence[Program]) -> str:
    lines = [f"  {block} do"]
    if {_MACHINES[one.machine] for one in programs} == {"on_arm"}:
        lines.append("    depends_on arch: :arm64")
    elif {_MACHINES[one.machine] for one in programs} == {"on_intel"}:
        lines.append("    depends_on arch: :x86_64")
    for one in programs:
        lines += [
            f"    {_MACHINES[one.machine]} do",
            f"      url {json.dumps(one.url)}",
            f"      sha256 {json.dumps(one.sha256)}",
            "    end",
        ]
    return "\n".join([*lines, "  end"])
