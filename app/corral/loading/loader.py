"""Gets a model into memory: makes room, loads, and steps down where memory is too small."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from corral.engine import protocol
from corral.engine.errors import EngineStopped, OutOfMemory
from corral.engine.process import WorkerEnded, signal_of
from corral.engine.protocol import LoadSpec
from corral.errors import CorralError, DoesNotFit, EngineError, Refused
from corral.loading import drafts
from corral.loading.ladder import Fitting, Ladder, changes, without_draft
from corral.loading.memo import LoadMemo
from corral.loading.pace import Pace, ticking
from corral.loading.room import Room, reading_ahead
from corral.loading.room import machine_with as machine_with
from corral.models.files import mark, status_of
from corral.models.fit.choices import settled
from corral.models.fit.machine import Machine
from corral.models.library.library import Library
from corral.planning import Plan
from corral.talking import ChatEngine
from corral.text import shorten
from corral.turn import Notice, Working

ANYWAY = "Choose it again to try anyway (Ctrl+O, or corral ask -m), or choose another model"


QUICK = 0.05
"""Seconds after which planning reads a file: time to start a worker beside it."""


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
        compatible: why the second model cannot guess ahead for the first; empty where it can.
    """

    def __init__(
        self,
        engine: ChatEngine,
        library: Library,
        memo: LoadMemo,
        *,
        fitter: Fitting | None = None,
        clock: Callable[[], float] = time.monotonic,
        compatible: drafts.Compatible = drafts.compatible,
    ) -> None:
        self._engine = engine
        self._library = library
        self._memo = memo
        self._fitter = fitter
        self._room = Room(engine, library, memo, fitter=fitter, compatible=compatible)
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
        """Let models go whose files were deleted, cut or replaced: what runs is not the file.

        Where no model is in memory, one will have to be loaded: its worker starts meanwhile.
        """
        for spec in self._engine.loaded_specs:
            seen = self._files.get(spec.path)
            if seen is not None and seen.mark != _mark_of(spec):
                self._stale[spec.path] = seen
                await self._engine.discard(spec)
        if not self._engine.loaded_specs:
            self._engine.prepare()

    async def planned(self, plan: Callable[[], Plan]) -> Plan:
        """A plan, made in a thread; a worker starts meanwhile where that takes a moment."""
        timer = asyncio.get_running_loop().call_later(QUICK, self._engine.prepare)
        try:
            return await asyncio.to_thread(plan)
        finally:
            timer.cancel()

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
        plan = self._as_in_memory(plan)
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

    def _as_in_memory(self, plan: Plan) -> Plan:
        """At the pace of what is in memory, where nobody asked for one: going on battery is no
        reason to load a model again."""
        if "pace" in plan.asked:
            return plan
        loaded = self._engine.loaded_specs
        for pace in (plan.spec.pace, "full", "quiet"):
            spec = plan.spec.model_copy(update={"pace": pace})
            stand_in = self._stands_for.get(spec)
            if spec in loaded or (stand_in is not None and stand_in.spec in loaded):
                return replace(plan, spec=spec)
        return plan

    def _is_current_and_less(self, stand_in: Plan, wanted: LoadSpec) -> bool:
        """Whether it answers now and was a step down, not just planned for this machine or given
        a draft model."""
        names = ["n_gpu_layers", "tensor_split", "n_ubatch"] + ["draft"] * bool(stand_in.spec.draft)
        planned = {name: getattr(wanted, name) for name in names}
        is_less = stand_in.spec.model_copy(update=planned) != wanted
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
        self._engine.prepare()
        now = await self.machine()
        plan = replace(plan, spec=settled(plan.spec, now))
        failure = await asyncio.to_thread(self._before, plan)
        if plan.draft_refused:
            yield Notice("The draft model is not used", plan.draft_refused)
        wanted = plan.spec
        tried = False
        machine: Machine | None = now
        while True:
            if failure is None:
                try:
                    with reading_ahead(plan):
                        # Whoever tries again looks again.
                        looked, machine = machine or await self.machine(), None
                        plan = await self._room.make(plan, looked)
                        wanted = wanted.model_copy(update={"draft": plan.spec.draft})
                        tried = True
                        async with contextlib.aclosing(self._attempt(plan, wanted)) as events:
                            async for event in events:
                                for notice in self._worth_telling(event):
                                    yield notice
                                yield event
                    return
                except (DoesNotFit, OutOfMemory) as error:
                    failure = error
                except EngineStopped:
                    raise
                except EngineError as error:
                    # Whoever chose it did not ask for the draft model, but for an answer.
                    if not (plan.draft_wanted and plan.spec.draft):
                        raise
                    yield _without(plan.spec.draft, error.message)
                    plan = without_draft(plan)
                    wanted = wanted.model_copy(update={"draft": ""})
                    continue
            first = first or failure
            if tried and isinstance(failure, OutOfMemory) and (held := self._engine.held()):
                for other in held:
                    await self._engine.discard(other.spec)
                yield Notice("Other models left memory", f"{failure.message}; it is tried again")
                failure = None
                continue
            if self._fitter is None:
                raise first
            if ladder is None:
                now, machine = await self.machine(), None
                ladder = Ladder(self._fitter, self._library, plan, again, now)
            below = await ladder.down(plan, failure, await self._room.available())
            if below is None:
                raise first
            yield Notice("Less memory is used", f"{changes(plan, below)}: {failure.message}")
            plan, wanted = below, below.spec
            failure = await asyncio.to_thread(self._before, plan)

    def _worth_telling(self, event: Working | Resident) -> Iterator[Notice]:
        """What a person should know about a load that has succeeded."""
        if isinstance(event, Resident):
            for said in self._engine.notices():
                yield Notice("Another engine is used", said)
            if event.loaded.draft_refused:
                yield _without(event.plan.spec.draft, event.loaded.draft_refused)

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
            return OutOfMemory(
                f"Loading {name} like this ended the engine the last time", hint=ANYWAY
            )
        raise EngineError(
            f"{name} is not loaded by itself, because that ended the engine the last time: "
            f"{crash.said}",
            title="Not loaded again",
            hint=ANYWAY,
        )

    async def machine(self) -> Machine:
        """What this machine has now, and what the models in memory keep of it."""
        return await self._room.machine()

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
        elif signal_of(error.code) != "SIGTERM":
            self._memo.note_crash(spec, error.message, memory=False)

    def _note_success(self, spec: LoadSpec, rate: float | None) -> None:
        if self._memo.crash(spec) is not None:
            self._memo.forget_crash(spec)
        if rate is not None:
            self._memo.note_rate(rate)


def _without(draft: str, reason: str) -> Notice:
    name = shorten(Path(draft).stem, 60)
    return Notice("The draft model is not used", f"{name} cannot guess ahead: {reason}")


def _mark_of(spec: LoadSpec) -> tuple[int, int] | None:
    status = status_of(Path(spec.path))
    return mark(status) if status else None
