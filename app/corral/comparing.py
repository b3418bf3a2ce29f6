"""The same question to several contenders: models, quantizations, presets, parameter sets.

Their answers are siblings in the ordinary tree, made one after the other by the one streaming loop.
So nothing of a comparison is ever lost, and the winner is simply the one that is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from corral import continuing
from corral.chat.conversation import Conversation, Message, active_path
from corral.chatting import Chatting
from corral.contenders import Contender, names_of
from corral.errors import CorralError, DoesNotFit, NotFound, UsageError
from corral.planning import Options, Plan
from corral.store.store import Store
from corral.turn import Activity, Finished, LeftOut, Notice, Sent, StoppedEarly, Turn
from corral.turn import Event as TurnEvent
from corral.units import room, thousands

FIGURES = ("tok/s", "tokens", "first token", "memory", "end")
LETTERS = "ABCDEFGHIJKL"
"""What they are called where nobody may know who is who."""


@dataclass(slots=True, eq=False)
class Entry:
    """One contender of a comparison, and what became of it."""

    label: str
    """What tells it from the others, on one cleaned line."""
    name: str
    """The same with its model; votes are counted by it."""
    options: Options
    plan: Plan | None = None
    """None where it cannot be planned; asked all the same, it says why."""
    in_memory: bool = False
    """Its model was there before the comparison."""
    answer: Message | None = None
    error: CorralError | None = None
    """Why it failed or was refused."""
    notices: list[str] = field(default_factory=list)
    """What the person should know about it: that it was stepped down, for example."""
    memory: int = 0
    """Bytes that its model kept, weights, cache and cards included; 0 where that is not known."""

    @property
    def answered(self) -> bool:
        """Whether there is a text to look at."""
        return self.answer is not None and bool(self.answer.text)


@dataclass(frozen=True, slots=True)
class Ordered:
    """The order in which they are asked, and the seed of all."""

    entries: tuple[Entry, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Told:
    """An event of one contender's turn."""

    entry: Entry
    event: TurnEvent


@dataclass(frozen=True, slots=True)
class Done:
    """One contender has come to its end."""

    entry: Entry


Event = Ordered | Told | Done


