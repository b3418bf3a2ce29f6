"""Speed: from a probe, from known machines, and corrected by what ran."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.gguf_files import LLAMA_7B, sparse_llama

from corral.engine.protocol import Device, Finished, Loaded, Probed, Rates, Timings, Usage
from corral.models.catalog import Catalog
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.fit.memory import Fit
from corral.models.fit.runs import KEY, Runs
from corral.models.gguf.header import Header, read_header
from corral.models.library.local import LocalModel, from_catalogue
from corral.store.store import Store

GB = 10**9
CARD = Device(name="CUDA0", description="", kind="gpu", memory_free=8 * GB, memory_total=8 * GB)
HERE = Machine(32 * GB, 32 * GB, cores=8)
WITH_CARD = replace(HERE, devices=(CARD,))


def rates(device: str = "CPU", *, bandwidth: float, scatter: float = 0.0) -> Rates:
    by_type = dict.fromkeys(("F16", "Q4_K", "Q6_K"), bandwidth)
    return Rates(
        device=device, kind="cpu" if device == "CPU" else "gpu", threads=8, decode=by_type,
        cached=by_type, prompt=dict.fromkeys(by_type, 100 * bandwidth), overhead=1e-6,
        scatter=scatter,
    )  # fmt: skip


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.open(None)
    yield store
    store.close()


@pytest.fixture
def fitter(catalog: Catalog, store: Store) -> Fitter:
    return Fitter(catalog, store, machine=lambda: HERE)


@pytest.fixture
def model(catalog: Catalog) -> LocalModel:
    family = catalog.families["llama-2-7b-chat"]
    file = family.file("Q4_K_M")
    assert file is not None
    return from_catalogue(family, file)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    path = tmp_path_factory.mktemp("speed") / "llama-2-7b-chat.Q4_K_M.gguf"
    return read_header(sparse_llama(path, LLAMA_7B, "Q4_K_M"))


def tokens(fit: Fit) -> tuple[float, float]:
    assert fit.tokens_per_second is not None
    return fit.tokens_per_second


def width(fit: Fit) -> float:
    low, high = tokens(fit)
    return high / low


def run(rate: float, *, first: float = 3000.0, count: int = 100, threads: int = 8) -> Finished:
    return Finished(
        id=1, stop_reason="end", threads=threads, seed=1,
        usage=Usage(prompt_tokens=512, evaluated_tokens=512, completion_tokens=count),
        timings=Timings(tokens_per_second=rate, first_token_ms=first),
    )  # fmt: skip


def loaded(layers: int = 0) -> Loaded:
    return Loaded(
        id=1, description="", n_ctx=4096, n_ctx_train=4096, n_vocab=32_000, n_layer=32,
        gpu_layers=layers, layers=33, threads=8, size=1, parameters=1, add_bos=True,
    )  # fmt: skip


def test_without_a_probe_the_range_is_wide_and_not_called_measured(
    fitter: Fitter, model: LocalModel
) -> None:
    fit = fitter.fit(model)
    assert not fitter.calibrated and not fit.measured
    low, high = tokens(fit)
    assert low < 10 < high and width(fit) > 2
    assert fit.first_token_ms is not None and fit.first_token_ms[0] < fit.first_token_ms[1]


def test_a_probe_gives_bytes_by_bytes_a_second(fitter: Fitter, model: LocalModel) -> None:
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9),)))
    low, high = tokens(fitter.fit(model))
    assert fitter.calibrated
    assert low < 40e9 / 4.08e9 < high and high / low < 1.8
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9, scatter=0.4),)))
    assert tokens(fitter.fit(model))[0] < low


def test_every_layer_on_a_card_counts(fitter: Fitter, catalog: Catalog) -> None:
    probed = (rates(bandwidth=20e9), rates("CUDA0", bandwidth=400e9))
    fitter.calibrate(Probed(id=1, rates=probed))
    family = catalog.families["llama-2-13b-chat"]
    big = from_catalogue(family, next(file for file in family.files if file.quant == "Q4_K_M"))
    partial = fitter.fit(big, machine=WITH_CARD)
    assert partial.fits == "partial" and 20 < partial.gpu_layers < 41
    alone = tokens(fitter.fit(big))[0]
    whole = CARD.model_copy(update={"memory_free": 24 * GB})
    full = fitter.fit(big, machine=replace(HERE, devices=(whole,)))
    assert full.fits == "gpu" and full.gpu_layers == full.layers == 41
    assert alone < tokens(partial)[0] < tokens(full)[0] / 2


def test_a_run_of_this_very_file_is_what_is_said_next(
    fitter: Fitter, model: LocalModel, header: Header
) -> None:
    before = fitter.fit(model)
    fitter.learn(model, header, loaded(), run(6.0))
    fit = fitter.fit(model)
    assert fit.measured and tokens(fit)[0] < 6.0 < tokens(fit)[1]
    assert width(fit) < width(before)
    # With other layers it was not measured.
    assert not fitter.fit(model, machine=WITH_CARD).measured


def test_runs_correct_their_sisters(
    fitter: Fitter, model: LocalModel, header: Header, catalog: Catalog
) -> None:
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9),)))
    family = catalog.families["llama-2-13b-chat"]
    sister = from_catalogue(family, next(file for file in family.files if file.quant == "Q4_K_M"))
    before = tokens(fitter.fit(sister))
    for _ in range(3):
        fitter.learn(model, header, loaded(), run(5.0))
    after = fitter.fit(sister)
    assert tokens(after)[1] < before[0] * 1.2 and not after.measured
    # What happened long ago is forgotten.
    for _ in range(20):
        fitter.learn(model, header, loaded(), run(10.0))
    assert tokens(fitter.fit(sister))[0] == pytest.approx(before[0], rel=0.25)


def test_answers_too_short_to_tell_teach_nothing(
    fitter: Fitter, model: LocalModel, header: Header
) -> None:
    fitter.learn(model, header, loaded(), run(900.0, count=3))
    assert not fitter.fit(model).measured


def test_the_speed_of_an_answer_that_was_guessed_is_not_the_model_s(
    fitter: Fitter, model: LocalModel, header: Header
) -> None:
    ran = run(40.0)
    count = ran.usage.completion_tokens
    guessed = ran.model_copy(update={"drafted": count, "accepted": count // 2})
    fitter.learn(model, header, loaded(), guessed)
    assert not fitter.fit(model).measured
    # Guesses that were wrong cost next to nothing.
    fitter.learn(model, header, loaded(), guessed.model_copy(update={"accepted": count // 20}))
    assert fitter.fit(model).measured


def test_a_run_on_cards_that_nobody_knows_yet_teaches_nothing(
    fitter: Fitter, model: LocalModel, header: Header
) -> None:
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9),)))
    before = fitter.fit(model)
    fitter.learn(model, header, loaded(layers=33), run(90.0))
    assert fitter.fit(model) == before


def test_what_was_measured_is_kept_for_this_machine_alone(
    catalog: Catalog, store: Store, fitter: Fitter, model: LocalModel, header: Header
) -> None:
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9),)))
    fitter.learn(model, header, loaded(), run(9.0))
    again = Fitter(catalog, store, machine=lambda: HERE)
    assert again.calibrated and again.fit(model).measured
    assert Runs(store, "another machine").probed == ()


@pytest.mark.parametrize("kept", ["", "nonsense", "[]", '{"probed": 1}', "[" * 5000])
def test_a_damaged_note_is_no_note(catalog: Catalog, store: Store, kept: str) -> None:
    store.remember(KEY, kept)
    assert not Fitter(catalog, store).calibrated


def test_noisy_runs_widen_the_range(
    fitter: Fitter, model: LocalModel, header: Header, catalog: Catalog
) -> None:
    fitter.calibrate(Probed(id=1, rates=(rates(bandwidth=40e9),)))
    family = catalog.families["llama-2-13b-chat"]
    sister = from_catalogue(family, next(file for file in family.files if file.quant == "Q4_K_M"))
    quiet = width(fitter.fit(sister))
    for rate in (9.0, 4.0, 9.0, 4.0):
        fitter.learn(model, header, loaded(), run(rate))
    assert width(fitter.fit(sister)) > 1.2 * quiet


def test_a_file_of_an_unknown_mix_is_still_judged(
    fitter: Fitter, model: LocalModel, header: Header
) -> None:
    other = replace(header, quant="IQ3_XXS", tensor_bytes=2_590_000_000, path=Path("/other.gguf"))
    fit = fitter.fit(model, other)
    assert fit.bytes.weights == 2_590_000_000 and fit.tokens_per_second is not None
