"""A tiny application that opens one modal screen, and what tests need to look at it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import ModalScreen

from corral.models.files import Cancellation
from corral.models.library.local import LocalModel
from corral.text import clean
from corral.tui.themes import DEFAULT, THEMES

SIZES = [(120, 36), (80, 24), (60, 20)]

SECONDS = 20.0
"""Longest wait for anything; the machine may be busy."""

HOSTILE = (
    "[/INST] [@click=app.quit]x[/] \x1b]52;c;aGk=\x07 \x1b[2J \u202egpj.exe\u200f \x9b31m [/] é"
)
"""What would end an application, run an action, or write to the terminal."""

PENDING: Any = object()


class Host(App[None]):
    """Opens a screen and keeps what it gave."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        super().__init__()
        self.result: Any = PENDING
        self.copied: list[str] = []

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DEFAULT

    async def open(self, screen: ModalScreen[Any]) -> None:
        await self.push_screen(screen, self._keep)

    def _keep(self, result: Any) -> None:
        self.result = result

    def copy_to_clipboard(self, text: str) -> None:
        self.copied.append(text)


async def until(pilot: Pilot[Any], predicate: Callable[[], object]) -> None:
    """Let the application work until ``predicate`` holds; fail when it does not in time."""
    try:
        async with asyncio.timeout(SECONDS):
            while not predicate():
                await pilot.pause()
    except TimeoutError:
        raise AssertionError(f"never came true; the screen shows\n{shown(pilot)}") from None


def shown(pilot: Pilot[Any]) -> str:
    """The text on the screen."""
    return "\n".join(strip.text for strip in _strips(pilot))


def is_shown(pilot: Pilot[Any], words: str) -> bool:
    return words in shown(pilot)


def assert_harmless(pilot: Pilot[Any]) -> None:
    """Nothing on the screen means anything to a terminal, or runs a foreign action."""
    for strip in _strips(pilot):
        assert clean(strip.text) == strip.text
        for segment in strip:
            action = segment.style.meta.get("@click", "screen.") if segment.style else "screen."
            assert action.startswith("screen.")


def _strips(pilot: Pilot[Any]) -> Iterable[Any]:
    # A private name of Textual, kept in this one place.
    return list(pilot.app.screen._compositor.render_strips())


def local(name: str = "llama-2-7b-chat:Q4_K_M", **changes: Any) -> LocalModel:
    """A model as the library describes it."""
    model = LocalModel(
        name=name,
        title="Llama 2 7B Chat",
        family=None,
        size="7B",
        kind="chat",
        quant="Q4_K_M",
        path=f"/models/{name}.gguf",
        bytes=4_081_004_224,
        sha256="ab" * 32,
        state="installed",
        source="import",
        licence="llama2",
        format="llama-2",
        format_source="catalogue",
        default_system="",
        sampling={},
    )
    return replace(model, **changes)


class FakeLibrary:
    """The library without files: the same calls, scripted answers."""

    def __init__(self, *models: LocalModel) -> None:
        self.kept = list(models)
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.imported = local("new", title="New", format=None, format_source=None)
        self.go_on = threading.Event()
        """An import waits for it, or for being cancelled."""
        self.seen_cancel = threading.Event()

    def models(self, all: bool = False) -> list[LocalModel]:
        if self.error is not None:
            raise self.error
        return list(self.kept)

    def import_file(
        self,
        path: Path,
        *,
        how: str = "in place",
        format: str | None = None,
        name: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> LocalModel:
        self.calls.append(("import", path, how))
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        assert progress is not None and cancelled is not None
        progress(1_100_000_000, 4_400_000_000)
        self.wait(cancelled)
        self.kept.append(self.imported)
        return self.imported

    def wait(self, cancelled: Callable[[], bool]) -> None:
        """Until the test lets it go on, or somebody cancels."""
        while not self.go_on.wait(0.005):
            if cancelled():
                self.seen_cancel.set()
                raise Cancellation("it was not read to its end")

    def set_format(self, path: str, format: str | None) -> LocalModel:
        self.calls.append(("format", path, format))
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        for number, model in enumerate(self.kept):
            if model.path == path:
                self.kept[number] = replace(model, format=format, format_source="person")
                return self.kept[number]
        raise AssertionError(path)

    def forget(self, path: str) -> bool:
        self.calls.append(("forget", path))
        self.kept = [model for model in self.kept if model.path != path]
        return True
