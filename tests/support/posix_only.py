"""Which tests use terminals and limits of POSIX systems: Windows cannot even import them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent
MODULES = frozenset({"fcntl", "pty", "pwd", "resource", "termios", "tty"})


def files() -> dict[str, str]:
    """Below the folder of all tests, with what each needs: a module, or a file that needs one."""
    needs = {path.relative_to(TESTS).as_posix(): set(_imports(path)) for path in _all()}
    found = {name: min(wanted & MODULES) for name, wanted in needs.items() if wanted & MODULES}
    while True:
        more = {
            name: source
            for name, wanted in needs.items()
            for source in found
            if name not in found and "tests." + source[:-3].replace("/", ".") in wanted
        }
        if not more:
            return found
        found |= more


def _all() -> Iterator[Path]:
    return (path for path in TESTS.rglob("*.py") if "__pycache__" not in path.parts)


def _imports(path: Path) -> Iterator[str]:
    """Of the file's first level: what is imported within a function is wanted later."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
