"""The first frame: there before the parts, and nothing that is typed meanwhile is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.support.chat_app import NOW, lines_of, parts_with
from tests.support.scripted_engine import ScriptedEngine

from corral.chatting import Chatting
from corral.engine.errors import EngineStopped
from corral.errors import StoreError
from corral.models.catalog import Catalog, find_catalogue
from corral.models.library.library import Library
from corral.parts import Parts
from corral.paths import Paths
from corral.settings import Settings
from corral.store.store import Store
from corral.tui.app import CorralApp


def parts(folder: Path) -> Parts:
    paths = Paths(folder / "config", folder / "data", folder / "cache", folder / "logs")
    paths.make()
    store = Store.open(paths.database, clock=lambda: NOW)
    library = Library(store, Catalog.load(find_catalogue()))
    settings = Settings()
    chatting = Chatting(store, library, ScriptedEngine(), settings)
    return parts_with(paths, settings, store, library, chatting)


def held(made: Parts) -> tuple[CorralApp, threading.Event]:
    """An application that stays at its entrance until the event is set."""
    go_on = threading.Event()

    def build() -> Parts:
        go_on.wait(20)
        return made

    return CorralApp(build, made.paths), go_on


async def test_what_is_typed_before_the_box_is_there_ends_up_in_it(tmp_path: Path) -> None:
    made = parts(tmp_path)
    app, go_on = held(made)
    async with app.run_test(size=(100, 30)) as pilot:
        assert "corral" in lines_of(app)[0] and "Ask anything" in "\n".join(lines_of(app))
        await pilot.press(*"hello", "backspace", "ctrl+j", *"there")
        assert "there" in "\n".join(lines_of(app))
        go_on.set()
        end = time.monotonic() + 20
        while not (app.furnished and app.chat.ready and app.chat.prompt.text):
            assert time.monotonic() < end
            await pilot.pause(0.02)
        assert app.chat.prompt.text == "hell\nthere"
    made.store.close()


async def test_enter_at_the_entrance_sends_when_there_is_somebody_to_send_it(
    tmp_path: Path,
) -> None:
    made = parts(tmp_path)
    app, go_on = held(made)
    async with app.run_test() as pilot:
        await pilot.press(*"hello", "enter")
        go_on.set()
        end = time.monotonic() + 20
        said: list[tuple[str, str]] = []
        while len(said) < 2 or said[1][1] == "streaming":
            assert time.monotonic() < end
            await pilot.pause(0.02)
            for found in made.store.conversations():
                said = [(m.role, m.status) for m in made.store.messages(found.id)]
        assert said == [("user", "complete"), ("assistant", "complete")]
    made.store.close()


async def test_parts_that_cannot_be_built_end_the_program_with_their_reason(tmp_path: Path) -> None:
    made = parts(tmp_path)
    error = StoreError("The history is from a newer version")

    def build() -> Parts:
        raise error

    app = CorralApp(build, made.paths)
    async with app.run_test() as pilot:
        end = time.monotonic() + 20
        while app.failed is None:
            assert time.monotonic() < end
            await pilot.pause(0.02)
    assert app.failed is error
    assert app.return_code == 1
    made.store.close()


async def test_quitting_at_the_entrance_is_possible(tmp_path: Path) -> None:
    made = parts(tmp_path)
    app, go_on = held(made)
    async with app.run_test() as pilot:
        await pilot.press("ctrl+q")
        go_on.set()
        await pilot.pause()
    assert app.return_code == 0
    made.store.close()


class Disturbed(Parts):
    """An answer begins while the machine is measured for the first time."""

    measured = 0

    async def calibrate(self) -> None:
        Disturbed.measured += 1
        if Disturbed.measured == 1:
            raise EngineStopped("Stopped")


async def test_a_machine_that_could_not_be_measured_is_measured_later(tmp_path: Path) -> None:
    made = parts(tmp_path)
    made.__class__ = Disturbed
    app, go_on = held(made)
    async with app.run_test() as pilot:
        go_on.set()
        end = time.monotonic() + 20
        while Disturbed.measured < 2:
            assert time.monotonic() < end
            await pilot.pause(0.02)
    made.store.close()
