"""Running answers belong to the program, not to a widget: they go on whatever is on the screen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Literal

from corral.chat.conversation import Message
from corral.chat.window import Seen
from corral.chatting import (
    Chatting,
    Event,
    Finished,
    LeftOut,
    Options,
    Sent,
    Started,
    Turn,
    Words,
)
from corral.errors import CorralError, DoesNotFit


class Live:
    """One running answer and what is known about it so far."""

    def __init__(
        self, turn: Turn, text: str | None, now: Callable[[], float], name: str, title: str
    ) -> None:
        self.turn = turn
        self.typed = text
        """What the person sent with it; None when an answer is made again."""
        self.name = name
        """The model that was asked, ``llama-2-7b-chat:Q4_K_M``; cleaned."""
        self.title = title
        """The same for a heading, ``Llama 2 7B Chat · Q4_K_M``; cleaned."""
        self.question: Message | None = None
        self.answer: Message | None = None
        self.window_from: int | None = None
        self.seen: Seen | None = None
        """What the model sees; None while that is not known, and where it is everything."""
        self.before: int | None = None
        """The end of the active path before it."""
        self.tokens = 0
        self.error: CorralError | None = None
        """Why it was refused or failed."""
        self.refused = False
        """Whether nothing was sent, so that the text belongs back in the box."""
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self._now = now
        self._first_words: tuple[float, int] | None = None

    @property
    def conversation(self) -> int:
        return self.turn.conversation

    def tokens_per_second(self) -> float:
        """The speed since the first words came, 0 while it is not known."""
        if self._first_words is None:
            return 0.0
        since, tokens = self._first_words
        elapsed = self._now() - since
        return (self.tokens - tokens) / elapsed if elapsed > 0.5 else 0.0

    def take(self, event: Event) -> None:
        match event:
            case Sent(message):
                self.question = message
            case Started(message):
                self.answer = message
            case LeftOut(_, first_message, gaps, summary, _):
                self.window_from = first_message
                self.seen = Seen(gaps, summary.id if summary else None)
            case Words(_, tokens):
                self.tokens = tokens
                if self._first_words is None:
                    self._first_words = (self._now(), tokens)
            case Finished(message, error):
                self.answer, self.error = message, error


Report = Callable[[Live, Event | None], None]
"""Told of every event of every turn, and with None when one has ended."""


class Turns:
    """Starts turns, follows each one to its end, and stops them.

    Args:
        report: told of what happens, on the event loop.
        now: a clock that never goes back.
    """

    def __init__(
        self,
        chatting: Chatting,
        report: Report,
        now: Callable[[], float],
        note_fault: Callable[[BaseException], object],
    ) -> None:
        self._chatting = chatting
        self._note_fault = note_fault
        self._report = report
        self._now = now
        self.live: dict[int, Live] = {}
        """By conversation."""

    def send(
        self,
        conversation: int,
        text: str,
        *,
        parent: int | Literal["active"] | None = "active",
        name: str = "",
        title: str = "",
    ) -> Live:
        """Send a message; see :meth:`Chatting.send`.

        Raises:
            UsageError: an answer is still being written there.
        """
        turn = self._chatting.send(conversation, text, Options(), parent=parent)
        return self._start(Live(turn, text, self._now, name, title))

    def regenerate(
        self,
        message: Message,
        options: Options = Options(),
        *,
        name: str = "",
        title: str = "",
    ) -> Live:
        """Another answer to the same message.

        Raises:
            UsageError: an answer is still being written there.
        """
        turn = self._chatting.regenerate(message, options)
        return self._start(Live(turn, None, self._now, name, title))

    def write(
        self,
        message: Message,
        options: Options = Options(),
        *,
        name: str = "",
        title: str = "",
    ) -> Live:
        """Write on behind a message of a text.

        Raises:
            UsageError: an answer is still being written there.
        """
        turn = self._chatting.write(message, options)
        return self._start(Live(turn, None, self._now, name, title))

    def go_on(self, message: Message, *, name: str = "", title: str = "") -> Live:
        """Let an answer go on that was stopped or cut off.

        Raises:
            UsageError: an answer is still being written there.
        """
        turn = self._chatting.go_on(message)
        return self._start(Live(turn, None, self._now, name, title))

    async def stop(self, lives: Iterable[Live], seconds: float) -> None:
        """Stop turns and wait until each is stored; what does not obey in time is cut off."""
        tasks = []
        for live in lives:
            live.turn.stop()
            if live.task is not None:
                tasks.append(live.task)
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=seconds)
        for task in pending:
            # Chatting stores what there is when its caller goes.
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop_all(self, seconds: float = 4.0) -> None:
        await self.stop(list(self.live.values()), seconds)

    def _start(self, live: Live) -> Live:
        self.live[live.conversation] = live
        live.task = asyncio.create_task(self._follow(live), name="turn")
        return live

    async def _follow(self, live: Live) -> None:
        try:
            async with contextlib.aclosing(live.turn):
                async for event in live.turn:
                    live.take(event)
                    self._report(live, event)
                    # However fast an engine answers, the screen gets its share.
                    await asyncio.sleep(0)
        except CorralError as error:
            live.error = error
            live.refused = live.question is None or isinstance(error, DoesNotFit)
        except Exception as error:
            self._note_fault(error)
            live.error = CorralError(
                "The answer could not be finished because of a fault in the program",
                hint="What was written so far is kept; the log says where it happened.",
            )
        finally:
            live.ended = True
            self.live.pop(live.conversation, None)
            self._report(live, None)
