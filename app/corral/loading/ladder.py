"""What to try where memory is too small: no draft model, fewer layers on cards, a shorter context,
a smaller KV cache, then a smaller file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from corral.engine.errors import OutOfMemory
from corral.engine.protocol import Finished, Loaded, LoadSpec
from corral.errors import CorralError
from corral.models.fit import memory
from corral.models.fit.machine import Machine
from corral.models.gguf.header import Header
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.planning import Plan
from corral.units import thousands


class Step(Protocol):
    @property
    def spec(self) -> LoadSpec: ...


class Fitting(Protocol):
    """What loading needs of :class:`corral.models.fit.fitter.Fitter`."""

    def plan_load(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Machine
    ) -> LoadSpec: ...
    def ladder(
        self, model: LocalModel, header: Header, spec: LoadSpec, machine: Machine
    ) -> Iterator[Step]: ...
    def learn(
        self, model: LocalModel, header: Header, loaded: Loaded, finished: Finished
    ) -> None: ...


class Ladder:
    """One way down from a plan, a step for each failure.

    Args:
        again: the same plan for another model, by its name.
        machine: as the fitter wants it.
    """

    def __init__(
        self,
        fitter: Fitting,
        library: Library,
        plan: Plan,
        again: Callable[[str], Plan],
        machine: Machine,
    ) -> None:
        self._fitter = fitter
        self._library = library
        self._again = again
        self._machine = machine
        self._enter(plan)

    def _enter(self, plan: Plan) -> None:
        self._plan = self._last = plan
        self._steps = self._fitter.ladder(plan.model, plan.header, plan.spec, self._machine)

    async def down(self, plan: Plan, failure: CorralError, available: int) -> Plan | None:
        """The next plan to try; None at the bottom.

        Args:
            plan: what failed: the last one given, with its layers on cards as they were planned.
            failure: a prediction respects what the person asked for, and steps on until memory
                should suffice; a real failure respects nothing.
            available: bytes a model may use in all.
        """
        failed = isinstance(failure, OutOfMemory)
        below = await asyncio.to_thread(self._down, plan, failed, available)
        self._last = below or self._last
        return below

    def _down(self, plan: Plan, failed: bool, available: int) -> Plan | None:
        if plan.spec != self._last.spec:
            self._enter(plan)
        if self._plan.spec.draft:
            # It makes answers faster, and no other: it goes first, whoever asked for it.
            self._enter(without_draft(self._plan))
            if failed or fits(self._plan, available):
                return self._plan
        if not failed and "n_ctx" in self._plan.asked:
            return None
        while True:
            for step in self._steps:
                below = replace(self._plan, spec=step.spec if failed else self._on_cards(step.spec))
                if below.spec == self._plan.spec or (not failed and self._is_asked(below.spec)):
                    continue
                if failed:
                    return below
                if fits(below, available):
                    self._enter(below)
                    return below
            smaller = self._smaller()
            if smaller is None:
                return None
            self._enter(self._again(smaller.name))
            if failed or fits(self._plan, available):
                return self._plan

    def _on_cards(self, spec: LoadSpec) -> LoadSpec:
        """With the layers of the plan: fewer on cards need no less memory in all."""
        now = self._plan.spec
        return spec.model_copy(
            update={"n_gpu_layers": now.n_gpu_layers, "tensor_split": now.tensor_split}
        )

    def _is_asked(self, spec: LoadSpec) -> bool:
        asked = self._plan.asked
        return any(getattr(spec, name) != getattr(self._plan.spec, name) for name in asked)

    def _smaller(self) -> LocalModel | None:
        """The next smaller file of the same family on this machine."""
        model = self._plan.model
        if model.family is None:
            return None
        candidates = [
            other
            for other in self._library.models()
            if other.family is not None
            and other.family.name == model.family.name
            and other.state == "installed"
            and other.bytes < model.bytes
        ]
        return max(candidates, key=lambda other: other.bytes, default=None)


def without_draft(plan: Plan) -> Plan:
    """The same, with nothing but the text itself to guess from, and no other one is looked for."""
    spec = plan.spec.model_copy(update={"draft": ""})
    return replace(plan, spec=spec, draft=None, draft_wanted=False)


def fits(plan: Plan, available: int) -> bool:
    """Whether memory should suffice for a plan."""
    needed = memory.memory_needed(
        plan.header,
        plan.spec.n_ctx,
        plan.spec.type_k,
        plan.spec.type_v,
        plan.spec.n_ubatch,
        flash_attn=plan.spec.flash_attn != "off",
        draft=plan.draft,
    )
    return needed.total <= available


def changes(before: Plan, after: Plan) -> str:
    """What is different in a lower plan, for a person."""
    old, new = before.spec, after.spec
    said = []
    if old.draft and not new.draft:
        said.append("no draft model")
    if after.model.name != before.model.name:
        said.append(f"{after.model.name} instead of {before.model.name}")
    if new.n_gpu_layers != old.n_gpu_layers:
        said.append(f"{_layers(new, after)} layers on the GPU instead of {_layers(old, before)}")
    if new.n_ctx != old.n_ctx:
        said.append(f"{thousands(new.n_ctx)} tokens of context instead of {thousands(old.n_ctx)}")
    if (new.type_k, new.type_v) != (old.type_k, old.type_v):
        said.append(f"a KV cache in {_cache(new)} instead of {_cache(old)}")
    return ", ".join(said) or "Other load parameters"


def _layers(spec: LoadSpec, plan: Plan) -> str:
    return "all" if spec.n_gpu_layers < 0 else str(min(spec.n_gpu_layers, plan.header.n_layer + 1))


def _cache(spec: LoadSpec) -> str:
    return spec.type_k if spec.type_k == spec.type_v else f"{spec.type_k}/{spec.type_v}"
