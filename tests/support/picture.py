"""``make picture``: the real program, with the real starter model, as pictures for the README.

SVG from Textual, without the web font it names; ``python -m tests.support.picture FOLDER`` writes
the other sizes and themes too, for looking at them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.engines import starter
from tests.support.hub import HubServer, hub_server
from tests.support.quantizing import quantize
from textual.pilot import Pilot

from corral.chatting import Options
from corral.models.catalog import Catalog, find_catalogue
from corral.parts import Parts, build
from corral.paths import Paths
from corral.tui.app import CorralApp
from corral.tui.screens.compare import CompareScreen

DOCS = Path(__file__).parent.parent.parent / "docs"
OTHERS = ("Trip to Cusco", "Refactor parse_args", "Invoice e-mail", "Quechua word list")
QUESTIONS = (
    "What is the capital of Peru?",
    "Write hello world as a Python function, with an example.",
    "Say it as a C program, too.",
)
SHOWN = ("chat", "models", "tree", "compare")
"""What the README shows."""
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


@contextlib.contextmanager
def downloading(folder: Path) -> Iterator[HubServer]:
    """A hub that has one file of the catalogue, full of zeros."""
    family = Catalog.load(find_catalogue()).families["llama-2-7b-chat"]
    file = family.file("Q2_K")
    assert file is not None
    assert file.bytes is not None
    assert file.sha256 is not None
    path = folder / file.file
    path.touch()
    os.truncate(path, file.bytes)
    with hub_server() as hub:
        texts = dict.fromkeys(("LICENSE.txt", "USE_POLICY.md", "Notice"), b"As the hub has it.\n")
        hub.add(
            family.repository,
            {file.file: path, **texts},
            revision=family.revision,
            sha256={file.file: file.sha256},
        )
        before = {name: os.environ.get(name) for name in hub.environment}
        os.environ |= hub.environment
        try:
            yield hub
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


async def picture(folder: Path, theme: str, size: tuple[int, int], path: Path) -> None:
    parts = seeded(folder)
    await talk(parts)
    await parts.calibrate()
    await parts.engine.close()
    licence = parts.library.catalog.licence("llama2")
    assert licence is not None
    parts.downloads.accept(licence, "as the hub has it")
    app = CorralApp(lambda: parts, parts.paths, theme=theme)
    with downloading(folder) as hub:
        async with app.run_test(size=size) as pilot:
            while not (app.furnished and app.chat.ready):
                await pilot.pause(0.05)
            plan = await asyncio.to_thread(parts.downloads.plan, "llama-2-7b-chat:Q2_K")
            id = (await asyncio.to_thread(parts.downloads.add, plan)).id
            while (now := parts.downloads.get(id)).done < 0.4 * plan.bytes:
                assert now.state != "failed", now.error
                await pilot.pause(0.1)
            hub.rate = 12_000_000
            for _ in range(60):
                await pilot.pause(0.05)
            save(app, path)
            await pilot.press("ctrl+o")
            await pilot.pause(1.0)
            await pilot.press("home")  # its row says no path of this machine
            for _ in range(60):
                await pilot.pause(0.05)
            save(app, path.with_name(path.name.replace("chat-", "models-")))
            await others(app, pilot, path)
        parts.close_stores()


async def others(app: CorralApp, pilot: Pilot[None], path: Path) -> None:
    """Settings and kept prompts, then what a conversation has."""
    await pilot.press("escape")
    for action, name in (("settings", "settings-"), ("kept_prompts", "kept-")):
        await app.run_chat_action(action)
        for _ in range(20):
            await pilot.pause(0.05)
        save(app, path.with_name(path.name.replace("chat-", name)))
        await pilot.press("escape")
    await conversing(app, pilot, path)


async def conversing(app: CorralApp, pilot: Pilot[None], path: Path) -> None:
    """The tree, a search, a comparison and a text, each as the real model fills it."""

    def take(name: str) -> None:
        save(app, path.with_name(path.name.replace("chat-", f"{name}-")))

    async def settle(seconds: float = 1.0) -> None:
        for _ in range(int(20 * seconds)):
            await pilot.pause(0.05)

    async def command(text: str) -> None:
        app.chat.prompt.fill(text)
        await pilot.press("enter")
        await settle(2)

    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not done():
                await pilot.pause(0.05)
        await settle()

    for text in ("/again seed=2 max_tokens=60", "/again seed=3 max_tokens=60"):
        await command(text)
        await until(lambda: not app.turns.live)
    await app.run_chat_action("tree")
    await settle()
    take("tree")
    await pilot.press("escape", "ctrl+f", *"python")
    await settle()
    take("search")
    await pilot.press("escape", "escape")
    other = quantize(starter(), app.paths.data / "smollm2.Q8_0.gguf", "Q8_0")
    await asyncio.to_thread(app.parts.library.import_file, other, name="smollm2-q8")
    await command("/compare smollm2-135m-instruct smollm2-q8")
    await until(lambda: isinstance(app.screen, CompareScreen) and app.screen.ended)
    take("compare")
    await pilot.press("escape")
    await settle()
    await command("/complete The llama is a domesticated South American camelid, ")
    await pilot.press("tab")
    await settle(1)
    await until(lambda: not app.turns.live)
    await pilot.press("ctrl+l")
    await settle(3)
    take("completion")
    await pilot.press("escape", "escape")


def save(app: CorralApp, path: Path) -> None:
    svg = app.export_screenshot(title="corral")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"Fira Code", "ui-monospace, Menlo, DejaVu Sans Mono", svg)
    # Some viewers swallow the spaces that a piece begins with.
    path.write_text(svg.replace("<text ", '<text xml:space="preserve" '))


def take(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """Every screen in every size, dark and light."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme, look in (("altiplano", "dark"), ("puna", "light")):
        for suffix, size in sizes.items():
            with tempfile.TemporaryDirectory() as home:
                path = folder / f"chat-{look}{suffix}.svg"
                asyncio.run(picture(Path(home), theme, size, path))
                print(path)


def main() -> None:
    if sys.argv[1:]:
        take(Path(sys.argv[1]), SIZES)
        return
    with tempfile.TemporaryDirectory() as made:
        take(Path(made), {"": SIZES[""]})
        for name in SHOWN:
            for path in Path(made).glob(f"{name}-*.svg"):
                shutil.copyfile(path, DOCS / path.name)


if __name__ == "__main__":
    main()
