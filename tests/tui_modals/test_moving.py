"""A long journey shows how far it is and can be stopped; what it reports is only words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tui_modals.host import (
    HOSTILE,
    PENDING,
    SECONDS,
    SIZES,
    Host,
    assert_harmless,
    is_shown,
    shown,
    until,
)
from textual.widgets import Input

from corral.errors import CorralError, DoesNotFit
from corral.models.files import Cancellation
from corral.moving.importing import Imported, Problem
from corral.tui.screens.importing import PathDialog
from corral.tui.screens.journey import JourneyScreen
from corral.tui.screens.moving import ReportScreen

Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


@pytest.mark.parametrize("size", SIZES)
async def test_progress_is_shown_and_escape_stops_it(size: tuple[int, int]) -> None:
    seen = threading.Event()

    def job(progress: Progress, cancelled: Cancelled) -> str:
        progress(43, 100)
        while not seen.wait(0.01):
            if cancelled():
                seen.set()
        raise Cancellation("Nothing was written")

    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(JourneyScreen("Importing", HOSTILE, "The file stays.", job))
        await until(pilot, lambda: is_shown(pilot, "43 %"))
        assert_harmless(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)
        assert seen.is_set()


async def test_a_journey_that_ends_under_another_screen_closes_when_that_is_gone() -> None:
    """The palette may lie over everything."""
    go_on = threading.Event()

    def job(progress: Progress, cancelled: Cancelled) -> str:
        assert go_on.wait(SECONDS)
        return "done"

    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        journey, over = JourneyScreen("Importing", "a.json", "", job), PathDialog("/", "Over", "")
        await app.open(journey)
        await app.push_screen(over)
        go_on.set()
        await until(pilot, lambda: journey._cancelled.is_set())
        await pilot.pause()
        assert app.screen is over and app.result is PENDING
        await pilot.press("escape")
        await until(pilot, lambda: app.result == "done")
        await until(pilot, lambda: journey not in app.screen_stack)
        # Closing what is closed closes nothing else.
        journey.dismiss(None)
        assert len(app.screen_stack) == 1 and app.result == "done"


@pytest.mark.parametrize(
    "error", [DoesNotFit("There is no room left", title="The disk is full"), OSError(5, "bad disk")]
)
async def test_what_stood_in_the_way_is_given_back(error: Exception) -> None:
    def job(progress: Progress, cancelled: Cancelled) -> str:
        raise error

    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.open(JourneyScreen("Exporting", "a.json", "", job))
        await until(pilot, lambda: isinstance(app.result, CorralError))
        assert "room" in app.result.message or "bad disk" in app.result.message


async def test_a_path_is_completed_with_what_can_be_imported(tmp_path: Path) -> None:
    for name in ("conversations.json", "corner.zip", "picture.png"):
        (tmp_path / name).write_text("")
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.open(
            PathDialog(f"{tmp_path}/co", "Import", endings=(".json", ".zip"), kind="zip file")
        )
        await pilot.press("tab")
        await until(pilot, lambda: is_shown(pilot, "conversations.json"))
        assert is_shown(pilot, "corner.zip") and not is_shown(pilot, "picture")
        field = app.screen.query_one(Input)
        field.value += "x"
        await pilot.press("tab")
        await until(pilot, lambda: is_shown(pilot, "no zip file begins like this"))
        field.value = field.value[:-1]
        await pilot.press("n", "tab")
        await until(pilot, lambda: field.value == f"{tmp_path}/conversations.json")
        await pilot.press("enter")
        await until(pilot, lambda: app.result == f"{tmp_path}/conversations.json")


@pytest.mark.parametrize("size", SIZES)
async def test_records_that_failed_are_listed_and_scroll(size: tuple[int, int]) -> None:
    problems = [Problem(n, HOSTILE, f"{HOSTILE} {n}") for n in range(60)]
    done = Imported(Path("a.json"), failed=70, problems=problems)
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(ReportScreen(done, f"0 added {HOSTILE}"))
        await until(pilot, lambda: is_shown(pilot, "the file"))
        assert_harmless(pilot)
        await pilot.press("end")
        await until(pilot, lambda: is_shown(pilot, "and 10 more"))
        assert "Esc close" in shown(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: app.result is None)
