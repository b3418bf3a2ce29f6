"""Another model in the middle of a conversation: loaded ahead, and the old one kept on failure."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from corral.engine import protocol
from corral.engine.errors import EngineStopped
from corral.loading.loader import Loader, Resident
from corral.models.library.local import LocalModel
from corral.planning import Plan
from corral.turn import Activity, Notice, StoppedEarly, Working


@dataclass(frozen=True, slots=True)
class Swapped:
    """The new model is in memory and answers from now on."""

    model: LocalModel
    """Of the same family, but smaller than what was chosen, where memory did not suffice."""
    loaded: protocol.Loaded
    warm: bool
    """It was in memory already, with what it had read."""
    previous: LocalModel | None
    """What was the current one before, where there was one."""


Event = Working | Notice | Swapped


class Swap(Activity[Event]):
    """One change of the model. Ends with :class:`Swapped`, or raises.

    Stopped or failed, the model before is what it was: in memory if it was kept there, else what
    the next turn loads.

    Args:
        plan: gives the plan for the new model; it may read files. Asked whether to go on.
        again: the same for a model by its name.
        engine: holds the engine, as soon as no answer uses it; gives True where that is not now.
    """

    def __init__(
        self,
        loader: Loader,
        plan: Callable[[Callable[[], bool]], Plan],
        again: Callable[[str], Plan],
        engine: Callable[[Swap], AbstractAsyncContextManager[bool]],
    ) -> None:
        super().__init__(self._run())
        self._loader = loader
        self._plan = plan
        self._again = again
        self._engine = engine

    async def _run(self) -> AsyncGenerator[Event, None]:
        try:
            # A running answer is not disturbed: two models at once would only slow each other.
            async with self._engine(self) as waited:
                if waited:
                    yield self.working or Working("waiting")
                async with contextlib.aclosing(self._load()) as events:
                    async for event in events:
                        yield event
        except StoppedEarly:
            raise EngineStopped("Stopped") from None

    async def _load(self) -> AsyncGenerator[Event, None]:
        loader = self._loader
        previous = loader.current
        await loader.prune()
        plan = await self.unless_stopped(loader.planned(partial(self._plan, self.stopping.is_set)))
        async with contextlib.aclosing(loader.load(plan, self._again, chosen=True)) as steps:
            while (step := await self.unless_stopped(anext(steps, None))) is not None:
                if isinstance(step, Resident):
                    self.working = None
                    before = previous.plan.model if previous else None
                    yield Swapped(step.plan.model, step.loaded, step.warm, before)
                else:
                    yield self.tell(step) if isinstance(step, Working) else step
