"""Gets a model into memory: makes room, loads, and steps down where memory is too small."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corral.engine import protocol
from corral.engine.errors import EngineStopped, OutOfMemory
from corral.engine.host import Held
from corral.engine.process import WorkerEnded
from corral.engine.protocol import LoadSpec
from corral.errors import CorralError, DoesNotFit, EngineError, Refused
from corral.loading.ladder import Fitting, Ladder, changes, fits
from corral.loading.memo import LoadMemo
from corral.loading.pace import Pace, ticking
from corral.models.files import mark, status_of
from corral.models.fit import memory
from corral.models.fit.machine import Machine, look
from corral.models.library.library import Library
from corral.planning import Plan
from corral.talking import ChatEngine
from corral.text import shorten
from corral.turn import Notice, Working

ANYWAY = "Choose it again to try anyway (Ctrl+O, or corral ask -m), or choose another model"


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is in memory now, and the current one."""

    plan: Plan
    """As it was carried out: another spec or a smaller quantization where it had to be."""
    loaded: protocol.Loaded
    warm: bool
    """It was there already."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A model file as it was when it was loaded."""

    mark: tuple[int, int] | None
    sha256: str | None


class Loader:
    """Loads models for turns and swaps, one at a time.

    Args:
        fitter: knows what fits; without one a load that does not fit is refused.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        engine: ChatEngine,
        library: Library,
        memo: LoadMemo,
        *,
        fitter: Fitting | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._library = library
        self._memo = memo
        self._fitter = fitter
        self._clock = clock
        self._current: Resident | None = None
        self._stands_for: dict[LoadSpec, Plan] = {}
        """What was loaded in place of what was planned."""
        self._names: dict[LoadSpec, str] = {}
        self._files: dict[str, _Seen] = {}
        self._stale: dict[str, _Seen] = {}
        """Files that changed while they were in memory, and nobody was told yet."""

    @property
    def current(self) -> Resident | None:
        """The model that is in memory and was loaded or used last."""
        now = self._current
        return now if now and now.plan.spec == self._engine.loaded_spec else None

    def in_memory(self) -> list[str]:
        """Names of all models in memory, the latest used first."""
        return [self._names[s] for s in self._engine.loaded_specs if s in self._names]

    async def prune(self) -> None:
        """Let models go whose files were deleted, cut or replaced: what runs is not the file."""
        for spec in self._engine.loaded_specs:
            seen = self._files.get(spec.path)
            if seen is not None and seen.mark != _mark_of(spec):
                self._stale[spec.path] = seen
                await self._engine.discard(spec)

    async def load(
        self, plan: Plan, again: Callable[[str], Plan], *, chosen: bool
    ) -> AsyncGenerator[Working | Notice | Resident, None]:
        """Make what was planned the current model; the last event is always ``Resident``.

        Args:
            again: the same plan for another model, by its name.
            chosen: the person named this model now: what crashed before is tried again.

        Raises:
            Refused: the file was replaced while it was in memory, or has no weights.
            DoesNotFit, OutOfMemory: memory is too small, also after stepping down.
            EngineError: it crashed, or did so the last time.
        """
        seen = self._stale.pop(plan.spec.path, None)
        if seen is not None and not (seen.sha256 and seen.sha256 == plan.model.sha256):
            raise Refused(
                f"The file of {shorten(plan.model.name, 60)} was changed while it was in memory",
                title="Changed or damaged",
                hint="Send again to use it as it is now, or choose another model (Ctrl+O)",
            )
        wanted = plan.spec
        stand_in = self._stands_for.get(wanted)
        if chosen and stand_in is not None and self._is_current_and_less(stand_in, wanted):
            stand_in = None  # Named once more: there may be more memory now.
        if stand_in is not None and stand_in.spec in self._engine.loaded_specs:
            if stand_in.spec.path != wanted.path:
                plan = await asyncio.to_thread(again, stand_in.model.name)
            plan = replace(plan, spec=stand_in.spec)
        if plan.spec in self._engine.loaded_specs:
            async with contextlib.aclosing(self._engine.load(plan.spec)) as events:
                async for event in events:
                    if isinstance(event, protocol.Loaded):
                        yield self._settle(wanted, Resident(plan, event, warm=True))
            return
        async with contextlib.aclosing(self._cold(plan, again, chosen)) as steps:
            async for step in steps:
                if isinstance(step, Resident):
                    self._settle(wanted, step)
                yield step

    def _is_current_and_less(self, stand_in: Plan, wanted: LoadSpec) -> bool:
        """Whether it answers now and was a step down, not just planned for the cards."""
        layers = {"n_gpu_layers": wanted.n_gpu_layers, "tensor_split": wanted.tensor_split}
        is_less = stand_in.spec.model_copy(update=layers) != wanted
        return is_less and stand_in.spec == self._engine.loaded_spec

    def _settle(self, wanted: LoadSpec, resident: Resident) -> Resident:
        self._current = resident
        self._names[resident.plan.spec] = resident.plan.model.name
        self._files[resident.plan.spec.path] = _Seen(
            _mark_of(resident.plan.spec), resident.plan.model.sha256
        )
        if resident.plan.spec != wanted:
            self._stands_for[wanted] = resident.plan
        return resident

    # --- a cold load ------------------------------------------------------------------------------

    async def _cold(
        self, plan: Plan, again: Callable[[str], Plan], chosen: bool
    ) -> AsyncGenerator[Working | Notice | Resident, None]:
        ladder: Ladder | None = None
        first: CorralError | None = None
        if chosen:
            await asyncio.to_thread(self._memo.forget_crashes, plan.spec)
        failure = await asyncio.to_thread(self._before, plan)
        wanted = plan.spec
        tried = False
        while True:
            if failure is None:
                try:
                    plan = await self._make_room(plan)
                    tried = True
                    async with contextlib.aclosing(self._attempt(plan, wanted)) as events:
                        async for event in events:
                            yield event
                    return
                except (DoesNotFit, OutOfMemory) as error:
                    failure = error
            first = first or failure
            memory = isinstance(failure, OutOfMemory)
            if tried and memory and (held := self._engine.held()):
                for other in held:
                    await self._engine.discard(other.spec)
                yield Notice("Other models left memory", f"{failure.message}; it is tried again")
                failure = None
                continue
            if self._fitter is None:
                raise first
            if ladder is None:
                machine = await self.machine()
                ladder = Ladder(self._fitter, self._library, plan, again, machine)
            below = await ladder.down(plan, failure, await self._available())
            if below is None:
                raise first
            yield Notice("Less memory is used", f"{changes(plan, below)}: {failure.message}")
            plan, wanted = below, below.spec
            failure = await asyncio.to_thread(self._before, plan)

    def _before(self, plan: Plan) -> CorralError | None:
        """What is known from the last time this was loaded: memory ran out, then it is not tried
        the same way again.

        Raises:
            EngineError: it crashed, and nobody wants it to be tried again.
        """
        crash = self._memo.crash(plan.spec)
        if crash is None:
            return None
        name = shorten(plan.model.name, 60)
        if crash.memory and self._fitter is not None:
            return OutOfMemory(f"Loading {name} like this ended the engine the last time")
        raise EngineError(
            f"{name} is not loaded by itself, because that ended the engine the last time: "
            f"{crash.said}",
            title="Not loaded again",
            hint=ANYWAY,
        )

    async def _make_room(self, plan: Plan) -> Plan:
        """Let the least recently used models go until this one fits beside the others.

        With graphics cards that is until all of its layers are there, or no other model is: a
        layer on the processor costs every token, loading another model again only once.

        Raises:
            DoesNotFit: it would not even fit alone.
            Refused: it has no weights.
        """
        engine, spec = self._engine, plan.spec
        free = await self._available()
        memory.check(plan.header, spec, free, name=plan.model.name)
        for held in engine.held():
            if held.spec.path == spec.path and held.spec != spec:
                await engine.discard(held.spec)  # It makes way in any case: its room counts.
        others = [held for held in engine.held() if held.spec.path != spec.path]
        while others and not fits(plan, free - sum(o.private + o.mapped for o in others)):
            await engine.discard(others.pop().spec)
        while self._fitter is not None:
            machine = await self.machine()
            planned = await asyncio.to_thread(
                self._fitter.plan_load, plan.model, plan.header, spec, machine
            )
            layers = planned.n_gpu_layers
            everything = layers == spec.n_gpu_layers or layers > plan.header.n_layer
            if everything or not others or not machine.devices:
                return replace(plan, spec=planned)
            await engine.discard(others.pop().spec)
        return plan

    async def machine(self) -> Machine:
        """What this machine has now, and what the models in memory keep of it."""
        return machine_with(await self._engine.devices(), self._engine.held())

    async def _available(self) -> int:
        """Bytes a model may use when all others are let go."""
        return memory.available_memory() + await self._engine.spare_bytes()

    async def _attempt(
        self, plan: Plan, wanted: LoadSpec
    ) -> AsyncGenerator[Working | Resident, None]:
        """One load. A crash is remembered of what was wanted: the layers that fit on cards are
        others every time."""
        spec = plan.spec
        pace = Pace(self._clock, plan.model.bytes, await asyncio.to_thread(self._memo.rate))
        yield pace.working(0.0)
        fraction = 0.0
        loaded = None
        try:
            async with contextlib.aclosing(ticking(self._engine.load(spec))) as events:
                async for event in events:
                    if isinstance(event, protocol.Loaded):
                        loaded = event
                        break
                    if event is not None:
                        fraction = event.done / (event.total or 1.0)
                    yield pace.working(fraction)
        except (OutOfMemory, WorkerEnded) as error:
            await asyncio.to_thread(self._note_crash, wanted, error)
            if isinstance(error, WorkerEnded):
                raise EngineError(error.message, title="Not loaded", hint=ANYWAY) from None
            raise
        if loaded is None:
            raise EngineStopped("Stopped")
        await asyncio.to_thread(self._note_success, wanted, pace.rate())
        yield Resident(plan, loaded, warm=False)

    def _note_crash(self, spec: LoadSpec, error: OutOfMemory | WorkerEnded) -> None:
        if isinstance(error, OutOfMemory):
            if error.killed:
                self._memo.note_crash(spec, error.message, memory=True)
        elif error.code != -signal.SIGTERM:
            self._memo.note_crash(spec, error.message, memory=False)

    def _note_success(self, spec: LoadSpec, rate: float | None) -> None:
        if self._memo.crash(spec) is not None:
            self._memo.forget_crash(spec)
        if rate is not None:
            self._memo.note_rate(rate)


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


def _mark_of(spec: LoadSpec) -> tuple[int, int] | None:
    status = status_of(Path(spec.path))
    return mark(status) if status else None
