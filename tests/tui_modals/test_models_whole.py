"""The models screen on the real queue, the real library and a hub on the loopback."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.hub import COMMIT, HubServer, hub_server
from tests.tui_modals.host import Host, shown, until
from textual.pilot import Pilot
from textual.widgets import Input

from corral.models.catalog import Catalog
from corral.models.downloads.downloads import Downloads
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import look
from corral.models.hub.client import Hub
from corral.models.library.library import Library
from corral.models.transfer.pieces import PIECE
from corral.settings import DownloadSettings
from corral.store.store import Store
from corral.tui.screens.dialogs import ChoiceDialog, ConfirmDialog
from corral.tui.screens.models.entries import Entry
from corral.tui.screens.models.hub_search import HubSearchScreen, RepositoryScreen
from corral.tui.screens.models.licence import LicenceScreen
from corral.tui.screens.models.screen import ModelsScreen
from corral.tui.screens.models.starting import DownloadDialog
from corral.tui.screens.models.table import Table

CATALOGUE = """
[licence.llama2]
title = "Llama 2 Community License"
accept = true
repository = "somebody/tiny-GGUF"
revision = "{commit}"
files = ["LICENSE.txt"]

[family.tiny-chat]
title = "Tiny Chat"
size = "4M"
kind = "chat"
licence = "llama2"
format = "llama-2"
repository = "somebody/tiny-GGUF"
revision = "{commit}"
n_layer = 1
n_embd = 512
n_head = 4
n_head_kv = 4
n_ff = 2048
recommended = "Q8_0"
files = [{{ quant = "Q8_0", file = "tiny.Q8_0.gguf", bytes = {bytes}, sha256 = "{sha256}" }}]
"""
NAME = "tiny-chat:Q8_0"


class Desk:
    """One corral on an empty folder, without its chat."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        model = tiny_llama(
            folder / "tiny.gguf", n_layer=1, n_embd=512, n_head=4, n_head_kv=4, n_ff=2048
        )
        data = model.read_bytes()
        texts = {"LICENSE.txt": b"Over 700 million users ask Meta.\n"}
        hub.add("somebody/tiny-GGUF", {**texts, "tiny.Q8_0.gguf": model})
        hub.add("else/Other-GGUF", {"other.Q8_0.gguf": model}, downloads=12, likes=3)
        sha256 = hashlib.sha256(data).hexdigest()
        catalogue = folder / "models.toml"
        catalogue.write_text(CATALOGUE.format(commit=COMMIT, bytes=len(data), sha256=sha256))
        self.model = model
        self.store = Store.open(folder / "corral.db")
        catalog = Catalog.load(catalogue)
        self.library = Library(self.store, catalog, folder=folder / "models")
        self.hub = Hub(folder / "cache", endpoint=hub.url, patience=5, stall=5)
        self.downloads = Downloads(
            self.store,
            catalog,
            self.library,
            lambda: self.hub,
            folder / "models",
            DownloadSettings(),
        )
        self.screen = ModelsScreen(
            self.library,
            self.downloads,
            Fitter(catalog, self.store, machine=look),
            lambda: self.hub,
            current=None,
            machine=look,
            loaded=list,
        )
        self.downloads.start()

    def close(self) -> None:
        self.downloads.close()
        self.hub.close()
        self.store.close()

    def entry(self, name: str) -> Entry:
        return next(entry for entry in self.screen.entries if entry.model.name == name)

    async def open(self, app: Host, pilot: Pilot[None]) -> None:
        await app.open(self.screen)
        await until(pilot, lambda: self.screen.entries)

    async def get(self, app: Host, pilot: Pilot[None]) -> None:
        """Ask for the only model of the catalogue, and agree to everything."""
        await self.open(app, pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LicenceScreen))
        await until(pilot, lambda: "Over 700 million users" in shown(pilot))
        await pilot.press("a")
        await until(pilot, lambda: app.screen is self.screen)


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
async def desk(tmp_path: Path, hub: HubServer) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, hub)
    yield desk
    hub.rate = 0
    desk.close()


async def test_a_model_is_downloaded_paused_resumed_and_chosen(desk: Desk, hub: HubServer) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        hub.rate = 4_000_000
        await desk.get(app, pilot)
        await until(pilot, lambda: "MB/s" in shown(pilot))
        await pilot.press("space")
        await until(pilot, lambda: "Paused at" in shown(pilot))
        accepted = desk.store.licence("llama2")
        assert accepted is not None and "700 million" in accepted.text
        hub.rate = 0
        await pilot.press("enter")
        await until(pilot, lambda: "✓ installed" in shown(pilot))
        assert hub.sent("tiny.Q8_0.gguf") < 1.6 * desk.model.stat().st_size
        await pilot.press("enter")
        await until(pilot, lambda: getattr(app.result, "name", "") == NAME)
        assert Path(app.result.path).read_bytes() == desk.model.read_bytes()
        assert (Path(app.result.path).parent / "LICENSE.txt").exists()


async def test_damage_on_the_disk_is_found_and_repaired(desk: Desk, hub: HubServer) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await desk.get(app, pilot)
        await until(pilot, lambda: "✓ installed" in shown(pilot))
        path = Path(desk.entry(NAME).model.path or "")
        with path.open("r+b") as file:
            file.seek(PIECE + 5)
            byte = file.read(1)
            file.seek(PIECE + 5)
            file.write(bytes([byte[0] ^ 1]))
        before = hub.sent("tiny.Q8_0.gguf")
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert "One piece of 8 MB can be fetched again" in " ".join(shown(pilot).split())
        await pilot.press("enter")
        await until(pilot, lambda: path.exists() and "✓ installed" in shown(pilot))
        assert path.read_bytes() == desk.model.read_bytes()
        assert hub.sent("tiny.Q8_0.gguf") - before <= PIECE
        await pilot.press("v")
        await until(pilot, lambda: "is sound" in shown(pilot))


async def test_a_repository_of_the_hub_becomes_a_model(desk: Desk) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await desk.open(app, pilot)
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, HubSearchScreen))
        app.screen.query_one(Input).value = "other"
        await pilot.press("enter")
        await until(pilot, lambda: "else/Other-GGUF" in shown(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RepositoryScreen))
        await until(pilot, lambda: "other.Q8_0.gguf" in shown(pilot))
        await until(pilot, lambda: shown(pilot).count("● in memory") > 1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        assert "else/Other-GGUF at 01234567" in shown(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is desk.screen)
        await until(pilot, lambda: "✓ installed" in shown(pilot))
        assert desk.entry("else/Other-GGUF:Q8_0").model.repository == "else/Other-GGUF"
        await pilot.press("delete")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: desk.screen.query_one(Table).count == 1)


async def test_a_file_is_imported_by_copy(desk: Desk, tmp_path: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 36)) as pilot:
        await desk.open(app, pilot)
        mine = tmp_path / "mine.gguf"
        mine.write_bytes(b"no model at all")
        for path in (mine, desk.model):
            await pilot.press("i")
            await until(pilot, lambda: app.screen is not desk.screen)
            app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, ChoiceDialog))
            await pilot.press("end", "enter")
            await until(pilot, lambda: app.screen is desk.screen)
            if path == mine:
                await until(pilot, lambda: "cannot be used" in shown(pilot))
        await until(pilot, lambda: "✓ installed" in shown(pilot))
        here = Path(desk.entry(NAME).model.path or "")
        assert here.is_relative_to(tmp_path / "models")
        assert here.stat().st_ino != desk.model.stat().st_ino
