"""From the messages of a path to the prompt that is sent, with the summary of what goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from corral.chat import formats, texts
from corral.chat.conversation import Message
from corral.chat.formats import Turn as Exchange
from corral.engine import protocol
from corral.engine.protocol import Sampling
from corral.models.fit import stretching
from corral.planning import Plan
from corral.prompting import Prompt, build_prompt, seen_from, summary_tokens
from corral.store.store import Store
from corral.talking import ChatEngine
from corral.turn import LeftOut, Notice, Record, StoppedEarly, Turn, Working
from corral.writing import prompt_of

MOST_PARTS = 8
"""How many windows of text are condensed at most: what is older goes without a word about it."""

WORDS_PER_TOKEN = 0.6
OVERHEAD = 96
"""Tokens for the request itself and for the format around it."""

TEXT_CUT = "The model no longer sees the beginning"

LEAST_PART = 32
"""Tokens of text that are condensed at once, however small the window is."""

_SAMPLING = Sampling(temperature=0.0, repeat_penalty=1.1)

_REQUEST = (
    "Condense the conversation below, so that it can go on without it, into at most {words} words. "
    "Keep names, numbers, decisions and what is still open. Write only the summary."
)


class Windowing:
    """Builds the prompts of turns; under *summarise* it lets the model condense what goes."""

    def __init__(self, store: Store, engine: ChatEngine) -> None:
        self._store = store
        self._engine = engine

    async def prompt(
        self, turn: Turn, plan: Plan, n_ctx: int, path: Sequence[Message], record: Record
    ) -> AsyncGenerator[Working | Notice | LeftOut | Prompt, None]:
        """The prompt for the end of a path; the last event is always the prompt.

        What was left out is noted in the record of the answer.

        Raises:
            DoesNotFit: it cannot fit.
            StoppedEarly: the turn was stopped.
            EngineError: the engine failed while it condensed.
        """
        path = list(path)
        # An answer that goes on sees what it saw.
        before = seen_from([*path, record.cut] if record.cut is not None else path)
        prompt = await turn.unless_stopped(self._build(plan, n_ctx, path, before))
        for _ in range(3):  # A summary that turns out longer than planned may push more out.
            if not (prompt.condense or prompt.earlier):
                break
            summary = ""
            async with contextlib.aclosing(self._condense(turn, plan, n_ctx, prompt)) as steps:
                async for step in steps:
                    if isinstance(step, str):
                        summary = step
                    else:
                        yield step
            if not summary:
                yield Notice("No summary", "The model wrote none; the oldest turns just go")
                break
            assert prompt.first_message is not None
            marked = await asyncio.to_thread(
                self._store.mark_message, prompt.first_message, summary=summary
            )
            path = [marked if message.id == marked.id else message for message in path]
            prompt = await turn.unless_stopped(self._build(plan, n_ctx, path, before))
        if prompt.tags:
            yield Notice(
                "Control tags were neutralised",
                f"{', '.join(prompt.tags)} structure the prompt of this model, "
                "so they were written with spaces in what the model sees",
            )
        if prompt.text_from:
            record.parameters[texts.TEXT_FROM] = prompt.text_from
        if prompt.text_from > texts.seen_from(path):  # Told once, and not with every piece.
            yield Notice(TEXT_CUT, f"It reads the text from character {prompt.text_from + 1:,} on")
        if prompt.left_out and prompt.first_message is not None:
            record.parameters |= noted(prompt)
            summarised = (m for m in path if m.id == prompt.summary_at)
            scattered = len(prompt.gaps) > 1 or prompt.gaps[0][0] != path[0].id
            yield LeftOut(
                prompt.left_out,
                prompt.first_message,
                prompt.gaps,
                next(summarised, None),
                scattered,
            )
        yield prompt

    async def _build(
        self, plan: Plan, n_ctx: int, path: Sequence[Message], before: int | None
    ) -> Prompt:
        return await prompt_of(self._engine, plan, n_ctx, path, seen_from=before)

    # --- condensing -------------------------------------------------------------------------------

    async def _condense(
        self, turn: Turn, plan: Plan, n_ctx: int, prompt: Prompt
    ) -> AsyncGenerator[Working | str, None]:
        """The summary of what goes, part by part where it is long; "" where the model wrote none.

        Each part is condensed together with the summary so far.
        """
        longest = summary_tokens(n_ctx)
        yield turn.tell(Working("condensing"))
        summary = await self._cut(prompt.earlier, 2 * longest)
        room = max(LEAST_PART, n_ctx - 3 * longest - OVERHEAD)
        parts = await turn.unless_stopped(self._parts(prompt.condense, room))
        for number, part in enumerate(parts):
            tokens = await turn.unless_stopped(self._request(plan, summary, part, longest))
            most = min(longest, n_ctx - len(tokens))
            if most < 1:
                break
            said = ""
            events = self._engine.generate(
                tokens,
                _SAMPLING,
                max_tokens=most,
                stop=_stop(plan),
                strip_leading_space=plan.format != "completion",
            )
            generation = turn.until_stopped(events, self._engine.stop)
            async with contextlib.aclosing(generation):
                async for event in generation:
                    if isinstance(event, protocol.Progress):
                        share = event.done / event.total if event.total else 0.0
                        yield turn.tell(Working("condensing", number + share / 2, len(parts)))
                    elif isinstance(event, protocol.Delta):
                        said += event.text
            if turn.stopped:
                raise StoppedEarly
            summary = said.strip() or summary
        yield summary

    async def _request(self, plan: Plan, summary: str, part: str, longest: int) -> tuple[int, ...]:
        words = max(10, round(longest * WORDS_PER_TOKEN))
        text = _REQUEST.format(words=words)
        if summary:
            text += f"\n\nSummary of what came before:\n{summary}"
        asked = [Exchange(f"{text}\n\n{part}", None, 0)]
        # The window is the model's own: what does not fit it was cut before.
        bare = replace(plan, system="", preset=None, window="drop", max_tokens=longest)
        prompt = await build_prompt(self._engine, bare, 1 << 30, asked)
        return prompt.tokens

    async def _parts(self, exchanges: Sequence[Exchange], room: int) -> list[str]:
        """The exchanges as text in parts of at most ``room`` tokens, the latest ones only."""
        parts: list[str] = []
        left = 0
        for exchange in reversed(exchanges):
            text = await self._cut(_as_text(exchange), room)
            tokens = await self._count(text)
            if parts and tokens <= left:
                parts[-1] = f"{text}\n\n{parts[-1]}"
                left -= tokens
            elif len(parts) == MOST_PARTS:
                break
            else:
                parts.append(text)
                left = room - tokens
        parts.reverse()
        return parts

    async def _cut(self, text: str, most: int) -> str:
        """The beginning and the end of a text that is longer than so many tokens."""
        if len(text) > 64 * most:
            text = f"{text[: 32 * most]} … {text[-32 * most :]}"
        while text and (tokens := await self._count(text)) > most:
            half = max(1, int(len(text) * 0.45 * most / tokens))
            text = f"{text[:half]} … {text[-half:]}" if half > 4 else ""
        return text

    async def _count(self, text: str) -> int:
        return len(await self._engine.tokenize([("text", text)])) if text else 0


def noted(prompt: Prompt) -> dict[str, Any]:
    """What an answer's parameters say about what the model did not see."""
    note: dict[str, Any] = {"window_from": prompt.first_message}
    note["window_gaps"] = [list(gap) for gap in prompt.gaps]
    if prompt.summary_at is not None:
        note["window_summary"] = prompt.summary_at
    return note


def stretched(plan: Plan) -> Notice | None:
    """What to say where a model was just loaded with a window larger than its own."""
    said = stretching.cost(plan.header, plan.spec)
    return Notice("The window is stretched", said) if said else None


def _as_text(exchange: Exchange) -> str:
    answer = f"\n\nAssistant: {exchange.answer.strip()}" if exchange.answer else ""
    return f"User: {exchange.user.strip()}{answer}"


def _stop(plan: Plan) -> tuple[str, ...]:
    format = formats.FORMATS.get(plan.format)
    return format.stop if format else ()
