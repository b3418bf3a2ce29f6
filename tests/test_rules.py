"""The rules of the house: who may import what, and what the first frame must not pay for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "app" / "corral"
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """``engine.llama.model`` for ``app/corral/engine/llama/model.py``."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(path: Path, *packages: str) -> list[str]:
    return [
        name
        for name in imports(path)
        if any(name == package or name.startswith(package + ".") for package in packages)
    ]


def files(*rooms: str) -> list[Path]:
    return [p for p in FILES if any(room(p) == r or room(p).startswith(r + ".") for r in rooms)]


@pytest.mark.parametrize("path", files("chat"), ids=room)
def test_chat_is_pure(path: Path) -> None:
    outside = {
        name
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names | {"__future__"}
        and not name.startswith("corral.chat")
    }
    assert not outside
    assert not uses(path, "os", "io", "time", "pathlib", "asyncio", "socket", "subprocess")


DOMAIN = (
    "benching",
    "chatting",
    "comparing",
    "contenders",
    "loading",
    "planning",
    "talking",
    "turn",
)


@pytest.mark.parametrize("path", files("models", "store", "engine", "cli", *DOMAIN), ids=room)
def test_nothing_but_the_screen_knows_textual(path: Path) -> None:
    assert not uses(path, "textual", "rich", "corral.tui")


@pytest.mark.parametrize("path", files("tui", "cli"), ids=room)
def test_the_faces_know_no_machinery(path: Path) -> None:
    assert not uses(path, "llama_cpp", "huggingface_hub", "httpx2", "apsw", "corral.engine.llama")


@pytest.mark.parametrize("path", FILES, ids=room)
def test_each_dependency_has_its_room(path: Path) -> None:
    owners = {
        "llama_cpp": ("engine.llama", "engine.worker"),
        "apsw": ("store",),
        "sqlite3": (),
        "huggingface_hub": ("models.hub.http", "models.hub.errors"),
        "httpx2": ("models.hub.http", "models.hub.errors", "models.hub.body"),
        "platformdirs": ("paths",),
        "click": ("cli",),
        "tomlkit": ("settings",),
        "pyperclip": ("tui.clipboard",),
        "jinja2": ("engine.llama.template",),
    }
    for package, allowed in owners.items():
        if uses(path, package):
            assert any(room(path) == a or room(path).startswith(a + ".") for a in allowed), package


@pytest.mark.parametrize("path", FILES, ids=room)
def test_rooms_stay_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400, "a room is missing"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=room)
def test_no_foreign_text_is_parsed_as_markup(path: Path) -> None:
    """Every Static, Label and Button with a text says that it is no markup."""
    if not room(path).startswith("tui"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("Static", "Label") and node.args:
                named = {keyword.arg: keyword.value for keyword in node.keywords}
                safe = "markup" in named or (
                    isinstance(node.args[0], ast.Call)
                    and getattr(node.args[0].func, "id", "") in ("Content", "Text")
                )
                assert safe, f"{path}:{node.lineno}"
            if node.func.id == "Markdown":
                assert any(k.arg == "open_links" for k in node.keywords), f"{path}:{node.lineno}"


HEAVY = ("llama_cpp", "numpy", "huggingface_hub", "httpx2", "jinja2", "httpx", "requests", "click")


def test_the_first_frame_pays_for_no_heavy_import() -> None:
    program = (
        "import sys, corral.tui.run, corral.tui.app, corral.tui.screens.chat, corral.parts\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_launcher_is_there_at_once() -> None:
    program = (
        "import sys, corral.__main__, corral.launcher\n"
        "print([n for n in ('textual', 'pydantic', 'asyncio', 'rich', 'apsw') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    folder = SOURCE.parent.parent / "requirements"
    for path in folder.glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path.name
        assert text.count("==") <= text.count("--hash=sha256:"), path.name
