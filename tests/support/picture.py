"""``make picture``: the real program, with the real starter model, as pictures for the README.

SVG from Textual, without the web font it names; ``python -m tests.support.picture FOLDER`` writes
the other sizes and themes too, for looking at them.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from corral.chatting import Options
from corral.parts import Parts, build
from corral.paths import Paths
from corral.tui.app import CorralApp

DOCS = Path(__file__).parent.parent.parent / "docs"
OTHERS = ("Trip to Cusco", "Refactor parse_args", "Invoice e-mail", "Quechua word list")
QUESTIONS = (
    "What is the capital of Peru?",
    "Write hello world as a Python function, with an example.",
    "Say it as a C program, too.",
)
SIZES = {"": (120, 36), "-80x24": (80, 24), "-60x20": (60, 20)}


def seeded(folder: Path) -> Parts:
    parts = build(Paths(folder / "config", folder / "data", folder / "cache", folder / "logs"))
    for title in OTHERS:
        made = parts.store.create_conversation(title=title)
        parts.store.add_user(made.id, title, None)
    parts.store.update_conversation(made.id, pinned=True)
    return parts


async def talk(parts: Parts) -> None:
    conversation = parts.store.create_conversation(title="Hello from Lima").id
    options = Options(parameters={"temperature": 0, "max_tokens": 220})
    for question in QUESTIONS:
        async for _ in parts.chatting.send(conversation, question, options):
            pass


async def picture(folder: Path, theme: str, size: tuple[int, int], path: Path) -> None:
    parts = seeded(folder)
    await talk(parts)
    app = CorralApp(lambda: parts, parts.paths, theme=theme)
    async with app.run_test(size=size) as pilot:
        while not (app.furnished and app.chat.ready):
            await pilot.pause(0.05)
        for _ in range(10):
            await pilot.pause(0.05)
        svg = app.export_screenshot(title="corral")
    parts.store.close()
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    path.write_text(re.sub(r"Fira Code", "ui-monospace, Menlo, DejaVu Sans Mono", svg))


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    sizes = SIZES if sys.argv[1:] else {"": SIZES[""]}
    for theme, look in (("altiplano", "dark"), ("puna", "light")):
        for suffix, size in sizes.items():
            with tempfile.TemporaryDirectory() as home:
                path = folder / f"chat-{look}{suffix}.svg"
                asyncio.run(picture(Path(home), theme, size, path))
                print(path)


if __name__ == "__main__":
    main()
