"""Which layers go to which device: filled from the free memory that llama.cpp itself reports.

llama.cpp offloads from the back: first the output layer, then the last layer, and so on. The first
of the offloaded ones go to the first device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corral.engine.protocol import Device, LoadSpec
from corral.models.fit.machine import Machine
from corral.models.fit.memory import PROCESS_BYTES, Memory, memory_needed
from corral.models.fit.shape import Shape
from corral.units import thousands

MARGIN = 1 << 30
"""Bytes left free on each card, as llama.cpp's own planner does."""
SHORTEST = 1024
"""Tokens of context below which stepping down does not go."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A way to lay out one model; bytes."""

    memory: Memory
    counts: tuple[int, ...]
    """Layers on each card, the output layer counted with the last of them."""
    on_cards: tuple[int, ...]
    host: int
    """What it takes of the machine's own memory."""
    available: int
    """Of the machine's memory."""

    @property
    def gpu_layers(self) -> int:
        return sum(self.counts)

    @property
    def missing(self) -> int:
        return max(0, self.host - self.available)


@dataclass(frozen=True, slots=True)
class Step:
    """One step down where memory was too small."""

    spec: LoadSpec
    what: str
    why: str


def place(shape: Shape, spec: LoadSpec, machine: Machine, *, released: bool = False) -> Placement:
    """As many layers on cards as fit, or as many as ``spec`` asks for.

    Args:
        spec: with the context in tokens.
        released: as if the models in memory were let go.
    """
    memory = needed(shape, spec)
    on_layer = memory.kv // shape.n_layer if spec.offload_kqv else 0
    units = [sum(layer.values()) + on_layer for layer in shape.layers]
    units.append(sum(shape.output.values()))
    rooms = [
        _free(device, machine, released) - MARGIN - memory.compute
        if spec.split_mode != "none" or index == spec.main_gpu
        else 0
        for index, device in enumerate(machine.devices)
    ]
    available = machine.memory_available + (machine.releasable if released else 0)
    asked = len(units) if spec.n_gpu_layers < 0 else min(spec.n_gpu_layers, len(units))
    counts: tuple[int, ...] = tuple(0 for _ in rooms)
    for layers in range(asked if rooms else 0, 0, -1):
        if found := _fill(units[len(units) - layers :], rooms):
            counts = found
            break
    on_cards: list[int] = []
    on: int = sum(counts)
    start = len(units) - on
    for count in counts:
        used = sum(units[start : start + count])
        on_cards.append(used + memory.compute if count else 0)
        start += count
    host = memory.total
    if not machine.shared_memory and on:
        host = memory.total - sum(units[len(units) - on :])
        if on == len(units):
            # Nothing but the table of embeddings is left, and no buffer worth mentioning.
            host = PROCESS_BYTES + sum(shape.input.values())
            host += 0 if spec.offload_kqv else memory.kv
    return Placement(memory, counts, tuple(on_cards), host, available)


def needed(shape: Shape, spec: LoadSpec) -> Memory:
    """What a model takes in all, wherever it is."""
    flash_attn = spec.flash_attn != "off"
    return memory_needed(
        shape, spec.n_ctx, spec.type_k, spec.type_v, spec.n_ubatch, flash_attn=flash_attn
    )


def plan_load(shape: Shape, spec: LoadSpec, machine: Machine) -> LoadSpec:
    """``spec`` with the layers that fit; what somebody asked for is left as it is."""
    if not machine.devices or spec.n_gpu_layers >= 0:
        return spec
    found = place(shape, spec, machine)
    changes: dict[str, object] = {}
    if found.gpu_layers <= shape.n_layer:
        changes["n_gpu_layers"] = found.gpu_layers
    if len(machine.devices) > 1 and found.gpu_layers and not spec.tensor_split:
        changes["tensor_split"] = tuple(float(count) for count in found.counts)
    return spec.model_copy(update=changes)


def ladder(shape: Shape, spec: LoadSpec, machine: Machine) -> Iterator[Step]:
    """Ways to need less, each on top of those before: layers, context, then the KV cache."""
    layers = spec.n_gpu_layers if spec.n_gpu_layers >= 0 else shape.n_layer + 1
    if not machine.devices:
        layers = 0
    while layers:
        before, layers = layers, layers * 3 // 4 if layers > 4 else 0
        spec = spec.model_copy(update={"n_gpu_layers": layers, "tensor_split": ()})
        yield Step(
            spec, f"{layers} instead of {before} layers on the card", "its memory did not suffice"
        )
    while spec.n_ctx > SHORTEST:
        n_ctx = max(SHORTEST, spec.n_ctx // 512 * 256)
        what = f"{thousands(n_ctx)} instead of {thousands(spec.n_ctx)} tokens of context"
        spec = spec.model_copy(update={"n_ctx": n_ctx})
        yield Step(spec, what, "the KV cache grows with the context")
    # A quantized value cache exists only with flash attention.
    if spec.flash_attn != "off" and {spec.type_k, spec.type_v} & {"f16", "bf16", "f32"}:
        spec = spec.model_copy(update={"type_k": "q8_0", "type_v": "q8_0"})
        yield Step(spec, "a KV cache in q8_0", "it takes half the memory")


def _free(device: Device, machine: Machine, released: bool) -> int:
    return device.memory_free + (machine.releasable_on.get(device.name, 0) if released else 0)


def _fill(units: Sequence[int], rooms: Sequence[int]) -> tuple[int, ...] | None:
    """How many of the layers go to each device; None where they do not fit.

    One device alone where that is enough, for every border between two costs time.
    """
    largest = max(range(len(rooms)), key=lambda index: rooms[index])
    if sum(units) <= rooms[largest]:
        return tuple(len(units) if index == largest else 0 for index in range(len(rooms)))
    counts = []
    start = 0
    for room in rooms:
        count = 0
        while start + count < len(units) and units[start + count] <= room:
            room -= units[start + count]
            count += 1
        counts.append(count)
        start += count
    return tuple(counts) if start == len(units) else None
