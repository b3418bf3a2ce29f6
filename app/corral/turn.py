"""What a running turn tells whoever watches it, and the row its answer is kept in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from corral.chat.conversation import Message
from corral.chat.window import Gap
from corral.engine import protocol
from corral.errors import CorralError, EngineError, StoreError
from corral.store.store import Store

T = TypeVar("T")
R = TypeVar("R")

CHECKPOINT_SECONDS = 0.5
"""How often a streaming answer is written to the store."""

Stage = Literal["waiting", "starting", "loading", "condensing", "reading", "writing"]


@dataclass(frozen=True, slots=True)
class Sent:
    """The person's message is on disk."""

    message: Message


@dataclass(frozen=True, slots=True)
class Started:
    """The answer has its row; text follows."""

    message: Message


@dataclass(frozen=True, slots=True)
class Working:
    """What goes on before and between words; ``total`` is 0 where the length is unknown."""

    stage: Stage
    done: float = 0.0
    total: float = 0.0
    eta: float | None = None
    """Seconds it will take from now on; None where nobody can tell."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the person should know, in one sentence."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The model does not see all: the gaps are :data:`corral.chat.window.Gap`."""

    exchanges: int
    first_message: int
    """From here on it sees everything."""
    gaps: tuple[Gap, ...] = ()
    summary: Message | None = None
    """The message before which a summary stands for what is left out."""
    scattered: bool = False
    """What it does not see is not just the beginning."""


@dataclass(frozen=True, slots=True)
class Words:
    """The next piece of the answer, and its tokens so far."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer as it is stored; ``error`` says why where it failed."""

    message: Message
    error: CorralError | None = None


Event = Sent | Started | Working | Notice | LeftOut | Words | Finished


class Activity(Generic[T]):
    """Something that uses the engine: iterate over it for events, stop it at any time."""

    def __init__(self, events: AsyncGenerator[T, None]) -> None:
        self.working: Working | None = Working("starting")
        """What goes on now, for a screen that comes back to it later."""
        self.stopping = asyncio.Event()
        self._events = events

    def stop(self) -> None:
        """End it at once and keep what there is."""
        self.stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for its end."""
        return self.stopping.is_set()

    def tell(self, working: Working) -> Working:
        """Remember what goes on."""
        self.working = working
        return working

    async def unless_stopped(self, work: Awaitable[R]) -> R:
        """The result of ``work``; when this is stopped first, the work is cancelled.

        Raises:
            StoppedEarly: the person stopped it.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise StoppedEarly
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until_stopped(
        self, events: AsyncGenerator[R, None], stop: Callable[[], None]
    ) -> AsyncGenerator[R, None]:
        """Pass on what the engine makes; when this is stopped, tell the engine, which then ends it.

        Raises:
            StoppedEarly: it was stopped before it began, or did not come to an end of its own.
        """
        if self.stopped:
            raise StoppedEarly
        stopping = asyncio.ensure_future(self.stopping.wait())
        stopping.add_done_callback(lambda done: None if done.cancelled() else stop())
        try:
            async with contextlib.aclosing(events) as stream:
                async for event in stream:
                    yield event
        except EngineError:
            # A worker that did not stop in time was killed: the person asked for the stop, and
            # gets it.
            if self.stopped:
                raise StoppedEarly from None
            raise
        except (asyncio.CancelledError, GeneratorExit):
            stop()
            raise
        finally:
            stopping.cancel()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._events

    async def aclose(self) -> None:
        """End it where it is: for a caller that leaves the iteration."""
        await self._events.aclose()


class StoppedEarly(Exception):
    """The person stopped something before it came to its own end."""


class Turn(Activity[Event]):
    """One running answer.

    It always ends with :class:`Finished`, but for a message that was refused: that raises, and the
    text is back in the draft.
    """

    def __init__(self, conversation: int, events: AsyncGenerator[Event, None]) -> None:
        super().__init__(events)
        self.conversation = conversation
        self.answer: Message | None = None
        self.text = ""
        """The answer so far."""


class Record:
    """The row of one answer: checkpoints while it streams, and exactly one ending."""

    def __init__(
        self,
        store: Store,
        turn: Turn,
        answer: Message,
        cut: Message | None = None,
        before: int | None = None,
    ) -> None:
        self.message = answer
        self.cut = cut
        """The answer before it went on; None for a new one."""
        self._before = before
        """What the active path ended with before ``cut`` went on."""
        self.model: dict[str, Any] = {}
        self.parameters: dict[str, Any] = dict(answer.parameters or {})
        self._store = store
        self._turn = turn
        self._checkpoints: asyncio.Task[None] | None = None
        self._ended = False

    def start_checkpoints(self) -> None:
        self._checkpoints = asyncio.create_task(self._checkpoint())

    async def _checkpoint(self) -> None:
        written = ""
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            if self._turn.text != written:
                written = self._turn.text
                # A full or locked disk is reported when the answer ends; the text is still here.
                with contextlib.suppress(StoreError):
                    await asyncio.to_thread(
                        self._store.write_answer, self.message.id, written, self.model or None
                    )

    def close(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.cancel()

    async def finish(
        self,
        status: Literal["complete", "stopped", "failed"],
        *,
        finished: protocol.Finished | None = None,
        error: CorralError | None = None,
    ) -> Message:
        self.close()
        return await asyncio.to_thread(self.finish_now, status, finished=finished, error=error)

    def finish_now(
        self,
        status: Literal["complete", "stopped", "failed"],
        *,
        finished: protocol.Finished | None = None,
        error: CorralError | None = None,
    ) -> Message:
        """Write the ending without waiting for the event loop; only the first one counts."""
        self.close()
        if self._ended:
            return self.message
        self._ended = True
        if self.cut is not None and status != "complete" and self._turn.text == self.cut.text:
            return self._as_it_was(self.cut)
        reason = finished.stop_reason if finished else "error" if error else "stopped"
        self.message = self._store.finish_answer(
            self.message.id,
            text=self._turn.text,
            status=status,
            stop_reason=reason,
            error=error.message if error else None,
            model=self.model or None,
            parameters=self.parameters or None,
            usage=_usage(finished) if finished else None,
            timings=finished.timings.model_dump() if finished else None,
        )
        return self.message

    def _as_it_was(self, cut: Message) -> Message:
        """Not a word came: an answer that should have gone on is what it was before."""
        self.message = self._store.finish_answer(
            self.message.id,
            text=cut.text,
            status="stopped" if cut.status == "streaming" else cut.status,
            stop_reason=cut.stop_reason,
            error=cut.error,
            model=cut.model,
            parameters=cut.parameters,
            usage=cut.usage,
            timings=cut.timings,
        )
        # What followed it is what is shown again, and no second answer with the same words.
        if cut.id != self.message.id and self._store.discard_copy(self.message.id, self._before):
            self.message = self._store.message(cut.id)
        return self.message


def _usage(finished: protocol.Finished) -> dict[str, int]:
    """Tokens of the answer, and of those guessed ahead where there were any."""
    usage: dict[str, int] = finished.usage.model_dump()
    if finished.drafted:
        usage |= {"drafted_tokens": finished.drafted, "accepted_tokens": finished.accepted}
    return usage
