"""A look at one place of a text: which tokens the model finds likeliest there, and how likely."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate

from corral.chat import formats
from corral.chat.conversation import Conversation
from corral.chat.formats import Turn
from corral.engine import protocol
from corral.engine.errors import EngineStopped
from corral.engine.protocol import LikelyToken
from corral.errors import DoesNotFit, UsageError
from corral.loading.loader import Loader, Resident
from corral.planning import Options, Plan, Planner
from corral.prompting import LONGEST_TOKEN
from corral.talking import ChatEngine
from corral.turn import Activity, Notice, StoppedEarly, Working


@dataclass(frozen=True, slots=True)
class Look:
    """What is wanted."""

    text: str
    at: int
    """A character of the text; the token there is looked at, the next one at its end."""
    count: int = 10
    """How many tokens."""
    conversation: Conversation | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Alternatives:
    """What could stand at a place of a text."""

    start: int
    end: int
    """The characters that the token there stands for; equal at the end of the text."""
    before: int
    """Where the token before it begins."""
    tokens: tuple[LikelyToken, ...]
    """The likeliest first, and last the token that stands there, where it is not among them."""
    chosen: int | None
    """The token that stands there; None at the end of the text."""
    plan: Plan
    reused_tokens: int
    evaluated_tokens: int


Event = Working | Notice | Alternatives


class Likeliest(Activity[Event]):
    """One look. Ends with :class:`Alternatives`, or raises.

    Nothing waits for it: while an answer is being written it is refused.

    Args:
        engine_free: taken while the engine is used.
    """

    def __init__(
        self,
        engine: ChatEngine,
        loader: Loader,
        planner: Planner,
        engine_free: asyncio.Lock,
        look: Look,
    ) -> None:
        super().__init__(self._run())
        self._engine = engine
        self._loader = loader
        self._planner = planner
        self._free = engine_free
        self._look = look

    async def _run(self) -> AsyncGenerator[Event, None]:
        if self._free.locked():
            raise UsageError(
                "An answer is being written, or a model loaded",
                title="The engine is busy",
                hint="Stop it first, or wait until it is done.",
            )
        try:
            async with self._free, contextlib.aclosing(self._steps()) as steps:
                async for step in steps:
                    yield self.tell(step) if isinstance(step, Working) else step
        except StoppedEarly:
            raise EngineStopped("Stopped") from None

    def _plan(self, model: str | None = None) -> Plan:
        options = self._look.options
        wanted = replace(options, model=model or options.model, format=formats.COMPLETION.name)
        stopped: Callable[[], bool] = self.stopping.is_set
        return self._planner.plan(self._look.conversation, wanted, cancelled=stopped)

    async def _steps(self) -> AsyncGenerator[Event, None]:
        loader, look = self._loader, self._look
        await loader.prune()
        plan = await self.unless_stopped(loader.planned(self._plan))
        resident: Resident | None = None
        loading = loader.load(plan, self._plan, chosen=look.options.model is not None)
        async with contextlib.aclosing(loading) as steps:
            while (step := await self.unless_stopped(anext(steps, None))) is not None:
                if isinstance(step, Resident):
                    resident = step
                else:
                    yield step
        assert resident is not None
        yield Working("reading")
        place = await self.unless_stopped(self._place(resident.plan, resident.loaded.n_ctx))
        events = self._engine.likeliest(
            place.tokens,
            look.count,
            also=() if place.chosen is None else (place.chosen,),
            conversation=str(look.conversation.id) if look.conversation else "",
            adapters=resident.plan.adapters,
        )
        async with contextlib.aclosing(self.until_stopped(events, self._engine.stop)) as stream:
            async for event in stream:
                if isinstance(event, protocol.Progress):
                    yield Working("reading", event.done, event.total)
                else:
                    yield Alternatives(
                        place.start,
                        place.end,
                        place.before,
                        event.tokens,
                        place.chosen,
                        resident.plan,
                        event.reused_tokens,
                        event.evaluated_tokens,
                    )

    # --- the place --------------------------------------------------------------------------------

    async def _place(self, plan: Plan, n_ctx: int) -> _Place:
        """The tokens before the place: those of the whole text, so that they are the ones that the
        model goes on behind.

        Raises:
            DoesNotFit: they fill the window; the beginning goes where nobody forbids that.
            UsageError: the vocabulary spells the text in another way.
        """
        text = self._look.text
        at = min(max(0, self._look.at), len(text))
        start = max(0, at - LONGEST_TOKEN * n_ctx)
        while True:
            place = await self._spelled(plan, text[start:], at - start)
            most = n_ctx - 1
            if len(place.tokens) <= most:
                break
            kept = int((at - start) * most / len(place.tokens)) - LONGEST_TOKEN
            if plan.window == "stop" or kept <= 0:
                raise DoesNotFit(
                    f"The text before it has {len(place.tokens)} tokens, the window {n_ctx}",
                    title="The window is full",
                    hint="Choose a larger context window.",
                )
            start = at - kept
        return replace(
            place,
            start=place.start + start,
            end=place.end + start,
            before=place.before + start,
        )

    async def _spelled(self, plan: Plan, text: str, at: int) -> _Place:
        segments, _ = formats.render(formats.COMPLETION, plan.system, [Turn(text, None, 0)])
        spelled = await self._engine.spelled(segments)
        data = text.encode("utf-8", "replace")
        sizes = list(spelled.sizes)
        # The system prompt, and the space that SentencePiece puts before the first word, are no
        # part of the text.
        extra = sum(sizes) - len(data)
        if extra < 0:
            raise UsageError(
                "The vocabulary of this model spells the text in another way",
                title="No alternatives",
            )
        ends = [end - extra for end in accumulate(sizes)]
        byte = len(text[:at].encode("utf-8", "replace"))
        index = len(ends) if at >= len(text) else bisect_right(ends, byte)
        if index < len(ends):
            start = max(0, ends[index - 1]) if index else 0
            end, chosen = ends[index], spelled.tokens[index]
        else:
            start = end = len(data)
            chosen = None
        first = next((number for number, one in enumerate(ends) if one > 0), len(ends))
        # Before the first token there must be one to go on behind.
        if index == 0:
            raise UsageError("Before this token there is none to go on behind", title="No place")
        behind = index - 1
        before = max(0, ends[behind - 1]) if behind > first else 0

        def characters(size: int) -> int:
            return len(data[:size].decode("utf-8", "ignore"))

        return _Place(
            tokens=spelled.tokens[:index],
            start=characters(start),
            end=characters(end),
            before=characters(before),
            chosen=chosen,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    tokens: tuple[int, ...]
    start: int
    end: int
    before: int
    chosen: int | None