class Comparison(Activity[Event]):
    """Asks one contender after the other. Begins with :class:`Ordered`; stopping it stops all.

    One that fails is an entry with its reason, and the next one is asked. Those whose model is in
    memory come first, then the smaller ones before the larger: each model is loaded once, and the
    loader lets others go before it makes room for one that would not fit beside them.

    Args:
        conversation: put into the store where its id is 0, as soon as nothing is wrong.
        question: a message of the conversation (or an answer to it), which is asked again, or the
            text of a new one.
        parent: what a new question follows.
        draw: gives the seed of all where nobody named one.

    Raises (while iterating):
        NotFound: no such model, preset, adapter or message. Nothing was written.
        UsageError: two contenders are the same, a parameter is out of range, or an answer is being
            written in this conversation. Nothing was written.
    """

    def __init__(
        self,
        chatting: Chatting,
        conversation: Conversation,
        question: Message | str,
        contenders: Sequence[Contender],
        *,
        parent: int | Literal["active"] | None = "active",
        draw: Callable[[], int] = lambda: secrets.randbelow(1 << 31),
    ) -> None:
        super().__init__(self._run())
        self.conversation = conversation
        """Stored with the first question, where it was not."""
        self.question = question if isinstance(question, Message) else None
        """The message that is answered, once it is stored."""
        self.entries: tuple[Entry, ...] = ()
        """As the person named them, once their order is known."""
        self.text = question.text if isinstance(question, Message) else question
        """The question in words."""
        self._chatting = chatting
        self._contenders = contenders
        self._parent = parent
        self._draw = draw
        self._turn: Turn | None = None
        self._before: int | None = None
        """What was shown below the question before."""

    def stop(self) -> None:
        super().stop()
        if self._turn is not None:
            self._turn.stop()

    async def _run(self) -> AsyncGenerator[Event, None]:
        with contextlib.suppress(StoppedEarly):
            entries, ordered = await self.unless_stopped(asyncio.to_thread(self._prepare))
            if self.stopped:
                return
            self.entries = entries
            store, before = self._chatting.store, self.conversation
            if not before.id:
                self.conversation = await asyncio.to_thread(_stored, store, before)
            yield ordered
            try:
                for entry in ordered.entries:
                    if self.stopped:
                        break
                    async with contextlib.aclosing(self._ask(entry)) as events:
                        async for event in events:
                            yield event
                    yield Done(entry)
            except (asyncio.CancelledError, GeneratorExit):
                # The caller is gone: show what was shown before, and do not wait for anything.
                with contextlib.suppress(CorralError):
                    self._show(None)
                raise
            if self.question is None and not before.id:
                # It was too long for all of them: a conversation without a message is none.
                await asyncio.to_thread(store.delete, self.conversation.id)
                self.conversation = before
            await self.show(None)

    def _prepare(self) -> tuple[tuple[Entry, ...], Ordered]:
        """All of them, planned: as they were named and as they are asked.

        Runs in a thread, which a stop leaves to itself, and stores nothing.
        """
        store = self._chatting.store
        conversation = self.conversation
        if conversation.id:
            conversation = store.conversation(conversation.id)
            if conversation.id in self._chatting.running:
                raise UsageError(
                    "An answer is being written in this conversation",
                    hint="Stop it first, or wait until it is done.",
                )
        if self.question is not None:
            if self.question.role != "user":
                self.question = continuing.question_of(store, self.question.id)
                self.text = self.question.text
            path = active_path(store.messages(conversation.id), conversation.active)
            below = any(one.id == self.question.id for one in path[:-1])
            self._before = conversation.active if below else None
        elif not self.text.strip():
            raise UsageError("The message is empty", title="Nothing to send")
        plans = [self._plan(conversation, one) for one in self._contenders]
        seeds = [plan.sampling.seed for plan in plans if plan and plan.sampling.seed is not None]
        seed = seeds[0] if seeds else self._draw()
        entries = []
        specs = self._chatting.engine.loaded_specs
        loaded = [spec.path for spec in specs if not spec.vocab_only]
        names = names_of(self._contenders, plans)
        for one, plan, (label, name) in zip(self._contenders, plans, names, strict=True):
            options = one.options
            if plan is None or plan.sampling.seed is None:
                options = replace(options, parameters={**options.parameters, "seed": seed})
            warm = plan is not None and plan.spec.path in loaded
            entries.append(Entry(label, name, options, plan, warm))
        _refuse_twins(entries)
        return tuple(entries), Ordered(tuple(_in_order(entries, loaded)), seed)

    def _plan(self, conversation: Conversation, contender: Contender) -> Plan | None:
        """None for one that cannot be planned for a reason of its own, as a damaged file."""
        try:
            return self._chatting.planner.plan(
                conversation, contender.options, cancelled=self.stopping.is_set
            )
        except (NotFound, UsageError):
            raise
        except CorralError:
            return None

    async def _ask(self, entry: Entry) -> AsyncGenerator[Event, None]:
        chatting, question = self._chatting, self.question
        try:
            if question is None:
                turn = chatting.send(
                    self.conversation.id, self.text, entry.options, parent=self._parent
                )
            else:
                turn = chatting.regenerate(question, entry.options)
            self._turn = turn
            async with contextlib.aclosing(turn):
                async for event in turn:
                    self._take(entry, event)
                    yield Told(entry, event)
        except DoesNotFit as error:
            # A new question that was too long for this one was taken back: the next sends it again.
            entry.error, self.question = error, question
        except CorralError as error:
            entry.error = error
        finally:
            self._turn = None

    def _take(self, entry: Entry, event: TurnEvent) -> None:
        match event:
            case Sent(message):
                self.question = message
            case Notice(title, text):
                entry.notices.append(f"{title}: {text}")
            case LeftOut(exchanges):
                what = "exchange" if exchanges == 1 else "exchanges"
                entry.notices.append(f"It did not see {exchanges} {what} of this conversation")
            case Finished(message, error):
                entry.answer, entry.error = message, error
                engine = self._chatting.engine
                held = [one for one in engine.held() if one.spec == engine.loaded_spec]
                if held and error is None and message.model:
                    entry.memory = held[0].private + held[0].mapped + sum(held[0].cards.values())

    async def show(self, entry: Entry | None) -> None:
        """Make an answer the one that is shown; None for what was shown before, else the first.

        Raises:
            StoreError, NotFound: it could not be changed.
        """
        await asyncio.to_thread(self._show, entry)

    def _show(self, entry: Entry | None) -> None:
        first = next((one.answer for one in self.entries if one.answered), None)
        chosen = entry.answer if entry is not None else None
        active = chosen.id if chosen else self._before or (first.id if first else None)
        if active is not None:
            self._chatting.store.update_conversation(self.conversation.id, active=active)


