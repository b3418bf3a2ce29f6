"""The recommendation follows memory and speed, and says why in one line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from corral.engine.protocol import Device, Probed, Rates
from corral.models.catalog import Catalog
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.fit.recommend import recommend
from corral.store.store import Store

GB = 10**9


@pytest.fixture
def fitter(catalog: Catalog) -> Iterator[Fitter]:
    store = Store.open(None)
    yield Fitter(catalog, store)
    store.close()


def machine(gigabytes: float, *devices: Device, cores: int = 16, shared: bool = False) -> Machine:
    size = int(gigabytes * GB)
    return Machine(size, size, devices=devices, cores=cores, shared_memory=shared)


def card(gigabytes: float, name: str = "CUDA0") -> Device:
    size = int(gigabytes * GB)
    return Device(name=name, description="", kind="gpu", memory_free=size, memory_total=size)


def probed(bandwidth: float) -> Probed:
    rate = {"F16": bandwidth}
    cpu = Rates(
        device="CPU", kind="cpu", threads=8, decode=rate, cached=rate,
        prompt={"F16": 1e12}, overhead=1e-6,
    )  # fmt: skip
    return Probed(id=1, rates=(cpu,))


@pytest.mark.parametrize(
    ("gigabytes", "name"),
    [
        (80, "llama-2-70b-chat:Q4_K_M"),
        (16, "llama-2-13b-chat:Q4_K_M"),
        (8, "llama-2-7b-chat:Q4_K_M"),
        (2, None),
    ],
)
def test_the_largest_model_that_fits(
    catalog: Catalog, fitter: Fitter, gigabytes: float, name: str | None
) -> None:
    fitter.calibrate(probed(400e9))
    found = recommend(catalog, fitter, machine(gigabytes))
    assert (found.name if found else None) == name


def test_what_fits_and_is_unbearably_slow_gives_way(catalog: Catalog, fitter: Fitter) -> None:
    fitter.calibrate(probed(20e9))
    found = recommend(catalog, fitter, machine(80))
    assert found and found.name == "llama-2-7b-chat:Q4_K_M"
    fitter.calibrate(probed(5e9))  # Nothing is fast here: the smallest is still the best advice.
    found = recommend(catalog, fitter, machine(80))
    assert found and found.name.startswith("llama-2-7b-chat:")


def test_a_small_machine_gets_a_smaller_quantization(catalog: Catalog, fitter: Fitter) -> None:
    fitter.calibrate(probed(100e9))
    found = recommend(catalog, fitter, machine(6.9))
    assert found and found.name.startswith("llama-2-7b-chat:Q3_K")


def test_the_reason_is_one_line(catalog: Catalog, fitter: Fitter) -> None:
    found = recommend(catalog, fitter, machine(14.5, card(10.7, "Metal"), shared=True))
    assert found and "\n" not in found.reason
    assert found.reason.startswith("14 GB, Metal: Llama 2 ")
    assert "Chat Q4_K_M, " in found.reason and found.reason.endswith(" tok/s")
    assert found.fit.gpu_layers > 0
