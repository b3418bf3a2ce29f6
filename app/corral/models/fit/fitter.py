"""Says of a model how it fits this machine and how fast it would be, and learns from every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal

from corral.engine.protocol import Finished, KvType, Loaded, LoadSpec, Probed, Rates
from corral.errors import NotFound
from corral.models.catalog import Catalog, Family, File
from corral.models.fit import machine as machines
from corral.models.fit import offload, speed
from corral.models.fit.choices import settled
from corral.models.fit.machine import Machine
from corral.models.fit.memory import Fit, Range, context_of
from corral.models.fit.offload import Placement, Step, place
from corral.models.fit.runs import Memo, Runs
from corral.models.fit.shape import Shape
from corral.models.fit.speed import Times
from corral.models.gguf.header import Header
from corral.models.library.local import LocalModel
from corral.text import shorten
from corral.units import gigabytes, thousands

SPREAD = 0.25
"""How far off a prediction from a probe may be, to both sides."""
MOST_SPREAD = 0.6
"""Where the probe, or the runs since, contradict each other."""
FEWEST_TOKENS = 16
"""An answer shorter than this says little about speed."""
FEWEST_PROMPT = 64
MOST_GUESSED = 0.05
"""Tokens of an answer that were guessed right: beyond it its speed is that of its text."""


class Fitter:
    """Everything about fit, from numbers alone: no native code runs here. Safe in any thread.

    Args:
        memo: where what was measured is kept.
        machine: looks at the machine; without one it has no graphics cards.
    """

    def __init__(
        self, catalog: Catalog, memo: Memo, *, machine: Callable[[], Machine] | None = None
    ) -> None:
        self._catalog = catalog
        self._machine = machine or machines.look
        self._runs = Runs(memo, machines.fingerprint())

    def fit(
        self,
        model: LocalModel,
        header: Header | None = None,
        *,
        n_ctx: int = 0,
        type_k: KvType = "f16",
        type_v: KvType = "f16",
        machine: Machine | None = None,
    ) -> Fit:
        """How a file fits, loaded in the usual way.

        Args:
            header: where the file is here; else the catalogue's numbers count.
            n_ctx: 0 is what the model was trained on, at most 4,096.

        Raises:
            UsageError: the model was not trained on so many tokens.
            NotFound: neither the file nor the catalogue says anything about it.
        """
        machine = machine or self._machine()
        shape = shape_of(model, header)
        n_ctx = context_of(shape.context_length, n_ctx, model.title)
        spec = LoadSpec(path=model.path or "", n_ctx=n_ctx, type_k=type_k, type_v=type_v)
        spec = settled(spec, machine)
        now = place(shape, spec, machine)
        after = place(shape, spec, machine, released=True)
        chosen = after if now.missing else now
        layers = shape.n_layer + 1
        fits: Literal["gpu", "partial", "cpu", "no"] = "no"
        if not now.missing:
            fits = "gpu" if now.gpu_layers == layers else "partial" if now.gpu_layers else "cpu"
        tokens, first, measured = None, None, False
        if not chosen.missing:
            tokens, first, measured = self._speed(model, shape, spec, chosen, machine)
        quality = model.family.quality.get(model.quant) if model.family else None
        return Fit(
            name=model.name,
            n_ctx=n_ctx,
            kv_type=type_k if type_k == type_v else f"{type_k}/{type_v}",
            bytes=chosen.memory,
            device_bytes=_by_device(machine, chosen.host, chosen.on_cards),
            free_bytes=_by_device(
                machine, now.available, [device.memory_free for device in machine.devices]
            ),
            fits=fits,
            gpu_layers=chosen.gpu_layers,
            layers=layers,
            tokens_per_second=tokens,
            first_token_ms=first,
            quality_loss=quality,
            measured=measured,
            reason=self._reason(model, shape, spec, machine, now, after),
            fits_if_released=not after.missing,
            missing=after.missing,
        )

    # --- loading ----------------------------------------------------------------------------------

    def plan_load(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Machine | None = None
    ) -> LoadSpec:
        """``spec`` with as many layers on cards as fit, and what is best on this kind of device;
        what somebody asked for stays."""
        shape = shape_of(model, header)
        machine = machine or self._machine()
        spec = settled(_with_context(spec, shape), machine)
        return offload.plan_load(shape, spec, machine)

    def ladder(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Machine | None = None
    ) -> Iterator[Step]:
        """What to try where memory did not suffice, one step on top of the other."""
        shape = shape_of(model, header)
        yield from offload.ladder(shape, _with_context(spec, shape), machine or self._machine())

    # --- learning ---------------------------------------------------------------------------------

    @property
    def calibrated(self) -> bool:
        """Whether a probe of this machine is known."""
        return bool(self._runs.probed)

    def calibrate(self, probed: Probed) -> None:
        """Keep what a probe measured."""
        self._runs.set_probed(probed.rates)

    def learn(self, model: LocalModel, header: Header, loaded: Loaded, finished: Finished) -> None:
        """Correct the predictions by one answer."""
        usage, timings = finished.usage, finished.timings
        if usage.completion_tokens < FEWEST_TOKENS or timings.tokens_per_second <= 0:
            return
        if finished.accepted > MOST_GUESSED * usage.completion_tokens:
            return
        machine = self._machine()
        if loaded.gpu_layers and not machine.devices:
            return  # Nobody has asked for the cards yet: the prediction would be the processor's.
        shape = shape_of(model, header)
        spec = settled(LoadSpec(path=model.path or "", n_ctx=loaded.n_ctx), machine)
        placement = replace(
            place(shape, spec, machine),
            counts=(loaded.gpu_layers, *(0 for _ in machine.devices[1:])),
        )
        filled = usage.prompt_tokens + usage.completion_tokens // 2
        slow, fast = self._times(
            shape, spec, placement, machine,
            threads=finished.threads, filled=filled, prompt=usage.evaluated_tokens,
        )  # fmt: skip
        ratios = {"decode": 1 / timings.tokens_per_second / math.sqrt(slow.token * fast.token)}
        if usage.evaluated_tokens >= FEWEST_PROMPT and timings.first_token_ms > 0:
            seconds = (timings.first_token_ms - timings.restore_ms) / 1e3
            ratios["prompt"] = seconds / math.sqrt(slow.prompt * fast.prompt)
        self._runs.add(
            _file(model), shape.quant, loaded.gpu_layers, timings.tokens_per_second, ratios,
            finished.threads,
        )  # fmt: skip

    # --- inside -----------------------------------------------------------------------------------

    def _times(
        self,
        shape: Shape,
        spec: LoadSpec,
        placement: Placement,
        machine: Machine,
        *,
        threads: int,
        filled: int = speed.PROMPT,
        prompt: int = speed.PROMPT,
    ) -> tuple[Times, Times]:
        """At the slow and at the fast end of what is known; the same where all was measured.

        Args:
            threads: of the processor, at the most; 0 is as many as there are.
        """
        probed = {rates.device: rates for rates in self._runs.probed}
        cpus = [rates for rates in self._runs.probed if rates.kind == "cpu"]
        fewest = min((rates.threads for rates in cpus), default=1)
        most = max(threads, fewest) if threads else 1 << 10
        cpus = [rates for rates in cpus if rates.threads <= most]

        def best(end: list[Rates]) -> Times:
            cards = [probed.get(rates.device, rates) for rates in end[1:]]
            ways = [[cpu, *cards] for cpu in cpus or end[:1]]
            times = [
                speed.predict(shape, spec, placement, way, filled=filled, prompt=prompt)
                for way in ways
            ]
            return min(times, key=lambda one: one.token)

        slow, fast = speed.anchors(machine)
        return best(slow), best(fast)

    def _speed(
        self,
        model: LocalModel,
        shape: Shape,
        spec: LoadSpec,
        placement: Placement,
        machine: Machine,
    ) -> tuple[Range, Range, bool]:
        slow, fast = self._times(shape, spec, placement, machine, threads=self._runs.threads)
        scatter = max((rates.scatter for rates in self._runs.probed), default=0.0)
        decode, decode_off = self._runs.factor("decode", shape.quant)
        prompt, prompt_off = self._runs.factor("prompt", shape.quant)
        token = _range(slow.token, fast.token, decode, scatter / 2 + decode_off)
        first = _range(slow.prompt, fast.prompt, prompt, scatter / 2 + prompt_off)
        tokens = (1 / token[1], 1 / token[0])
        runs = self._runs.run(_file(model), placement.gpu_layers)
        if runs:
            room = 0.1 if len(runs) > 1 else 0.15
            tokens = (min(runs) * (1 - room), max(runs) * (1 + room))
        return tokens, (1e3 * first[0], 1e3 * first[1]), bool(runs)

    def _reason(
        self,
        model: LocalModel,
        shape: Shape,
        spec: LoadSpec,
        machine: Machine,
        now: Placement,
        after: Placement,
    ) -> str:
        layers = shape.n_layer + 1
        if not now.missing and now.gpu_layers == layers:
            return f"All {layers} layers fit on {_cards(machine, now)}"
        if not now.missing and now.gpu_layers:
            return (
                f"{now.gpu_layers} of {layers} layers fit on {_cards(machine, now)}, "
                "the others stay with the processor"
            )
        takes = f"Needs {gigabytes(now.host)}, {gigabytes(now.available)} are free"
        if not now.missing:
            return takes
        if not after.missing:
            return f"{takes}: it fits when the model in memory is let go"
        other = self._instead(model, shape, spec, machine)
        return f"{takes}: {gigabytes(after.missing)} short" + (f"; {other}" if other else "")

    def _instead(self, model: LocalModel, shape: Shape, spec: LoadSpec, machine: Machine) -> str:
        """What would run here, as near as possible to what does not."""
        n_ctx = spec.n_ctx // 512 * 256
        while n_ctx >= offload.SHORTEST:
            shorter = spec.model_copy(update={"n_ctx": n_ctx})
            if not place(shape, shorter, machine, released=True).missing:
                return f"with {thousands(n_ctx)} tokens of context it would run"
            n_ctx = n_ctx // 512 * 256
        if model.family is None:
            return ""
        for family in self._as_good(model.family):
            for file in by_preference(family, model.bytes):
                other = Shape.of_family(family, file)
                tokens = context_of(other.context_length, 0, family.title)
                usual = LoadSpec(path="", n_ctx=tokens)
                if not place(other, usual, machine, released=True).missing:
                    return f"{shorten(family.title, 60)} {file.quant} would run instead"
        return ""

    def _as_good(self, family: Family) -> list[Family]:
        """This one, then what is smaller: the same in other sizes first, from large to small."""
        found = [
            other
            for other in self._catalog.families.values()
            if (other.format, other.kind, other.licence)
            == (family.format, family.kind, family.licence)
            and other.n_embd * other.n_layer < family.n_embd * family.n_layer
        ]
        found.sort(key=lambda other: (_same_but_size(other, family), other.n_embd * other.n_layer))
        return [family, *reversed(found)]


def shape_of(model: LocalModel, header: Header | None) -> Shape:
    """Its numbers, from the header where there is one.

    Raises:
        NotFound: neither the file nor the catalogue says anything about it.
    """
    if header is not None:
        return Shape.of_header(header)
    file = model.family.file(model.quant) if model.family else None
    if model.family is None or file is None:
        raise NotFound(f"Nothing is known about the size of {shorten(model.name, 60)}")
    return Shape.of_family(model.family, file)


def by_preference(family: Family, most: int = 1 << 62) -> list[File]:
    """The recommended file, then the smaller ones from large to small; all below ``most`` bytes."""
    best = family.file(family.recommended)
    assert best is not None  # the catalogue is checked
    smaller = [file for file in family.files if file.gigabytes < best.gigabytes]
    files = [best, *sorted(smaller, key=lambda file: -file.gigabytes)]
    return [file for file in files if file.gigabytes * 1e9 < most]


def _same_but_size(other: Family, family: Family) -> bool:
    """Whether they are one fine-tune in two sizes, by their names."""
    one, two = (each.name.replace(each.size.lower(), "") for each in (other, family))
    return one == two


def _with_context(spec: LoadSpec, shape: Shape) -> LoadSpec:
    n_ctx = spec.n_ctx or context_of(shape.context_length, 0, "")
    return spec.model_copy(update={"n_ctx": n_ctx})


def _range(slow: float, fast: float, factor: float, off: float) -> Range:
    """Seconds, from few to many."""
    spread = min(MOST_SPREAD, SPREAD + off)
    if slow > 1.01 * fast:  # Not measured here.
        if factor == 1.0:
            return fast, slow
        slow = fast = math.sqrt(slow * fast)
        spread = MOST_SPREAD
    # Symmetrical in tokens a second, which is what a person reads.
    return fast * factor / (1 + spread), slow * factor / (1 - spread)


def _file(model: LocalModel) -> str:
    return model.sha256 or f"{model.path or model.name}:{model.bytes}"


def _by_device(machine: Machine, host: int, cards: Iterable[int]) -> dict[str, int]:
    names = (device.name for device in machine.devices)
    return {"CPU": host} | dict(zip(names, cards, strict=True))


def _cards(machine: Machine, placement: Placement) -> str:
    used = [
        device.name
        for device, count in zip(machine.devices, placement.counts, strict=True)
        if count
    ]
    return " and ".join(used)
