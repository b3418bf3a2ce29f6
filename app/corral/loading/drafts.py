"""Which small model guesses ahead for a large one, and whether that is worth its memory.

A draft model proposes tokens and the large one judges several of them in one step. That saves time
where a step with ten rows costs hardly more than one with a single row: on graphics cards, which
wait for memory. A processor computes nearly as long for each row more, so the guesses there come
from the text itself (:mod:`corral.engine.drafting`), which cost nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from corral.engine.protocol import LoadSpec
from corral.errors import CorralError, UsageError
from corral.models.fit import memory, offload
from corral.models.fit.drafts import compatible as compatible
from corral.models.fit.machine import Machine
from corral.models.fit.shape import Shape
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.text import shorten
from corral.units import gigabytes

AUTO = "auto"
OFF = "off"

SHARE = 4
"""A draft model is at most one of so many parts of the model it guesses for, by bytes."""
IDEAL = 10
"""The part that is best: smaller ones are wrong too often, larger ones too slow to be ahead."""

PAIRS = 16
"""Models and draft models whose vocabularies are known to be equal or not."""

Compatible = Callable[[Header, Header], str]
"""Why a draft model (the second) cannot guess for a model (the first); empty where it can."""


def once(compatible: Compatible) -> Compatible:
    """The same, but two files are read only once: a plan is made for every answer.

    Headers are compared by identity; the library reads a file that changed again.
    """
    known: deque[tuple[Header, Header, str]] = deque(maxlen=PAIRS)

    def remembered(target: Header, draft: Header) -> str:
        for one, other, reason in known:
            if one is target and other is draft:
                return reason
        reason = compatible(target, draft)
        known.append((target, draft, reason))
        return reason

    return remembered


def by_name(
    library: Library, name: str, target: LocalModel, header: Header, compatible: Compatible
) -> tuple[LocalModel, Header]:
    """The draft model a person named.

    Raises:
        NotFound, Refused, UsageError: no such model, or not a usable file.
        UsageError: its vocabulary is another one.
    """
    draft = library.resolve(name)
    found = library.header(draft)
    if reason := compatible(header, found):
        raise UsageError(
            f"{shorten(draft.name, 60)} cannot guess ahead for {shorten(target.name, 60)}: "
            f"{reason}",
            title="Draft model refused",
            hint="Choose a small model with the same vocabulary, or turn the draft model off",
        )
    return draft, found


def best(
    library: Library, target: LocalModel, header: Header, compatible: Compatible
) -> tuple[LocalModel, Header] | None:
    """The installed model that suits best as a draft; None where there is none."""
    for model in sorted(_small_enough(library, target), key=lambda model: _off(model, target)):
        try:
            found = library.header(model)
            if found.tensor_bytes and not compatible(header, found):
                return model, found
        except CorralError:
            continue  # Damaged, or gone since: nobody asked for this one.
    return None


def _small_enough(library: Library, target: LocalModel) -> list[LocalModel]:
    return [
        model
        for model in library.models()
        if model.state == "installed" and model.path and 0 < SHARE * model.bytes <= target.bytes
    ]


def _off(model: LocalModel, target: LocalModel) -> float:
    return abs(math.log(target.bytes / model.bytes / IDEAL))


def why_not(machine: Machine, header: Header, spec: LoadSpec) -> str:
    """Why a draft model is not taken by itself for a model that is loaded so; empty where it is.

    Args:
        spec: with the layers as they are planned.
    """
    if not machine.devices:
        return "A processor computes too long for each guess; guesses come from the text itself"
    layers = header.n_layer + 1
    if 0 <= spec.n_gpu_layers < layers:
        return f"Only {spec.n_gpu_layers} of {layers} layers are on a graphics card"
    return ""


def no_room(machine: Machine, header: Header, spec: LoadSpec, draft: Header) -> str:
    """Why memory does not suffice for a draft model beside the model on cards; empty if it does."""
    needed = _bytes(draft, spec)
    placed = offload.place(Shape.of_header(header), spec, machine)
    rooms = (
        device.memory_free - offload.MARGIN - used
        for device, used in zip(machine.devices, placed.on_cards, strict=True)
    )
    free = max(0, *rooms, 0)
    if needed > free:
        return f"it needs {gigabytes(needed)}, {gigabytes(free)} are free on the graphics card"
    return ""


def beside(machine: Machine, draft: Header | None, spec: LoadSpec) -> Machine:
    """What of the machine is left for a model whose draft model lies on the largest card."""
    if draft is None or not machine.devices:
        return machine
    needed = _bytes(draft, spec)
    largest = max(machine.devices, key=lambda device: device.memory_free)
    less = largest.model_copy(update={"memory_free": max(0, largest.memory_free - needed)})
    devices = tuple(less if device is largest else device for device in machine.devices)
    return replace(machine, devices=devices)


def _bytes(draft: Header, spec: LoadSpec) -> int:
    return memory.draft_bytes(draft, spec.n_ctx, spec.type_k, spec.type_v, spec.n_ubatch)
