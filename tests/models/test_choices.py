"""How a model is loaded where nobody says otherwise: every value has a reason of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.gguf_files import Shape, sparse_llama

from corral.engine.protocol import Device, LoadSpec
from corral.loading.memo import LoadMemo
from corral.loading.reasons import reasons
from corral.models.catalog import Catalog
from corral.models.fit.choices import Choice, choices, device_class, settled
from corral.models.fit.fitter import Fitter
from corral.models.fit.machine import Machine
from corral.models.library.library import Library
from corral.planning import Planner
from corral.settings import Settings
from corral.store.store import Store

GB = 10**9
FIELDS = [
    "kv_type", "flash_attn", "n_batch", "n_ubatch", "load_mode", "repack", "threads", "pace",
    "lookup", "exact", "draft",
]  # fmt: skip
BIG = Shape(4, 1024, 8, 8, 2048)
SMALL = Shape(2, 256, 4, 4, 512)


def with_card(name: str, free: int = 8 * GB) -> Machine:
    device = Device(name=name, description="", kind="gpu", memory_free=free, memory_total=free)
    return Machine(32 * GB, 16 * GB, (device,))


PROCESSOR = Machine(16 * GB, 12 * GB)


def by_field(found: list[Choice]) -> dict[str, Choice]:
    assert [choice.field for choice in found] == FIELDS
    assert all(choice.value and choice.reason for choice in found)
    assert not any(choice.reason.endswith(".") for choice in found)
    return {choice.field: choice for choice in found}


@pytest.mark.parametrize(
    ("machine", "kind"),
    [
        (PROCESSOR, "cpu"),
        (with_card("CUDA0"), "cuda"),
        (with_card("MTL0"), "metal"),
        (with_card("Metal"), "metal"),
        (with_card("Vulkan0"), "other"),
    ],
)
def test_each_kind_of_device_has_its_reasons(machine: Machine, kind: str) -> None:
    assert device_class(machine) == kind
    found = by_field(choices(LoadSpec(path="/m.gguf"), (), machine, threads="Two cores"))
    assert found["kv_type"].value == "f16" and found["threads"].reason.startswith("Two cores; ")
    on_processor = by_field(choices(LoadSpec(path="/m.gguf"), (), PROCESSOR))
    if kind != "cpu":
        assert found["load_mode"].reason != on_processor["load_mode"].reason
        assert "mlock" not in found["load_mode"].reason


def test_steps_are_small_on_a_processor_where_nobody_asked() -> None:
    usual = LoadSpec(path="/m.gguf")
    assert settled(usual, PROCESSOR).n_ubatch == 256
    for spec, machine in (
        (usual.model_copy(update={"n_ubatch": 128}), PROCESSOR),
        (usual, with_card("CUDA0")),
        (usual, with_card("MTL0")),
    ):
        assert settled(spec, machine) == spec


def test_what_a_person_set_is_called_that(tmp_path: Path) -> None:
    spec = LoadSpec(
        path="/m.gguf", type_k="q8_0", flash_attn="on", n_ubatch=128, load_mode="mlock",
        threads=3, pace="quiet", exact=False, repack=False,
    )  # fmt: skip
    asked = {"type_k", "flash_attn", "n_ubatch", "load_mode", "repack", "threads", "pace"}
    found = by_field(choices(spec, asked, PROCESSOR, lookup=False))
    assert found["kv_type"].value == "q8_0/f16" and found["pace"].value == "quiet"
    set_by_person = [one.field for one in found.values() if one.reason.startswith("Set by you")]
    assert set_by_person == [field for field in FIELDS if field != "n_batch"]


def test_the_battery_is_the_reason_for_the_pace() -> None:
    quiet = LoadSpec(path="/m.gguf", pace="quiet")
    found = by_field(choices(quiet, (), PROCESSOR, on_battery=True))
    assert found["pace"] == Choice("pace", "quiet", "The machine runs on its battery")


# --- of a model that is here --------------------------------------------------------------------


@pytest.fixture
def library(catalog: Catalog, tmp_path: Path) -> Iterator[Library]:
    store = Store.open(tmp_path / "corral.db")
    library = Library(store, catalog)
    for name, shape, quant in (("small", SMALL, "Q4_0"), ("big", BIG, "F16")):
        library.import_file(sparse_llama(tmp_path / f"{name}.gguf", shape, quant), name=name)
    yield library
    store.close()


def explain(
    library: Library, machine: Machine, model: str = "big", **engine: object
) -> tuple[str, dict[str, Choice]]:
    settings = Settings.model_validate({"model": model, "engine": engine})
    memo = Store.open(None)
    fitter = Fitter(library.catalog, memo, machine=lambda: machine)
    planner = Planner(library, settings, LoadMemo(memo), on_battery=lambda: False)
    name, found = reasons(planner, library, fitter, settings.engine, machine)
    memo.close()
    return name, by_field(found)


def test_why_there_is_a_draft_model_or_none(library: Library) -> None:
    def draft(machine: Machine, model: str = "big", **engine: object) -> tuple[str, str]:
        name, found = explain(library, machine, model, **engine)
        assert name == model
        return found["draft"].value, found["draft"].reason

    card = with_card("CUDA0")
    assert draft(card)[0] == "small"
    assert draft(PROCESSOR)[0] == "none" and "processor" in draft(PROCESSOR)[1]
    assert draft(PROCESSOR, draft="small")[0] == "small"
    assert draft(card, draft="off") == ("none", "Set by you")
    assert draft(card, "small")[0] == "none" and "quarter" in draft(card, "small")[1]
    assert "layers" in draft(card, n_gpu_layers=2)[1]
    short = replace(card, devices=(card.devices[0].model_copy(update={"memory_free": 1 << 30}),))
    assert draft(short)[0] == "none"
    other = draft(card, draft="smollm2-135m-instruct")
    assert other[0] == "none" and "cannot guess ahead" in other[1]


def test_without_a_model_the_usual_choices_are_told(library: Library) -> None:
    name, found = explain(library, PROCESSOR, "no-such-model", lookup=False)
    assert name == "" and found["draft"].reason == "There is no model to guess for"
    assert found["lookup"].value == "off"
