"""How models are loaded where nobody says otherwise: each value with its reason, by kind of device.

The figures behind the reasons come from ``tests/bench/kernels.py`` and llama-bench. What was
measured on a processor only is not claimed of graphics cards: there llama.cpp's own defaults hold.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from corral.engine.protocol import LoadSpec
from corral.models.fit.machine import Machine

DeviceClass = Literal["cpu", "cuda", "metal", "other"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way in which a model is loaded."""

    field: str
    """As in the load parameters, but ``kv_type`` for both halves of the KV cache."""
    value: str
    reason: str
    """One plain sentence."""


_VALUES: dict[DeviceClass, dict[str, int]] = {"cpu": {"n_ubatch": 256}}
"""Where something else than the load parameters' own defaults was measured to be better.

SmolLM2 Q4_1, a prompt of 1,024 tokens, one thread, seconds of computing: 8.40 in steps of 32, 6.38
of 64, 6.34 of 128, 6.33 of 256, 6.59 of 512, 6.74 of 1,024. The compute buffer grows with it.
"""


def settled(spec: LoadSpec, machine: Machine) -> LoadSpec:
    """``spec`` with the values that are best here, where it has those that nobody asked for."""
    better = {
        field: value
        for field, value in _VALUES.get(device_class(machine), {}).items()
        if getattr(spec, field) == LoadSpec.model_fields[field].default
    }
    return spec.model_copy(update=better) if better else spec


_REASONS: dict[str, dict[DeviceClass, str]] = {
    "kv_type": {
        "cpu": "A processor reads a prompt half again as long with q8_0 and twice as long with "
        "q4_0: q8_0 is taken only where f16 does not fit",
        "cuda": "f16 is llama.cpp's own; q8_0 is taken where it does not fit",
        "metal": "f16 is llama.cpp's own; q8_0 is taken where it does not fit",
        "other": "f16 is what every back end computes with; q8_0 needs flash attention, which "
        "not every one has",
    },
    "flash_attn": {
        "cpu": "On, for a prompt is read faster and takes less memory",
        "cuda": "llama.cpp switches it on where the card has it",
        "metal": "llama.cpp switches it on where the card has it",
        "other": "llama.cpp switches it on where the back end has it; some do not",
    },
    "n_batch": {
        "cpu": "A prompt is read in steps of this many tokens at the most, so that progress is "
        "told and Stop is obeyed",
        "cuda": "One step of the card each: a card cannot be stopped inside a step",
        "metal": "One step of the card each: a card cannot be stopped inside a step",
        "other": "One step of the device each: it cannot be stopped inside a step",
    },
    "n_ubatch": {
        "cpu": "Larger steps read a prompt a little slower and take more memory, much smaller ones "
        "are slower",
        "cuda": "llama.cpp's own; larger steps take more of the card's memory",
        "metal": "llama.cpp's own; larger steps take more memory",
        "other": "llama.cpp's own; larger steps take more memory",
    },
    "load_mode": {
        "cpu": "Mapped: a file that is in the page cache is there at once, and its pages are "
        "given back where memory is short",
        "cuda": "Mapped while it is copied to the card",
        "metal": "Mapped: the card computes with the same pages",
        "other": "Mapped where the back end can, else read",
    },
}
_MAPPED_NOT_LOCKED = "; locked (mlock) it could push everything else out"


def device_class(machine: Machine) -> DeviceClass:
    """Of the devices that models are put on here."""
    if not machine.devices:
        return "cpu"
    name = machine.devices[0].name.lower()
    if name.startswith("cuda"):
        return "cuda"
    return "metal" if name.startswith(("metal", "mtl")) else "other"


def choices(
    spec: LoadSpec,
    asked: Collection[str],
    machine: Machine,
    *,
    threads: str = "",
    on_battery: bool = False,
    lookup: bool = True,
    draft: str = "",
    no_draft: str = "",
) -> list[Choice]:
    """What a model is loaded with, and why.

    Args:
        spec: as planned.
        asked: fields of it that a person set.
        threads: why so many are taken, where nobody set a number.
        lookup: whether it may guess ahead from the text.
        draft: name of the draft model; empty for none.
        no_draft: why there is none.
    """
    kind = device_class(machine)

    def usual(field: str, value: object, *fields: str) -> Choice:
        if set(fields or (field,)) & set(asked):
            return Choice(field, str(value), "Set by you")
        reason = _REASONS[field][kind]
        locked = _MAPPED_NOT_LOCKED if field == "load_mode" and kind == "cpu" else ""
        return Choice(field, str(value), reason + locked)

    kv = spec.type_k if spec.type_k == spec.type_v else f"{spec.type_k}/{spec.type_v}"
    return [
        usual("kv_type", kv, "type_k", "type_v"),
        usual("flash_attn", spec.flash_attn),
        usual("n_batch", spec.n_batch),
        usual("n_ubatch", spec.n_ubatch),
        usual("load_mode", spec.load_mode),
        Choice("repack", "on", _REPACK) if spec.repack else Choice("repack", "off", "Set by you"),
        _threads(spec, threads),
        _pace(spec, asked, on_battery),
        Choice("lookup", "on" if lookup else "off", _LOOKUP if lookup else "Set by you"),
        Choice("exact", "on" if spec.exact else "off", _EXACT if spec.exact else _ANY_ROUNDING),
        _draft(draft, no_draft),
    ]


_REPACK = (
    "A processor answers up to a fifth faster; off, a large model from the page cache is there at "
    "once and x86 reads prompts faster"
)
"""A file in the shape of 7B Q4_K_M, two x86-64 cores, in turn in one process, without ÷ with:
generation 0.86, prompt of 64 tokens 1.43; load 1.2 s for 17.8 s."""
_EXACT = "Only as many tokens are guessed at once as are computed as one alone would be"
_ANY_ROUNDING = "Set by you: the rounding of several tokens at once may decide a tie"
_LOOKUP = "What was said before is guessed to come again; it switches itself off where it does not"


def _threads(spec: LoadSpec, reason: str) -> Choice:
    if spec.threads:
        return Choice("threads", str(spec.threads), "Set by you: they do not follow the load")
    why = "The time per token decides while it runs: neighbours come and go"
    return Choice("threads", "auto", f"{reason}; {why[0].lower()}{why[1:]}" if reason else why)


def _pace(spec: LoadSpec, asked: Collection[str], on_battery: bool) -> Choice:
    if "pace" in asked:
        return Choice("pace", spec.pace, "Set by you")
    reason = "The machine runs on its battery" if on_battery else "The machine is not on battery"
    return Choice("pace", spec.pace, reason)


def _draft(name: str, why_none: str) -> Choice:
    if name:
        return Choice("draft", name, "It has the same vocabulary and is small enough to be ahead")
    return Choice("draft", "none", why_none or "Set by you")