def figures(entry: Entry) -> tuple[str, ...]:
    """Speed, length, first token, memory and end of one contender, as :data:`FIGURES` heads them;
    "" for what is not known."""
    answer = entry.answer
    usage, timings = (answer.usage or {}, answer.timings or {}) if answer else ({}, {})
    speed, first = timings.get("tokens_per_second"), timings.get("first_token_ms")
    tokens = usage.get("completion_tokens")
    ended = str(answer.stop_reason or "") if answer else "not asked"
    return (
        f"{speed:.1f}" if isinstance(speed, int | float) and speed else "",
        thousands(tokens) if isinstance(tokens, int) else "",
        f"{first / 1000:.2f} s" if isinstance(first, int | float) and first else "",
        room(entry.memory) if entry.memory else "",
        "failed" if entry.error is not None else ended,
    )


def told_order(entries: Sequence[Entry]) -> str:
    """``13b (in memory), then 70b``; for a person."""
    names = [f"{one.label} (in memory)" if one.in_memory else one.label for one in entries]
    return ", then ".join(names)


def _stored(store: Store, new: Conversation) -> Conversation:
    """A conversation that is not in the store yet, now there."""
    made = store.create_conversation(
        title=new.title,
        system=new.system,
        model=new.model,
        parameters=dict(new.parameters) or None,
    )
    return store.update_conversation(made.id, preset=new.preset) if new.preset else made


def _in_order(entries: Sequence[Entry], loaded: Sequence[str]) -> list[Entry]:
    """What is in memory first, then from small to large; what shares a model stays together."""
    ways = [entry.plan.spec if entry.plan else None for entry in entries]
    paths = [way.path if way else "" for way in ways]

    def key(number: int) -> tuple[int, ...]:
        plan, path = entries[number].plan, paths[number]
        named, way = paths.index(path), ways.index(ways[number])
        if plan is None:
            return (2, 0, named, way)
        if path in loaded:
            return (0, loaded.index(path), named, way)
        return (1, plan.model.bytes, named, way)

    return [entries[number] for number in sorted(range(len(entries)), key=key)]


def _refuse_twins(entries: Sequence[Entry]) -> None:
    """Raises:
    UsageError: two of them would give the same answer.
    """
    seen: list[tuple[Any, ...]] = []
    for entry in entries:
        if (plan := entry.plan) is None:
            continue
        seed = entry.options.parameters.get("seed", plan.sampling.seed)
        same = (
            *(plan.spec, plan.sampling.model_copy(update={"seed": seed})),
            *(plan.max_tokens, plan.format, plan.system, plan.adapters, plan.preset, plan.window),
        )
        if same in seen:
            raise UsageError(
                f"{plan.model.name} is named twice without any difference",
                title="Nothing to compare",
                hint="Name another model, or give one of them a preset or parameters of its own.",
            )
        seen.append(same)
