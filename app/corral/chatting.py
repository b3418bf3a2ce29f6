"""One turn: person -> store -> engine -> screen -> store. The only place that joins them.

Send, regenerate, edit-and-resend and ``corral ask`` all run :meth:`Chatting._answer`: there is one
streaming loop in the project. The person's message is committed before anything can fail, and the
answer has its row before the engine is asked for the first token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from corral.chat import formats
from corral.chat.conversation import Conversation, Message, active_path
from corral.engine import protocol
from corral.engine.protocol import LoadSpec, Sampling
from corral.errors import CorralError, DoesNotFit, EngineError, UsageError
from corral.models.library import Library
from corral.models.local import LocalModel
from corral.planning import Options, Planner, Prompt, Tokenizer, build_prompt, provenance
from corral.settings import Settings
from corral.store.store import Store
from corral.turn import (
    Event,
    Finished,
    LeftOut,
    Notice,
    Record,
    Sent,
    Started,
    Turn,
    Words,
    Working,
)

T = TypeVar("T")

__all__ = [
    "ChatEngine",
    "Chatting",
    "Event",
    "Finished",
    "LeftOut",
    "Notice",
    "Options",
    "Sent",
    "Started",
    "Turn",
    "Words",
    "Working",
]


class ChatEngine(Tokenizer, Protocol):
    """What a turn needs of the engine; the tests' scripted engine has the same shape."""

    def load(self, spec: LoadSpec) -> AsyncGenerator[protocol.Progress | protocol.Loaded, None]: ...
    def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        max_tokens: int = 0,
        stop: Sequence[str] = (),
        strip_leading_space: bool = True,
    ) -> AsyncGenerator[protocol.Progress | protocol.Delta | protocol.Finished, None]: ...
    def stop(self) -> None: ...
    async def spare_bytes(self) -> int: ...
    @property
    def loaded_spec(self) -> LoadSpec | None: ...


