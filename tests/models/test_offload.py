"""Which layers go where, on machines that are not here: one card, two, and Apple's memory."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engine.protocol import Device, LoadSpec
from corral.models.catalog import Catalog
from corral.models.fit.machine import Machine
from corral.models.fit.offload import MARGIN, ladder, place, plan_load
from corral.models.fit.shape import Shape

GB = 10**9


def card(name: str, gigabytes: float) -> Device:
    size = int(gigabytes * GB)
    return Device(name=name, description="", kind="gpu", memory_free=size, memory_total=size)


def machine(*cards: Device, memory: float = 32, **more: Any) -> Machine:
    size = int(memory * GB)
    return Machine(size, size, devices=cards, cores=8, **more)


def spec(**changes: Any) -> LoadSpec:
    return LoadSpec.model_validate({"path": "/model.gguf", "n_ctx": 4096, **changes})


@pytest.fixture
def shape(catalog: Catalog) -> Any:
    def of(name: str, quant: str = "Q4_K_M") -> Shape:
        family = catalog.families[name]
        file = family.file(quant)
        assert file is not None
        return Shape.of_family(family, file)

    return of


def test_without_a_card_the_plan_stays_as_it_is(shape: Any) -> None:
    asked = spec()
    assert plan_load(shape("llama-2-7b-chat"), asked, machine()) is asked
    placement = place(shape("llama-2-7b-chat"), asked, machine())
    assert (placement.gpu_layers, placement.missing, placement.counts) == (0, 0, ())
    assert placement.host == placement.memory.total


def test_a_large_card_takes_all_layers(shape: Any) -> None:
    here = machine(card("CUDA0", 24))
    placement = place(shape("llama-2-13b-chat"), spec(), here)
    assert placement.gpu_layers == 41 and placement.host < GB
    assert plan_load(shape("llama-2-13b-chat"), spec(), here) == spec()


def test_a_small_card_takes_the_last_layers_and_never_its_margin(shape: Any) -> None:
    here = machine(card("CUDA0", 8))
    big = shape("llama-2-13b-chat")
    placement = place(big, spec(), here)
    assert 20 < placement.gpu_layers < 35
    assert placement.on_cards[0] <= here.devices[0].memory_free - MARGIN
    planned = plan_load(big, spec(), here)
    assert planned.n_gpu_layers == placement.gpu_layers and planned.tensor_split == ()
    # One more would have been too many.
    each = (sum(big.layers[0].values())) + placement.memory.kv // 40
    assert placement.on_cards[0] + each > here.devices[0].memory_free - MARGIN
    # Card and memory together hold the whole model, and the buffer once on either side.
    total = placement.memory.total + placement.memory.compute
    assert placement.on_cards[0] + placement.host == total


def test_a_cache_that_stays_with_the_processor_leaves_room_for_layers(shape: Any) -> None:
    here = machine(card("CUDA0", 8))
    kept = place(shape("llama-2-13b-chat"), spec(offload_kqv=False), here)
    assert kept.gpu_layers > place(shape("llama-2-13b-chat"), spec(), here).gpu_layers

    # And it takes the machine's memory, also where all layers are on the card.
    large = machine(card("CUDA0", 24))
    on_host = place(shape("llama-2-13b-chat"), spec(offload_kqv=False), large)
    on_card = place(shape("llama-2-13b-chat"), spec(), large)
    assert on_host.gpu_layers == on_card.gpu_layers == 41
    assert on_host.host == on_card.host + on_host.memory.kv


def test_two_cards_share_what_one_cannot_hold(shape: Any) -> None:
    here = machine(card("CUDA0", 24), card("CUDA1", 24))
    large = shape("llama-2-70b-chat")
    placement = place(large, spec(), here)
    assert placement.gpu_layers == 81 and min(placement.counts) > 20
    planned = plan_load(large, spec(), here)
    assert planned.n_gpu_layers == -1
    assert planned.tensor_split == tuple(float(count) for count in placement.counts)
    # What one card holds stays on one: the larger.
    uneven = machine(card("CUDA0", 8), card("CUDA1", 24))
    assert place(shape("llama-2-7b-chat"), spec(), uneven).counts == (0, 33)


def test_only_the_main_card_counts_without_a_split(shape: Any) -> None:
    here = machine(card("CUDA0", 24), card("CUDA1", 24))
    alone = spec(split_mode="none", main_gpu=1)
    placement = place(shape("llama-2-70b-chat"), alone, here)
    assert placement.counts[0] == 0 and placement.counts[1] > 20


def test_shared_memory_is_counted_once(shape: Any) -> None:
    here = machine(card("Metal", 10.7), memory=11.8, shared_memory=True)
    placement = place(shape("llama-2-7b-chat"), spec(), here)
    assert placement.gpu_layers == 33 and placement.host == placement.memory.total
    too_large = place(shape("llama-2-70b-chat"), spec(), here)
    assert too_large.missing == too_large.memory.total - here.memory_available > 0


def test_what_a_person_asked_for_stays(shape: Any) -> None:
    here = machine(card("CUDA0", 8))
    for layers in (0, 5, 99):
        asked = spec(n_gpu_layers=layers)
        assert plan_load(shape("llama-2-13b-chat"), asked, here) is asked


def test_a_card_without_room_takes_nothing(shape: Any) -> None:
    planned = plan_load(shape("llama-2-7b-chat"), spec(), machine(card("CUDA0", 1.1)))
    assert planned.n_gpu_layers == 0


def test_the_memory_of_loaded_models_counts_only_when_they_go(shape: Any) -> None:
    here = machine(card("CUDA0", 2), memory=2, releasable=8 * GB, releasable_on={"CUDA0": 20 * GB})
    small = shape("llama-2-7b-chat")
    assert place(small, spec(), here).gpu_layers < 33
    assert place(small, spec(), here, released=True).gpu_layers == 33


def test_the_ladder_goes_down_one_thing_after_the_other(shape: Any) -> None:
    here = machine(card("CUDA0", 24))
    steps = list(ladder(shape("llama-2-7b-chat"), spec(), here))
    layers = [step.spec.n_gpu_layers for step in steps]
    assert layers[:3] == [24, 18, 13] and layers[-1] == 0
    contexts = [step.spec.n_ctx for step in steps]
    assert contexts == sorted(contexts, reverse=True) and contexts[-1] == 1024
    assert (steps[-1].spec.type_k, steps[-1].spec.type_v) == ("q8_0", "q8_0")
    assert steps[-2].spec.type_k == "f16"
    assert all(step.what and step.why for step in steps)


def test_without_card_and_flash_attention_only_the_context_is_left(shape: Any) -> None:
    steps = list(ladder(shape("llama-2-7b-chat"), spec(flash_attn="off"), machine()))
    assert [step.spec.n_ctx for step in steps] == [2048, 1024]
