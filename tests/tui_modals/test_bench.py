"""Measuring on the screen: figures, a time that is none, trouble, and an end at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.calibrated import calibrate
from tests.support.gguf_files import tiny_llama
from tests.tui_modals.host import HOSTILE, PENDING, SIZES, Host, assert_harmless, shown, until

from corral.benching.bench import Bench
from corral.benching.report import Figure, Report
from corral.errors import DoesNotFit
from corral.parts import Parts, build
from corral.paths import Paths
from corral.tui.screens.bench import BenchScreen, Tell
from corral.tui.screens.modal import Hints

MODEL = {"title": HOSTILE, "quant": "Q4_1", "gpu_layers": 0, "layers": 31, "threads": 2}
FIGURES = (
    Figure("load", "Load", 0.31, "s"),
    Figure("prompt", "Prompt", 291.0, "tok/s", 280.0, "512 tokens; 250 to 310 predicted"),
    Figure("generation", "Generation", 118.0, "tok/s", 120.0, "100 to 140 predicted"),
    Figure("reuse", "Next turn", 62.0, "ms", 1800.0, "1.8 s if nothing were kept"),
    Figure("restore", "Reopened", 95.0, "ms", 1800.0, "1.8 s if nothing were kept"),
)
REPORT = Report({"processor": "Some CPU"}, {}, MODEL, FIGURES, 17.0)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = build(Paths.from_environment())
    tiny = tiny_llama(tmp_path / "tiny.gguf")
    parts.library.import_file(tiny, format="llama-2", name="tiny")
    calibrate(parts)
    yield parts
    await parts.close()


async def at_once(tell: Tell) -> Report:
    tell(HOSTILE, 0.5)
    return REPORT


async def test_measures_when_it_opens(parts: Parts) -> None:
    app = Host()
    async with app.run_test(size=(100, 30)) as pilot:
        bench = Bench(parts, rounds=1)
        await app.open(BenchScreen(lambda tell: bench.run("tiny", tell), "Tiny Llama"))
        await until(pilot, lambda: "Esc stop" in shown(pilot))
        await until(pilot, lambda: "Reopened" in shown(pilot))
        page = shown(pilot)
        for words in ("Load", "Prompt", "Generation", "Next turn", "tok/s", "Measured in"):
            assert words in page
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
        assert isinstance(app.result, Report)


async def test_esc_ends_it_first(parts: Parts) -> None:
    app = Host()
    async with app.run_test() as pilot:
        bench = Bench(parts, rounds=2_000)
        screen = BenchScreen(lambda tell: bench.run("tiny", tell), "Tiny Llama")
        await app.open(screen)
        await until(pilot, lambda: "prompt and answer" in shown(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: app.result is not PENDING)
        assert app.result is None
        assert not list(parts.paths.cache.glob("bench-*"))


async def test_the_program_can_end_while_it_measures() -> None:
    app, ended = Host(), False

    async def measure(tell: Tell) -> Report:
        nonlocal ended
        tell("prompt and answer", 0.5)
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
            while screen.query(Hints):  # Ending a worker takes longer than closing a screen.
                await asyncio.sleep(0)
        return REPORT

    screen = BenchScreen(measure, "Tiny")
    async with app.run_test() as pilot:
        await app.open(screen)
        await until(pilot, lambda: "prompt and answer" in shown(pilot))
        app.exit()
    assert ended and app.return_code == 0


@pytest.mark.parametrize("size", SIZES)
async def test_fits_every_size_and_is_harmless(size: tuple[int, int]) -> None:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.open(BenchScreen(at_once, HOSTILE))
        await until(pilot, lambda: "118 tok/s" in shown(pilot))
        assert "Esc close" in shown(pilot)
        assert_harmless(pilot)


async def test_an_answer_comes_first() -> None:
    app, busy = Host(), ["An answer is being written."]
    async with app.run_test() as pilot:
        await app.open(BenchScreen(at_once, "Tiny", lambda: busy[0]))
        await until(pilot, lambda: busy[0] in shown(pilot))
        assert "118 tok/s" not in shown(pilot)
        busy[0] = ""
        await pilot.press("r")
        await until(pilot, lambda: "118 tok/s" in shown(pilot))
        assert "An answer is being written" not in shown(pilot)


async def test_trouble_is_said_and_can_be_tried_again() -> None:
    app, tries = Host(), 0

    async def measure(tell: Tell) -> Report:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise DoesNotFit("Tiny needs 9 GB, 1 GB is free", hint="Close something")
        return await at_once(tell)

    async with app.run_test() as pilot:
        await app.open(BenchScreen(measure, "Tiny"))
        await until(pilot, lambda: "needs 9 GB" in shown(pilot))
        assert "Close something" in shown(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "118 tok/s" in shown(pilot))


async def test_copies_the_figures() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await app.open(BenchScreen(at_once, "Tiny"))
        await until(pilot, lambda: "118 tok/s" in shown(pilot))
        await pilot.press("c")
        await until(pilot, lambda: app.copied)
        assert "Generation  118 tok/s (100 to 140 predicted)" in app.copied[0]
        assert "Some CPU" in app.copied[0]


async def test_a_second_one_does_not_begin_beside_the_first() -> None:
    app, begun = Host(), 0
    go_on = asyncio.Event()

    async def measure(tell: Tell) -> Report:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return REPORT

    async with app.run_test() as pilot:
        await app.open(BenchScreen(measure, "Tiny"))
        await until(pilot, lambda: begun)
        await pilot.press("r")
        await pilot.pause()
        go_on.set()
        await until(pilot, lambda: "118 tok/s" in shown(pilot))
        assert begun == 1
