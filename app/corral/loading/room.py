"""Room for one model: which others have to go, what lies on which card, and what is read ahead."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from corral.engine import protocol
from corral.engine.host import Held
from corral.engine.protocol import LoadSpec
from corral.loading import drafts
from corral.loading.ahead import ReadAhead
from corral.loading.ladder import Fitting, fits
from corral.loading.memo import LoadMemo
from corral.models.fit import memory
from corral.models.fit.machine import Machine, look
from corral.models.library import shards
from corral.models.library.library import Library
from corral.planning import Plan
from corral.talking import ChatEngine


class Room:
    """What a model is given of this machine, beside those that are in memory.

    Args:
        fitter: lays out layers on cards; without one they stay where the plan has them.
        compatible: why the second model cannot guess ahead for the first; empty where it can.
    """

    def __init__(
        self,
        engine: ChatEngine,
        library: Library,
        memo: LoadMemo,
        *,
        fitter: Fitting | None,
        compatible: drafts.Compatible,
    ) -> None:
        self._engine = engine
        self._library = library
        self._memo = memo
        self._fitter = fitter
        self._compatible = drafts.once(compatible)

    async def make(self, plan: Plan, machine: Machine) -> Plan:
        """Let the least recently used models go until this one fits beside the others.

        With graphics cards that is until all of its layers are there, or no other model is: a
        layer on the processor costs every token, loading another model again only once.

        Args:
            machine: as it is now, before any model goes.

        Raises:
            DoesNotFit: it would not even fit alone.
            Refused: it has no weights.
        """
        engine, spec = self._engine, plan.spec
        free = await self.available()
        memory.check(plan.header, spec, free, name=plan.model.name, draft=plan.draft)
        before = engine.held()
        for held in before:
            if held.spec.path == spec.path and held.spec != spec:
                await engine.discard(held.spec)  # It makes way in any case: its room counts.
        others = [held for held in engine.held() if held.spec.path != spec.path]
        while others and not fits(plan, free - sum(o.private + o.mapped for o in others)):
            await engine.discard(others.pop().spec)
        if len(engine.held()) < len(before):
            machine = await self.machine()
        while self._fitter is not None:
            rest = drafts.beside(machine, plan.draft, spec)
            planned = await asyncio.to_thread(
                self._fitter.plan_load, plan.model, plan.header, spec, rest
            )
            layers = planned.n_gpu_layers
            everything = layers == spec.n_gpu_layers or layers > plan.header.n_layer
            if everything or not others or not machine.devices:
                plan = replace(plan, spec=planned)
                room = free - sum(other.private + other.mapped for other in others)
                return await asyncio.to_thread(self._with_draft, plan, spec, machine, room)
            await engine.discard(others.pop().spec)
            machine = await self.machine()
        return plan

    def _with_draft(self, plan: Plan, wanted: LoadSpec, machine: Machine, room: int) -> Plan:
        """With the installed draft model that pays, where nobody named one or turned it off, and
        where no other model has to go for it.

        Args:
            wanted: before its layers were laid out: a crash is remembered of that.
            room: bytes of memory for both.
        """
        if not plan.draft_wanted or drafts.why_not(machine, plan.header, plan.spec):
            return plan
        found = drafts.best(self._library, plan.model, plan.header, self._compatible)
        if found is None or drafts.no_room(machine, plan.header, plan.spec, found[1]):
            return plan
        draft = {"draft": str(found[0].path)}
        ahead = replace(plan, spec=plan.spec.model_copy(update=draft), draft=found[1])
        crashed = self._memo.crash(wanted.model_copy(update=draft))
        return plan if crashed or not fits(ahead, room) else ahead

    async def machine(self) -> Machine:
        """What this machine has now, and what the models in memory keep of it."""
        return machine_with(await self._engine.devices(), self._engine.held())

    async def available(self) -> int:
        """Bytes a model may use when all others are let go."""
        return memory.available_memory() + await self._engine.spare_bytes()


@contextlib.contextmanager
def reading_ahead(plan: Plan) -> Iterator[ReadAhead | None]:
    """Read the files while their worker starts, where memory has room for all of it."""
    ahead = None
    if plan.spec.load_mode != "direct_io" and fits(plan, memory.available_memory()):
        paths = shards.paths_of(Path(plan.spec.path), plan.header.split_count)
        ahead = ReadAhead([*paths, *map(Path, filter(None, [plan.spec.draft]))])
        ahead.start()
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.stop()


def machine_with(devices: Sequence[protocol.Device], held: Sequence[Held]) -> Machine:
    """This machine with these devices, and with these models in memory."""
    cards: Counter[str] = Counter()
    for one in held:
        cards.update(one.cards)
    return look(
        devices,
        private=sum(one.private for one in held),
        mapped=sum(one.mapped for one in held),
        on_cards=cards,
    )
