"""One turn: person -> store -> engine -> screen -> store. The only place that joins them.

Send, regenerate, edit-and-resend and ``corral ask`` all run :meth:`Chatting._answer`: there is one
streaming loop in the project. The person's message is committed before anything can fail, and the
answer has its row before the engine is asked for the first token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from corral import continuing
from corral.chat import formats
from corral.chat.conversation import Conversation, Message
from corral.engine import protocol
from corral.errors import CorralError, DoesNotFit, UsageError
from corral.likeliest import Likeliest, Look
from corral.loading.ladder import Fitting
from corral.loading.loader import Loader, Resident
from corral.loading.memo import LoadMemo, Memo
from corral.loading.swap import Swap, Swapped
from corral.models.fit.machine import Machine
from corral.models.library.library import Library
from corral.models.library.local import LocalModel
from corral.planning import Options, Plan, Planner, Prompt, provenance
from corral.settings import Settings
from corral.store.store import Store
from corral.talking import ChatEngine
from corral.turn import (
    Activity,
    Event,
    Finished,
    LeftOut,
    Notice,
    Record,
    Sent,
    Started,
    StoppedEarly,
    Turn,
    Words,
    Working,
)
from corral.windowing import Windowing, stretched

__all__ = ["ChatEngine", "Chatting", "Event", "Finished", "LeftOut", "Notice", "Options", "Sent"]
__all__ += ["Started", "Swap", "Swapped", "Turn", "Words", "Working"]


class Chatting:
    """Runs turns, one at a time for the one engine.

    Args:
        store: where everything is kept; a turn writes through it before it goes on.
        library: knows the models of this machine.
        engine: the worker, or a scripted one of the same shape.
        settings: the person's defaults.
        fitter: knows what fits and learns from every run; without one what does not fit is
            refused.
        memo: where notes about models are kept, if not in the store.
    """

    def __init__(
        self,
        store: Store,
        library: Library,
        engine: ChatEngine,
        settings: Settings,
        *,
        fitter: Fitting | None = None,
        memo: Memo | None = None,
    ) -> None:
        self.store = store
        self.library = library
        self.engine = engine
        self.settings = settings
        self.load_memo = LoadMemo(memo or store)
        """Load parameters of each model, and what crashed."""
        self.planner = Planner(library, settings, self.load_memo)
        self.running: dict[int, Turn] = {}
        """Turns in work, by conversation."""
        self._fitter = fitter
        self._loader = Loader(engine, library, self.load_memo, fitter=fitter)
        self._engine_free = asyncio.Lock()

    # --- what is in memory ------------------------------------------------------------------------

    @property
    def model(self) -> LocalModel | None:
        """The model that is in memory and was used last; None where none is, also after a crash."""
        now = self._loader.current
        return now.plan.model if now else None

    @property
    def loaded(self) -> protocol.Loaded | None:
        """What the engine says about it."""
        now = self._loader.current
        return now.loaded if now else None

    def in_memory(self) -> list[str]:
        """Names of all models in memory, the latest used first."""
        return self._loader.in_memory()

    async def machine(self) -> Machine:
        """What this machine has now, and what the models in memory keep of it."""
        return await self._loader.machine()

    def swap(self, name: str, conversation: Conversation | None) -> Swap:
        """Load another model for a conversation, which the caller changes after success.

        It waits for a running answer. Naming a model is also the wish to try one again that
        crashed the last time.

        Raises (while iterating):
            EngineStopped: it was stopped.
            CorralError: the model could not be loaded; the one before is what the next turn uses.
        """

        def plan(model: str, cancelled: Callable[[], bool] | None = None) -> Plan:
            return self.planner.plan(conversation, Options(model=model), cancelled=cancelled)

        return Swap(self._loader, partial(plan, name), plan, self._hold_engine)

    # --- starting a turn --------------------------------------------------------------------------

    def send(
        self,
        conversation: int,
        text: str,
        options: Options = Options(),
        *,
        parent: int | Literal["active"] | None = "active",
    ) -> Turn:
        """Send a message and stream its answer; another ``parent`` makes a branch.

        Raises (while iterating):
            UsageError: the text is empty.
            StoreError: the message could not be saved; nothing was sent.
            DoesNotFit: not even this message alone fits the window; its text is the draft again.
        """

        async def events(turn: Turn) -> AsyncGenerator[Event, None]:
            if not text.strip():
                raise UsageError("The message is empty", title="Nothing to send")
            at = parent
            if at == "active":
                at = (await asyncio.to_thread(self.store.conversation, conversation)).active
            message = await asyncio.to_thread(self.store.add_user, conversation, text, at)
            yield Sent(message)
            answer = self._answer(turn, message, options, fresh=True)
            async with contextlib.aclosing(answer) as stream:
                async for event in stream:
                    yield event

        return self._turn(conversation, events)

    def regenerate(self, message: Message, options: Options = Options()) -> Turn:
        """Another answer to the same message; ``message`` may be the answer or the question."""
        events = partial(self._again, message=message, options=options)
        return self._turn(message.conversation, events)

    def go_on(self, message: Message, options: Options = Options()) -> Turn:
        """Let an answer go on that was stopped or cut off; its tokens are not evaluated again."""
        events = partial(self._again, message=message, options=options, goes_on=True)
        return self._turn(message.conversation, events)

    def write(self, message: Message, options: Options = Options()) -> Turn:
        """Write on behind a message of a text, whoever wrote that."""
        events = partial(self._answer, question=message, options=options, fresh=False)
        return self._turn(message.conversation, events)

    def likeliest(self, look: Look) -> Likeliest:
        """Look at the likeliest tokens at a place of a text."""
        return Likeliest(self.engine, self._loader, self.planner, self._engine_free, look)

    async def _again(
        self, turn: Turn, message: Message, options: Options, goes_on: bool = False
    ) -> AsyncGenerator[Event, None]:
        question = await asyncio.to_thread(continuing.question_of, self.store, message.id, goes_on)
        cut = await asyncio.to_thread(self.store.message, message.id) if goes_on else None
        answer = self._answer(turn, question, options, fresh=False, cut=cut)
        async with contextlib.aclosing(answer) as stream:
            async for event in stream:
                yield event

    def _turn(self, conversation: int, events: Any) -> Turn:
        if conversation in self.running:
            raise UsageError(
                "An answer is still being written in this conversation",
                hint="Stop it first, or wait until it is done.",
            )

        async def registered() -> AsyncGenerator[Event, None]:
            self.running[conversation] = turn
            try:
                async with contextlib.aclosing(events(turn)) as stream:
                    async for event in stream:
                        yield event
            finally:
                self.running.pop(conversation, None)

        turn = Turn(conversation, registered())
        return turn

    # --- the streaming loop -----------------------------------------------------------------------

    async def _answer(
        self,
        turn: Turn,
        question: Message,
        options: Options,
        *,
        fresh: bool,
        cut: Message | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The one streaming loop. ``fresh``: the question was just sent and may be taken back."""
        record = await continuing.begin(self.store, turn, question, options, cut)
        answer = record.message
        yield Started(answer)
        try:
            async with self._hold_engine(turn) as waited:
                if waited:
                    yield turn.working or Working("waiting")
                steps = self._stream(turn, question, options, record)
                async with contextlib.aclosing(steps) as stream:
                    async for event in stream:
                        yield event
        except _TooLong as too_long:
            if fresh:
                record.close()
                await asyncio.to_thread(self.store.unsend, question.id)
                raise too_long.error from None
            yield Finished(await record.finish("failed", error=too_long.error), too_long.error)
        except StoppedEarly:
            yield Finished(await record.finish("stopped"))
        except CorralError as error:
            yield Finished(await record.finish("failed", error=error), error)
        except (asyncio.CancelledError, GeneratorExit):
            # The caller is gone: keep the text, and do not wait for anything. Closing the streams
            # has stopped the engine.
            record.finish_now("stopped")
            raise
        except Exception:
            fault = CorralError("The answer could not be finished because of a fault in corral")
            record.finish_now("failed", error=fault)
            raise
        else:
            yield Finished(record.message)

    async def _stream(
        self, turn: Turn, question: Message, options: Options, record: Record
    ) -> AsyncGenerator[Event, None]:
        """Load, render, generate: everything a failure of which becomes one failed answer."""
        conversation = await asyncio.to_thread(self.store.conversation, question.conversation)
        resident: Resident | None = None
        async with contextlib.aclosing(self._load(turn, conversation, options)) as steps:
            async for step in steps:
                if isinstance(step, Resident):
                    resident = step
                else:
                    yield turn.tell(step) if isinstance(step, Working) else step
        assert resident is not None
        plan, loaded = resident.plan, resident.loaded
        record.model = provenance(plan, loaded)
        if plan.adapters_left_out:
            yield Notice("An adapter is left out", plan.adapters_left_out)
        if not resident.warm and (notice := stretched(plan)) is not None:
            yield notice
        path = await asyncio.to_thread(continuing.path_to, self.store, question)
        windowing = Windowing(self.store, self.engine)
        before, n_ctx = await continuing.so_far(self.engine, plan, loaded.n_ctx, record.cut)
        building = windowing.prompt(turn, plan, n_ctx, path, record)
        try:
            async with contextlib.aclosing(building) as built:
                async for made in built:
                    if isinstance(made, Prompt):
                        prompt = made
                    else:
                        yield made
        except DoesNotFit as error:
            raise _TooLong(error) from None
        format = formats.FORMATS.get(plan.format)
        record.start_checkpoints()
        events = self.engine.generate(
            (*prompt.tokens, *before),
            plan.sampling,
            max_tokens=plan.max_tokens,
            stop=format.stop if format else (),
            strip_leading_space=format is not formats.COMPLETION and not turn.text,
            conversation=str(conversation.id),
            lookup=self.settings.engine.lookup,
            adapters=plan.adapters,
        )
        async with contextlib.aclosing(turn.until_stopped(events, self.engine.stop)) as generation:
            async for event in generation:
                if isinstance(event, protocol.Progress):
                    yield turn.tell(Working("reading", event.done, event.total))
                elif isinstance(event, protocol.Delta):
                    turn.working = None
                    turn.text += event.text
                    yield Words(event.text, event.tokens)
                else:
                    record.model["threads"] = event.threads
                    record.parameters |= plan.sampling.chosen()
                    record.parameters["seed"] = event.seed
                    record.parameters |= continuing.kept_ids(turn.text, before, event)
                    await record.finish(
                        "stopped" if event.stop_reason == "stopped" else "complete", finished=event
                    )
                    await self._learn(plan, loaded, event)

    async def _load(
        self, turn: Turn, conversation: Conversation, options: Options
    ) -> AsyncGenerator[Working | Notice | Resident, None]:
        await self._loader.prune()

        def planned(options: Options) -> Plan:
            return self.planner.plan(conversation, options, cancelled=turn.stopping.is_set)

        plan = await turn.unless_stopped(asyncio.to_thread(planned, options))
        loading = self._loader.load(
            plan,
            lambda name: planned(replace(options, model=name)),
            chosen=options.model is not None,
        )
        async with contextlib.aclosing(loading) as steps:
            while (step := await turn.unless_stopped(anext(steps, None))) is not None:
                yield step

    async def _learn(
        self, plan: Plan, loaded: protocol.Loaded, finished: protocol.Finished
    ) -> None:
        """Tell the fitter how it went; the answer is stored, and nothing here may change that."""
        if self._fitter is not None:
            with contextlib.suppress(Exception):
                await asyncio.to_thread(
                    self._fitter.learn, plan.model, plan.header, loaded, finished
                )

    @contextlib.asynccontextmanager
    async def _hold_engine(self, turn: Activity[Any]) -> AsyncIterator[bool]:
        """Hold the engine; gives True where another turn holds it and this one has to wait."""
        waited = self._engine_free.locked()
        if waited:
            turn.tell(Working("waiting"))
        taking = asyncio.ensure_future(self._engine_free.acquire())
        try:
            await turn.unless_stopped(taking)
        except BaseException:
            if taking.done() and not taking.cancelled():  # Both came at the same moment.
                self._engine_free.release()
            raise
        try:
            yield waited
        finally:
            self._engine_free.release()


class _TooLong(Exception):
    """Not even the question alone fits."""

    def __init__(self, error: DoesNotFit) -> None:
        super().__init__(error.message)
        self.error = error
