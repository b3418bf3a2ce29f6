"""The bench: real workers on a tiny model, and what is left when one is cut short."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from tests.support.calibrated import calibrate
from tests.support.gguf_files import LLAMA_70B, sparse_llama, tiny_llama

from corral.benching.bench import STALE_SECONDS, Bench
from corral.benching.report import KEPT, Figure, Report, keep, last_results, processor_name
from corral.chatting import Options
from corral.errors import DoesNotFit, EngineError, NotFound
from corral.models.fit import memory
from corral.parts import Parts, build
from corral.paths import Paths
from corral.store.store import Store

NAMES = ["load", "prompt", "generation", "reuse", "restore"]


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = build(Paths.from_environment())
    file = tiny_llama(tmp_path / "tiny.gguf")
    parts.library.import_file(file, format="llama-2", name="tiny")
    calibrate(parts)
    yield parts
    await parts.close()


def workers() -> list[int]:
    """Living processes that this one started."""
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


def folders(parts: Parts) -> list[Path]:
    return list(parts.paths.cache.glob("bench-*"))


async def test_measures_everything_and_leaves_nothing(parts: Parts) -> None:
    told: list[tuple[str, float]] = []
    report = await Bench(parts, rounds=2).run("tiny", lambda *what: told.append(what))
    assert [figure.name for figure in report.figures] == NAMES
    record = report.record()
    assert set(record) >= {"machine", "engine", "model", "results"}
    for result in record["results"].values():
        assert set(result) >= {"value", "unit", "reference", "ratio"}
        assert result["value"] > 0
        if result["reference"]:
            assert result["ratio"] == pytest.approx(
                result["value"] / result["reference"], rel=0.01, abs=0.001
            )
    # Both were predicted.
    assert record["results"]["prompt"]["reference"] and record["results"]["generation"]["reference"]
    assert record["model"]["name"] == "tiny" and record["model"]["gpu_layers"] == 0
    assert record["engine"]["version"] == "0.3.36"
    # The turn after it began where the first one ended. A model as small as this may be faster in
    # evaluating than a disk in reading: then nothing is brought back, and that is said.
    assert "if nothing were kept" in report.figures[3].note
    assert report.figures[4].note.endswith(("if nothing were kept", "nothing was kept"))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and max(shares) == 1.0
    assert {what for what, _ in told} >= {"loading", "the next turn", "loading once more"}
    assert not folders(parts)
    assert parts.engine.loaded_specs == []


async def test_the_predictions_learn_from_it(parts: Parts) -> None:
    report = await Bench(parts, rounds=1).run("tiny", lambda *_: None)
    model = parts.library.resolve("tiny")
    fit = parts.fitter.fit(model, parts.library.header(model), n_ctx=report.model["n_ctx"])
    assert fit.measured and fit.tokens_per_second is not None
    low, high = fit.tokens_per_second
    generation = next(figure for figure in report.figures if figure.name == "generation")
    assert low <= generation.value <= high
    (kept,) = last_results(parts.store)
    assert kept["results"] == report.record()["results"]
    assert kept["time"] == pytest.approx(time.time(), abs=600)


async def test_what_is_warm_stays_warm(parts: Parts) -> None:
    plan = parts.chatting.planner.plan(None, Options(model="tiny"))
    async for _ in parts.engine.load(plan.spec):
        pass
    await Bench(parts, rounds=1).run("tiny", lambda *_: None)
    assert parts.engine.loaded_specs == [plan.spec]


async def test_cancelled_it_ends_its_workers_and_removes_its_folder(parts: Parts) -> None:
    begun = asyncio.Event()

    def tell(what: str, _: float) -> None:
        if what.startswith("prompt and answer"):
            begun.set()

    run = asyncio.create_task(Bench(parts).run("tiny", tell))
    async with asyncio.timeout(60):
        await begun.wait()
    assert folders(parts)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not folders(parts)
    await parts.engine.close()  # The one that got to know the machine.
    assert workers() == []
    assert last_results(parts.store) == []


async def test_what_a_killed_run_left_is_removed(parts: Parts) -> None:
    old, new = parts.paths.cache / "bench-old", parts.paths.cache / "bench-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "some.kv").write_bytes(b"x")
    past = time.time() - STALE_SECONDS - 60
    os.utime(old, (past, past))
    await Bench(parts, rounds=1).run("tiny", lambda *_: None)
    assert folders(parts) == [new], "another one may be running"


async def test_where_nothing_can_be_kept_the_rest_is_measured(parts: Parts) -> None:
    shutil.rmtree(parts.paths.cache)
    parts.paths.cache.write_text("")
    report = await Bench(parts, rounds=1).run("tiny", lambda *_: None)
    assert [figure.name for figure in report.figures] == ["load", "prompt", "generation", "reuse"]


async def test_no_such_model(parts: Parts) -> None:
    with pytest.raises(NotFound):
        await Bench(parts).run("nobody:Q4_K_M", lambda *_: None)


async def test_a_model_that_does_not_fit_is_refused_before_anything_is_let_go(
    parts: Parts, tmp_path: Path
) -> None:
    large = sparse_llama(tmp_path / "large.gguf", LLAMA_70B, "F16")
    if memory.available_memory() > large.stat().st_size:
        pytest.skip("this machine holds a 70B in F16")
    with pytest.raises(DoesNotFit, match="free"):
        await Bench(parts).run(str(large), lambda *_: None)
    assert not folders(parts)


async def test_a_file_that_the_engine_refuses_is_its_error(parts: Parts, tmp_path: Path) -> None:
    path = Path(parts.library.resolve("tiny").path or "")
    bench = Bench(parts)

    def tell(what: str, _: float) -> None:
        if what == "loading":  # It was sound when it was planned.
            path.write_bytes(path.read_bytes()[:4096])

    with pytest.raises(EngineError):
        await bench.run("tiny", tell)
    assert not folders(parts)


def test_figures_are_shown_as_people_read_them() -> None:
    assert Figure("load", "Load", 0.312, "s").shown == "0.31 s"
    assert Figure("load", "Load", 43.2, "s").shown == "43 s"
    assert Figure("reuse", "Next turn", 61.6, "ms").shown == "62 ms"
    assert Figure("reuse", "Next turn", 1812.0, "ms").shown == "1.8 s"
    assert Figure("generation", "Generation", 118.4, "tok/s").shown == "118 tok/s"
    assert Figure("generation", "Generation", 41.23, "tok/s").shown == "41.2 tok/s"
    assert Figure("generation", "Generation", 3.146, "tok/s").shown == "3.15 tok/s"
    assert Figure("x", "X", 3.0, "s").ratio is None
    assert Figure("x", "X", 3.0, "s", 2.0).ratio == 1.5


def test_only_the_last_results_are_remembered() -> None:
    store = Store.open(None)
    model = {"title": "T", "quant": "Q8_0", "gpu_layers": 0, "layers": 2, "threads": 1}
    for number in range(KEPT + 3):
        figure = Figure("load", "Load", float(number + 1), "s")
        keep(store, Report({}, {}, model, (figure,), 1.0))
    values = [one["results"]["load"]["value"] for one in last_results(store)]
    assert values == [float(number + 1) for number in range(3, KEPT + 3)]
    store.remember("bench", "{broken")
    assert last_results(store) == []
    store.close()


def test_the_title_says_how_it_was_loaded() -> None:
    model = {"title": "Llama 2 7B", "quant": "Q4_K_M", "gpu_layers": 20, "layers": 33, "threads": 8}
    assert Report({}, {}, model, (), 1.0).title == (
        "Llama 2 7B · Q4_K_M · 20 of 33 layers on a graphics card · 8 threads"
    )
    assert Report({}, {}, {**model, "gpu_layers": 0, "threads": 1}, (), 1.0).title == (
        "Llama 2 7B · Q4_K_M · CPU · 1 thread"
    )


def test_the_processor_has_a_name() -> None:
    assert processor_name().strip()
