"""How fast one model is on this machine: load, prompt, generation, reuse and restore.

The person's short version of ``make bench``: a quarter of a minute for the starter, two minutes for
a 7B on a slow processor, which gets a shorter prompt and answer. It runs in workers of its own, so
that what is warm stays warm unless memory does not suffice for both, and keeps what was evaluated
in a folder that is removed again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from corral.benching.report import Figure, Report, keep, milliseconds, processor_name, rounded
from corral.engine.engine import Engine
from corral.engine.protocol import Finished, Loaded, Progress, Ready, States
from corral.errors import DoesNotFit, EngineError
from corral.models.fit import memory
from corral.models.fit.memory import Fit, Range
from corral.planning import Options, Plan

if TYPE_CHECKING:
    from corral.parts import Parts

ROUNDS = 3
PROMPT, SHORTEST_PROMPT = 512, 64
ANSWER, SHORTEST_ANSWER = 128, 24
"""Tokens of a round, on machines that manage them in ``SECONDS`` each, and on those that do not."""
SECONDS = 6.0
TURN = 8
"""Tokens of what is said next in a conversation that was read already."""
WARM_UP = 32
CONVERSATION = "bench"
KEEPING_SECONDS = 10.0
"""The longest that what was evaluated may take to get to the disk."""
DECIDING_SECONDS = 2.0
"""Where nothing was begun by then, nothing will be kept."""
STALE_SECONDS = 3600.0
_ENDS = ("bos", "eos", "eot", "eom", "unknown", "padding")

Tell = Callable[[str, float], None]
"""Told what goes on, and how much of all is done, 0.0 to 1.0."""


class Bench:
    """Measures; one run at a time, and best while nothing else computes.

    Args:
        parts: of which it uses the planner, the fitter, the folders and the memory notes; the
            engine only to know the machine, and to make room.
    """

    def __init__(self, parts: Parts, *, rounds: int = ROUNDS) -> None:
        self._parts = parts
        self._rounds = rounds

    async def run(self, name: str | None, tell: Tell) -> Report:
        """Measure a model, and let the predictions learn from it.

        Cancelling it ends its workers and removes its folder.

        Raises:
            NotFound, Refused, UsageError: no such model, or not a usable file.
            DoesNotFit: memory is too small for it, also without the models in memory.
            EngineError: the engine cannot be started, refused the file, or died.
        """
        started = time.monotonic()
        parts = self._parts
        tell("looking at this machine", 0.0)
        plan = await asyncio.to_thread(self._plan, name)
        with contextlib.suppress(EngineError):  # Its own worker will say what is wrong.
            await parts.calibrate()
        plan = await self._make_room(plan)
        fit = await asyncio.to_thread(self._predicted, plan)
        with _folder(parts.paths.cache) as folder:
            figures, loaded, ready = await _Run(self, plan, fit, folder, tell).measure()
        report = Report(
            machine=_describe_machine(parts),
            engine={
                "version": ready.binding,
                "build": ready.system_info,
                "gpu_offload": ready.gpu_offload,
            },
            model=_describe_model(plan, loaded),
            figures=tuple(figures),
            seconds=time.monotonic() - started,
        )
        await asyncio.to_thread(keep, parts.disk or parts.store, report)
        return report

    @property
    def rounds(self) -> int:
        return self._rounds

    def engine(self, states: States | None) -> Engine:
        """A worker of its own, that nothing warm gets in the way of."""
        own = self._parts
        return Engine(own.paths.engine_log, states=states, keep_warm=False, packs=own.engine.packs)

    def learn(self, plan: Plan, loaded: Loaded, finished: Finished) -> None:
        """Let what is predicted be right the next time; nothing is worth failing for."""
        with contextlib.suppress(Exception):
            self._parts.fitter.learn(plan.model, plan.header, loaded, finished)

    def load_rate(self) -> float | None:
        """Bytes a second of the loads before, if there were any."""
        return self._parts.chatting.load_memo.rate()

    # --- before and after -------------------------------------------------------------------------

    def _plan(self, name: str | None) -> Plan:
        """As for an answer, without a draft model: what is guessed ahead depends on the text."""
        # Any format will do: a file that nobody knows one for can be measured, too.
        plan = self._parts.chatting.planner.plan(None, Options(model=name, format="completion"))
        return _with(plan, draft="")

    async def _make_room(self, plan: Plan) -> Plan:
        """Let what is warm go where both do not fit, and find out where the layers go.

        A graphics card is measured alone: a layer less there would be another machine.
        """
        parts, title = self._parts, plan.model.name
        try:
            memory.check(plan.header, plan.spec, memory.available_memory(), name=title)
            alone = not parts.machine().devices
        except DoesNotFit:
            alone = False
        if not alone and parts.engine.loaded_specs:
            await parts.engine.close()
        memory.check(plan.header, plan.spec, memory.available_memory(), name=title)
        spec = await asyncio.to_thread(
            parts.fitter.plan_load, plan.model, plan.header, plan.spec, parts.machine()
        )
        return _with(plan, **spec.model_dump())

    def _predicted(self, plan: Plan) -> Fit:
        spec = plan.spec
        return self._parts.fitter.fit(
            plan.model, plan.header, n_ctx=spec.n_ctx, type_k=spec.type_k, type_v=spec.type_v
        )


class _Run:
    """The steps of one run, in their order."""

    def __init__(self, bench: Bench, plan: Plan, fit: Fit, folder: Path | None, tell: Tell) -> None:
        self._bench = bench
        self._plan = plan
        self._fit = fit
        self._folder = folder
        self._tell = tell
        self._random = random.Random()  # noqa: S311 - tokens nobody evaluated before
        self._steps = 7 + bench.rounds
        self._step = 0

    async def measure(self) -> tuple[list[Figure], Loaded, Ready]:
        """Everything, from the first worker to the end of the second one."""
        states = self._states()
        engine = self._bench.engine(states)
        try:
            self._next("starting the engine")
            ready = await engine.ready()
            load, loaded = await self._load(engine, "loading")
            prompt, count = await self._lengths(engine, loaded)
            answers: list[Finished] = []
            tokens: list[int] = []
            last = self._bench.rounds - 1
            for number in range(self._bench.rounds):
                self._next(f"prompt and answer, {number + 1} of {self._bench.rounds}")
                tokens = self._tokens(prompt)
                answers.append(await self._answer(engine, tokens, count, keep=number == last))
            for answer in answers:
                await asyncio.to_thread(self._bench.learn, self._plan, loaded, answer)
            cold = median(answer.timings.first_token_ms for answer in answers)
            self._next("the next turn")
            turn = await self._answer(engine, tokens + self._tokens(TURN), 1, keep=True)
            figures = [
                self._loading(load),
                self._prompt(prompt, cold),
                self._generation(answers),
                _reused("reuse", "Next turn", turn, cold),
            ]
            if states is not None:
                await self._kept(states)
        finally:
            await engine.close()
        if states is not None:
            figures.append(await self._restored(states, tokens, cold))
        self._tell("done", 1.0)
        return figures, loaded, ready

    async def _restored(self, states: States, tokens: list[int], cold: float) -> Figure:
        """The same conversation in a process that has never seen it."""
        engine = self._bench.engine(states)
        try:
            await self._load(engine, "loading once more")
            self._next("opening the conversation again")
            again = await self._answer(engine, tokens + self._tokens(TURN), 1, keep=True)
            return _reused("restore", "Reopened", again, cold)
        finally:
            await engine.close()

    # --- steps ------------------------------------------------------------------------------------

    async def _load(self, engine: Engine, what: str) -> tuple[float, Loaded]:
        self._next(what)
        await engine.ready()
        started = time.perf_counter()
        loaded = None
        async with contextlib.aclosing(engine.load(self._plan.spec)) as events:
            async for event in events:
                if isinstance(event, Loaded):
                    loaded = event
                else:
                    self._within(event)
        assert loaded is not None  # the engine says so, or raises
        return time.perf_counter() - started, loaded

    async def _lengths(self, engine: Engine, loaded: Loaded) -> tuple[int, int]:
        """Tokens of a prompt and of an answer that take no more than some seconds here.

        The first answer of all brings the weights into memory and is not looked at.
        """
        self._next("warming up")
        await self._answer(engine, self._tokens(WARM_UP), 4)
        timings = (await self._answer(engine, self._tokens(WARM_UP), 8)).timings
        count = ANSWER
        if timings.tokens_per_second > 0:
            count = int(timings.tokens_per_second * SECONDS)
            count = min(ANSWER, max(SHORTEST_ANSWER, count))
        prompt = int(1e3 * WARM_UP / max(timings.first_token_ms, 1e-3) * SECONDS)
        prompt = min(PROMPT, max(SHORTEST_PROMPT, prompt // 32 * 32))
        return max(1, min(prompt, loaded.n_ctx - count - 4 * TURN)), count

    async def _answer(
        self, engine: Engine, tokens: list[int], count: int, *, keep: bool = False
    ) -> Finished:
        sampling = self._plan.sampling.model_copy(update={"seed": 1, "logit_bias": self._endless()})
        generation = engine.generate(
            tokens,
            sampling,
            max_tokens=count,
            conversation=CONVERSATION if keep else "",
            lookup=False,
        )
        async with contextlib.aclosing(generation) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event
                if isinstance(event, Progress):
                    self._within(event)
        raise EngineError("The engine gave no answer")

    async def _kept(self, states: States) -> None:
        """Wait until what was evaluated is on the disk, where that works at all."""
        self._next("keeping what was read")
        folder = Path(states.folder)
        begun = time.monotonic()
        while time.monotonic() < begun + KEEPING_SECONDS:
            kept, unfinished = list(folder.rglob("*.kv")), list(folder.rglob("*.tmp"))
            if kept and not unfinished:
                return
            if not kept and not unfinished and time.monotonic() > begun + DECIDING_SECONDS:
                return  # Evaluating it again is faster than reading it.
            await asyncio.sleep(0.1)

    # --- what it comes to -------------------------------------------------------------------------

    def _loading(self, seconds: float) -> Figure:
        rate = self._bench.load_rate()
        expected = self._plan.model.bytes / rate if rate else None
        note = f"{expected:.2f} s predicted" if expected else ""
        return Figure("load", "Load", seconds, "s", expected, note)

    def _prompt(self, tokens: int, cold: float) -> Figure:
        reference, note = None, f"{tokens} tokens"
        if self._fit.first_token_ms is not None:
            slow, fast = (1e3 * 512 / ms for ms in reversed(self._fit.first_token_ms))
            reference, note = (slow + fast) / 2, f"{note}; {_predicted((slow, fast))}"
        return Figure("prompt", "Prompt", 1e3 * tokens / cold, "tok/s", reference, note)

    def _generation(self, answers: list[Finished]) -> Figure:
        value = median(answer.timings.tokens_per_second for answer in answers)
        reference, note = None, ""
        if self._fit.tokens_per_second is not None:
            reference = sum(self._fit.tokens_per_second) / 2
            note = _predicted(self._fit.tokens_per_second)
        return Figure("generation", "Generation", value, "tok/s", reference, note)

    # --- small things -----------------------------------------------------------------------------

    def _tokens(self, count: int) -> list[int]:
        """Ordinary tokens: the special ones stand at both ends of a vocabulary."""
        size = self._plan.header.vocab_size
        return [self._random.randrange(size // 8, size - size // 8) for _ in range(count)]

    def _endless(self) -> dict[int, float]:
        """Forbids the tokens that would end an answer before its time."""
        header = self._plan.header
        found = (header.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in _ENDS)
        ids = (id for id in found if isinstance(id, int) and 0 <= id < header.vocab_size)
        return dict.fromkeys(ids, -1e9)

    def _states(self) -> States | None:
        """Where the conversation is kept until it is opened again; None on a full disk."""
        if self._folder is None:
            return None
        spec = self._plan.spec
        each = memory.kv_bytes_per_token(self._plan.header, spec.type_k, spec.type_v)
        limit = 3 * each * (PROMPT + ANSWER + 4 * TURN) + (64 << 20)
        if shutil.disk_usage(self._folder).free < 2 * limit:
            return None
        return States(folder=str(self._folder), limit=limit, idle_seconds=0.2)

    def _next(self, what: str) -> None:
        self._what = what
        self._tell(what, self._step / self._steps)
        self._step += 1

    def _within(self, event: Progress) -> None:
        part = event.done / event.total if event.total else 0.0
        self._tell(self._what, (self._step - 1 + min(1.0, part)) / self._steps)


def _with(plan: Plan, **spec: Any) -> Plan:
    return replace(plan, spec=plan.spec.model_copy(update=spec))


def _reused(name: str, title: str, finished: Finished, cold: float) -> Figure:
    """Milliseconds to the first token of a turn in a conversation that was read before."""
    usage = finished.usage
    note = f"{milliseconds(cold)} if nothing were kept"
    if usage.reused_tokens < usage.prompt_tokens // 2:
        note = "read again: nothing was kept"
    return Figure(name, title, finished.timings.first_token_ms, "ms", cold, note)


def _predicted(rates: Range) -> str:
    low, high = rates
    return f"{rounded(low)} to {rounded(high)} predicted"


def _describe_machine(parts: Parts) -> dict[str, Any]:
    machine = parts.machine()
    return {
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "memory": machine.memory_total,
        "devices": [device.description or device.name for device in machine.devices],
    }


def _describe_model(plan: Plan, loaded: Loaded) -> dict[str, Any]:
    return {
        "name": plan.model.name,
        "title": plan.model.title,
        "quant": plan.model.quant,
        "file": plan.model.path,
        "sha256": plan.model.sha256,
        "bytes": plan.model.bytes,
        "n_ctx": loaded.n_ctx,
        "gpu_layers": loaded.gpu_layers,
        "layers": loaded.layers,
        "threads": loaded.threads,
        "type_k": plan.spec.type_k,
        "type_v": plan.spec.type_v,
    }


@contextlib.contextmanager
def _folder(cache: Path) -> Iterator[Path | None]:
    """An empty folder that is removed; what a run left behind that was killed goes, too.

    None where there can be none.
    """
    for old in cache.glob("bench-*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    folder = None
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # It may be deleted at any time.
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir=cache))
    try:
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