class Chatting:
    """Runs turns, one at a time for the one engine.

    Args:
        store: where everything is kept; a turn writes through it before it goes on.
        library: knows the models of this machine.
        engine: the worker, or a scripted one of the same shape.
        settings: the person's defaults.
    """

    def __init__(
        self, store: Store, library: Library, engine: ChatEngine, settings: Settings
    ) -> None:
        self.store = store
        self.library = library
        self.engine = engine
        self.settings = settings
        self.loaded: protocol.Loaded | None = None
        self.model: LocalModel | None = None
        """The model in memory."""
        self.planner = Planner(library, settings)
        self.running: dict[int, Turn] = {}
        """Turns in work, by conversation."""
        self._engine_free = asyncio.Lock()

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

        async def events(turn: Turn) -> AsyncGenerator[Event, None]:
            question = message
            if message.role == "assistant" and message.parent is not None:
                question = await asyncio.to_thread(self.store.message, message.parent)
            answer = self._answer(turn, question, options, fresh=False)
            async with contextlib.aclosing(answer) as stream:
                async for event in stream:
                    yield event

        return self._turn(message.conversation, events)

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
        self, turn: Turn, question: Message, options: Options, *, fresh: bool
    ) -> AsyncGenerator[Event, None]:
        """The one streaming loop. ``fresh``: the question was just sent and may be taken back."""
        answer = await asyncio.to_thread(
            self.store.begin_answer,
            question.id,
            model=None,
            parameters=dict(options.parameters) or None,
        )
        turn.answer = answer
        record = Record(self.store, turn, answer)
        yield Started(answer)
        try:
            async with self._engine_turn(turn) as waited:
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
        except _StoppedEarly:
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
        spare = await _unless_stopped(turn, self.engine.spare_bytes())
        work = asyncio.to_thread(
            self.planner.plan, conversation, options, loaded=self.engine.loaded_spec, spare=spare
        )
        plan = await _unless_stopped(turn, work)
        async with contextlib.aclosing(self.engine.load(plan.spec)) as load:
            while (event := await _unless_stopped(turn, anext(load, None))) is not None:
                if isinstance(event, protocol.Loaded):
                    self.loaded, self.model = event, plan.model
                else:
                    yield turn.tell(Working("loading", event.done, event.total))
        assert self.loaded is not None
        record.model = provenance(plan, self.loaded)
        path = active_path(
            await asyncio.to_thread(self.store.messages, conversation.id), question.id
        )
        building = build_prompt(
            self.engine, plan, self.loaded.n_ctx, formats.turns(path), seen_from=_seen_from(path)
        )
        try:
            prompt = await _unless_stopped(turn, building)
        except DoesNotFit as error:
            raise _TooLong(error) from None
        if prompt.tags:
            yield Notice(
                "Control tags were neutralised",
                f"{', '.join(prompt.tags)} structure the prompt of this model, "
                "so they were written with spaces in what the model sees",
            )
        if prompt.left_out and prompt.first_message is not None:
            record.parameters["window_from"] = prompt.first_message
            yield LeftOut(prompt.left_out, prompt.first_message)
        format = formats.FORMATS.get(plan.format)
        record.start_checkpoints()
        events = self.engine.generate(
            prompt.tokens,
            plan.sampling,
            max_tokens=plan.max_tokens,
            stop=format.stop if format else (),
            strip_leading_space=format is not formats.COMPLETION,
        )
        async with contextlib.aclosing(self._until_stopped(turn, events)) as generation:
            async for event in generation:
                if isinstance(event, protocol.Progress):
                    yield turn.tell(Working("reading", event.done, event.total))
                elif isinstance(event, protocol.Delta):
                    turn.working = None
                    turn.text += event.text
                    yield Words(event.text, event.tokens)
                else:
                    record.model["threads"] = event.threads
                    record.parameters |= plan.sampling.model_dump(exclude_defaults=True)
                    record.parameters["seed"] = event.seed
                    await record.finish(
                        "stopped" if event.stop_reason == "stopped" else "complete", finished=event
                    )

    @contextlib.asynccontextmanager
    async def _engine_turn(self, turn: Turn) -> AsyncIterator[bool]:
        """Hold the engine; gives True where another turn holds it and this one has to wait."""
        waited = self._engine_free.locked()
        if waited:
            turn.tell(Working("waiting"))
        await _unless_stopped(turn, self._engine_free.acquire())
        try:
            yield waited
        finally:
            self._engine_free.release()

    async def _until_stopped(
        self, turn: Turn, events: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        """Pass a generation on; when the turn is stopped, tell the engine, which then ends it."""
        if turn.stopping.is_set():
            raise _StoppedEarly
        stop = asyncio.ensure_future(turn.stopping.wait())
        stop.add_done_callback(lambda done: None if done.cancelled() else self.engine.stop())
        try:
            async with contextlib.aclosing(events) as stream:
                async for event in stream:
                    yield event
        except EngineError:
            # A worker that did not stop in time was killed: the person asked for the stop, and
            # gets it.
            if turn.stopping.is_set():
                raise _StoppedEarly from None
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self.engine.stop()
            raise
        finally:
            stop.cancel()

    async def preview(
        self, conversation: Conversation | None, text: str, options: Options
    ) -> Prompt:
        """The prompt that sending ``text`` would give, without weights and without saving."""
        plan = await asyncio.to_thread(self.planner.plan, conversation, options)
        path: list[Message] = []
        if conversation is not None:
            path = active_path(self.store.messages(conversation.id), conversation.active)
        path.append(Message(0, 0, None, "user", text, "complete", 0.0))
        async with self._engine_free:
            async for event in self.engine.load(plan.spec.model_copy(update={"vocab_only": True})):
                if isinstance(event, protocol.Loaded) and event.n_ctx == 0:
                    self.loaded = self.model = None
            return await build_prompt(self.engine, plan, plan.spec.n_ctx, formats.turns(path))


async def _unless_stopped(turn: Turn, work: Awaitable[T]) -> T:
    """The result of ``work``; when the turn is stopped first, the work is cancelled.

    Raises:
        _StoppedEarly: the person stopped the turn.
    """
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(turn.stopping.wait())
    try:
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise _StoppedEarly
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _seen_from(path: Sequence[Message]) -> int | None:
    """The first message the model saw for the latest answer of the path, where it was cut."""
    for message in reversed(path):
        if message.role == "assistant" and message.parameters:
            first = message.parameters.get("window_from")
            return first if isinstance(first, int) else None
    return None


class _TooLong(Exception):
    """Not even the question alone fits."""

    def __init__(self, error: DoesNotFit) -> None:
        super().__init__(error.message)
        self.error = error


class _StoppedEarly(Exception):
    """The person stopped the turn before there was an answer to stop."""
