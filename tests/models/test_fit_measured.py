"""Predicted against what the engine really takes and how fast it really is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from tests.support.gguf_files import LLAMA_7B, LLAMA_13B, LLAMA_70B, TINYLLAMA, sparse_llama

from corral.engine.engine import Engine
from corral.engine.protocol import KvType, Loaded, LoadSpec, Sampling
from corral.models.catalog import Catalog
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.fit.shape import Shape
from corral.models.gguf.header import read_header
from corral.models.library.library import Library
from corral.models.library.local import from_catalogue
from corral.store.store import Store

GB = 10**9


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine.log")
    yield engine
    await engine.close()


@pytest.mark.parametrize(("n_ctx", "kv"), [(2048, "f16"), (512, "q8_0")])
async def test_memory_is_what_the_worker_then_takes(
    engine: Engine, catalog: Catalog, tmp_path: Path, n_ctx: int, kv: KvType
) -> None:
    path = sparse_llama(tmp_path / "tinyllama.gguf", TINYLLAMA, "Q4_K_M")
    store = Store.open(None)
    model = Library(store, catalog).resolve(str(path))
    fit = Fitter(catalog, store).fit(model, read_header(path), n_ctx=n_ctx, type_k=kv, type_v=kv)
    store.close()
    loaded = None
    # As a processor is given it.
    spec = LoadSpec(path=str(path), n_ctx=n_ctx, type_k=kv, type_v=kv, n_ubatch=256)
    async for event in engine.load(spec):
        loaded = event
    assert isinstance(loaded, Loaded) and loaded.memory is not None
    # A prompt as long as one step touches what it needs of the compute buffer.
    async for _ in engine.generate(range(1000, 1300), Sampling(temperature=0), max_tokens=1):
        pass
    resident = psutil.Process(engine.pid).memory_info().rss
    print(f"predicted {fit.bytes.total / resident:.3f} of what was taken")
    assert fit.bytes.total == pytest.approx(resident, rel=0.05)
    # To the hundredth of a MiB that llama.cpp's log has.
    assert sum(loaded.memory.kv.values()) == pytest.approx(fit.bytes.kv, abs=20_000)
    assert sum(loaded.memory.compute.values()) == pytest.approx(fit.bytes.compute, rel=0.02)


async def test_the_probe_measures_every_type_of_this_machine(
    engine: Engine, catalog: Catalog
) -> None:
    probed = await engine.probe()
    cpu = next(rates for rates in probed.rates if rates.kind == "cpu")
    assert {"F16", "Q8_0", "Q4_0", "Q2_K", "Q4_K", "Q6_K"} <= set(cpu.decode)
    for rates in probed.rates:
        assert all(1e6 < rate < 1e14 for rate in rates.decode.values())
        assert set(rates.decode) == set(rates.cached) == set(rates.prompt)
        assert 0 < rates.overhead < 1
    store = Store.open(None)
    fitter = Fitter(catalog, store)
    fitter.calibrate(probed)
    family = catalog.families["smollm2-135m-instruct"]
    fit = fitter.fit(from_catalogue(family, family.files[0]))
    store.close()
    assert fit.tokens_per_second is not None and 0.1 < fit.tokens_per_second[0] < 1e4


@pytest.mark.parametrize("quant", ["Q2_K", "Q4_0", "Q4_K_M", "Q5_K_M", "Q8_0"])
def test_header_and_catalogue_agree(catalog: Catalog, tmp_path: Path, quant: str) -> None:
    shapes = {"7b": LLAMA_7B, "13b": LLAMA_13B, "70b": LLAMA_70B}
    for size, shape in shapes.items():
        family = catalog.families[f"llama-2-{size}-chat"]
        file = family.file(quant)
        assert file is not None
        known = Shape.of_family(family, file)
        read = Shape.of_header(read_header(sparse_llama(tmp_path / f"{size}.gguf", shape, quant)))
        assert known.tensor_bytes == pytest.approx(read.tensor_bytes, rel=0.002)
        assert known.read_bytes == pytest.approx(read.read_bytes, rel=0.01)
        assert known.context_length == read.context_length
        for one, other in zip(known.layers, read.layers, strict=True):
            assert sum(one.values()) == pytest.approx(sum(other.values()), rel=0.05)


def test_seventy_billion_do_not_fit_and_what_does_is_said(catalog: Catalog) -> None:
    store = Store.open(None)
    here = Machine(16 * GB, int(11.8 * GB), cores=8)
    fitter = Fitter(catalog, store, machine=lambda: here)
    family = catalog.families["llama-2-70b-chat"]
    for file in family.files:
        fit = fitter.fit(from_catalogue(family, file))
        assert fit.fits == "no" and not fit.fits_if_released
        assert fit.tokens_per_second is None and fit.missing > 15 * GB
        assert "GB short; Llama 2 13B Chat" in fit.reason and "run instead" in fit.reason
    smaller = catalog.families["llama-2-13b-chat"]
    for file in smaller.files:
        if f"{smaller.title} {file.quant} " in fit.reason:
            assert fitter.fit(from_catalogue(smaller, file)).fits == "cpu"
            break
    else:
        pytest.fail("what is said to run is not in the catalogue")
    record = fit.record()
    store.close()
    assert {"name", "n_ctx", "kv_type", "bytes", "device_bytes", "free_bytes", "fits"} < set(record)
    assert record["bytes"]["total"] == fit.bytes.total and record["tokens_per_second"] is None


def test_what_fits_after_a_swap_is_told_apart(catalog: Catalog) -> None:
    store = Store.open(None)
    here = Machine(16 * GB, 4 * GB, cores=8, releasable=6 * GB)
    family = catalog.families["llama-2-7b-chat"]
    file = family.file("Q4_K_M")
    assert file is not None
    fit = Fitter(catalog, store, machine=lambda: here).fit(from_catalogue(family, file))
    store.close()
    assert fit.fits == "no" and fit.fits_if_released and not fit.missing
    assert fit.tokens_per_second and "let go" in fit.reason
    assert fit.quality_loss == family.quality["Q4_K_M"]
