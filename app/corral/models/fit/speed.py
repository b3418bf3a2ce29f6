"""How fast a model answers here: from what a probe measured, else a wide range from known machines.

A token reads every weight once, so the time is bytes over bytes per second, layer by layer on its
device; small models wait for their operations instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.engine.protocol import LoadSpec, Rates
from corral.models.fit.machine import Machine
from corral.models.fit.memory import Range, kv_bytes_per_token
from corral.models.fit.offload import Placement
from corral.models.fit.shape import KINDS, Shape, Types

PROMPT = 512
"""Tokens of the prompt that the time to the first token is said for, and that stand in the KV
cache while the speed is that of the range."""
SMALL = 24 << 20
"""Bytes of weights up to which a processor's cache may keep them from one token to the next."""
OPERATIONS = 20
"""What llama.cpp computes one after the other in a layer."""
SAMPLING = 15e-9
"""Seconds the samplers take for each entry of the vocabulary."""
ATTENTION = 0.35
"""Flash attention's share of the speed of a matrix multiplication, with one token and with many."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    token: float
    prompt: float


def predict(
    shape: Shape,
    spec: LoadSpec,
    placement: Placement,
    rates: Sequence[Rates],
    *,
    filled: int = PROMPT,
    prompt: int = PROMPT,
) -> Times:
    """Seconds for one token, and for a prompt up to its first token.

    Args:
        rates: of the processor, then of each card.
        filled: tokens in the KV cache while it answers.
    """
    token, first = SAMPLING * shape.vocab_size, SAMPLING * shape.vocab_size
    kv = kv_bytes_per_token(shape, spec.type_k, spec.type_v) / shape.n_layer
    # Each query head multiplies with keys and values of all tokens before.
    attended = 2.0 * shape.n_head * (shape.head_dim_k + shape.head_dim_v) * prompt * prompt
    small = shape.read_bytes <= SMALL
    for types, device in zip(
        (*shape.layers, shape.output), _devices(shape, placement, rates), strict=True
    ):
        by_type = device.cached if small else device.decode
        token += _seconds(types, by_type) + OPERATIONS * device.overhead
        if types is shape.output:
            first += _seconds(types, by_type)
            continue
        token += filled * kv / (_rate("F16", by_type) * ATTENTION)
        first += attended / (_rate("F16", device.prompt) * ATTENTION)
        first += OPERATIONS * device.overhead * max(1, prompt // spec.n_ubatch)
        first += prompt * _operations(types, device.prompt)
    return Times(token, first)


def _devices(shape: Shape, placement: Placement, rates: Sequence[Rates]) -> list[Rates]:
    """The device of each layer and of the output."""
    found = [rates[0]] * (shape.n_layer + 1 - placement.gpu_layers)
    for index, count in enumerate(placement.counts):
        found += [rates[min(1 + index, len(rates) - 1)]] * count
    return found


def _seconds(types: Types, rates: Mapping[str, float]) -> float:
    return sum(size / _rate(type, rates) for type, size in types.items() if type in KINDS)


def _operations(types: Types, rates: Mapping[str, float]) -> float:
    """Seconds to multiply all of it with one vector of a batch."""
    seconds = 0.0
    for type, size in types.items():
        kind = KINDS[type]
        seconds += 2.0 * size / kind.bytes * kind.block / _rate(type, rates)
    return seconds


def _rate(type: str, rates: Mapping[str, float]) -> float:
    """A type's own rate, else that of the one with the most similar number of bits."""
    if found := rates.get(type):
        return found
    if type in ("F32", "BF16", "F64") and "F16" in rates:
        return rates["F16"]
    bits = KINDS[type].bytes / KINDS[type].block
    near = min(rates, key=lambda name: abs(KINDS[name].bytes / KINDS[name].block - bits))
    return rates[near]


# --- without a probe ----------------------------------------------------------------------------

# Bytes and operations a second that machines of the kind reach with llama.cpp, slow and fast:
# laptops with four cores to 16 cores for processors; M1 to M4 Max; RTX 3060 to H100.
_PER_CORE = ((4e9, 16e9), (8e9, 70e9))
_MOST = (20e9, 65e9)
_APPLE = ((50e9, 320e9), (1.5e12, 12e12))
_CARD = ((200e9, 1100e9), (15e12, 190e12))
_INTEGRATED = ((15e9, 90e9), (0.2e12, 2e12))


def anchors(machine: Machine) -> tuple[list[Rates], list[Rates]]:
    """The slowest and the fastest that a machine like this can be expected to be."""
    slow: list[Rates] = []
    fast: list[Rates] = []
    for end, found in ((0, slow), (1, fast)):
        found.append(
            _flat(
                "CPU",
                min(_PER_CORE[0][end] * machine.cores, _MOST[end]),
                _PER_CORE[1][end] * machine.cores,
                5e-6 if end == 0 else 5e-7,
            )
        )
        for device in machine.devices:
            kind = _CARD if device.kind == "gpu" else _INTEGRATED
            kind = _APPLE if machine.shared_memory and device.kind == "gpu" else kind
            overhead = 1e-5 if end == 0 else 2e-6
            found.append(_flat(device.name, kind[0][end], kind[1][end], overhead))
    return slow, fast


def _flat(device: str, memory: float, compute: float, overhead: float) -> Rates:
    rate = {"F16": memory}
    return Rates(
        device=device, kind="other", threads=0, decode=rate, cached=rate,
        prompt={"F16": compute}, overhead=overhead,
    )  # fmt: skip


def around(value: float, spread: float) -> Range:
    """``value`` with a relative spread to both sides."""
    return value * (1 - spread), value * (1 + spread)
