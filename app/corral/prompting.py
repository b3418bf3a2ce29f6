"""The prompt of one answer: what fits the window by the conversation's policy, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from corral.chat import formats, window
from corral.chat.conversation import Message
from corral.chat.formats import Piece, Turn
from corral.chat.window import Gap, answer_reserve, first_that_fits
from corral.engine.protocol import Segment
from corral.errors import DoesNotFit
from corral.units import thousands

if TYPE_CHECKING:
    from corral.planning import Plan


class Tokenizer(Protocol):
    """What building a prompt needs of the engine."""

    async def tokenize(self, segments: Sequence[Segment]) -> Sequence[int]: ...
    async def render(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Sequence[Segment]: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered and tokenized prompt."""

    format: str
    text: str
    tokens: tuple[int, ...]
    left_out: int = 0
    """Exchanges that are not in it."""
    first_message: int | None = None
    """Where what is seen without a gap begins."""
    tags: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    summary_at: int | None = None
    """The message whose summary is in it."""
    condense: tuple[Turn, ...] = ()
    """Exchanges to be condensed before it is sent: their summary belongs to ``first_message``, and
    then the prompt is built again."""
    earlier: str = ""
    """The summary of what is above them, which goes with them."""
    text_from: int = 0
    """Characters at the beginning of a text that are not in it."""


LONGEST_TOKEN = 64
"""Characters that no token exceeds on average: runs of spaces come nearest."""

ROOM = 0.6
"""Share of the window a prompt takes after it had to be cut."""

SUMMARY_SHARE = 8
LONGEST_SUMMARY = 400
"""A summary has an eighth of the window, but no more tokens than this."""

_HINTS: dict[window.Policy, str] = {
    "drop": "",
    "stop": "Let the oldest go with /window drop or --window drop, or begin a new conversation",
    "ends": "The first exchange is kept: /window drop or --window drop lets it go",
    "summarise": "",
}


def summary_tokens(n_ctx: int) -> int:
    """Tokens a summary may have in a window of that size."""
    return min(LONGEST_SUMMARY, n_ctx // SUMMARY_SHARE)


async def build_prompt(
    engine: Tokenizer,
    plan: Plan,
    n_ctx: int,
    dialogue: Sequence[Turn],
    *,
    seen_from: int | None = None,
) -> Prompt:
    """Render and tokenize what fits the window, leaving out what the policy says where it must.

    What is left out stays out, and when more has to go, room is made for several turns: as long as
    a prompt begins as the last one did, only what is new is evaluated.

    Args:
        seen_from: id of the message the last prompt began with, where that was not the first one.

    Raises:
        DoesNotFit: not even the last message fits with what is kept, or nothing may go.
    """
    return await _Building(engine, plan, n_ctx, dialogue).build(seen_from)


class _Building:
    """Finds the exchange from which on all of a dialogue is seen.

    Under *summarise* nothing above the last exchange with a summary is looked at: the summary
    stands for it.
    """

    def __init__(self, engine: Tokenizer, plan: Plan, n_ctx: int, dialogue: Sequence[Turn]) -> None:
        self._engine = engine
        self._plan = plan
        self._n_ctx = n_ctx
        self._dialogue = dialogue
        self._budget = n_ctx - answer_reserve(n_ctx, plan.max_tokens)
        self._condensing = plan.window == "summarise"
        self._base = window.summary_start(dialogue) if self._condensing else 0
        self._kept = window.always_kept(plan.window, dialogue)
        sizes = [len(turn.user) + len(turn.answer or "") for turn in reversed(dialogue)]
        self._sizes = [*accumulate(sizes)][::-1]
        self._rendered: dict[int, Prompt] = {}

    async def build(self, seen_from: int | None) -> Prompt:
        count, budget, base = len(self._dialogue), self._budget, self._base
        start, tokens = base, await self._cost(base)
        if tokens > budget and self._plan.window != "stop" and count > base + 1:
            firsts = [turn.first_message for turn in self._dialogue]
            before = firsts.index(seen_from) if seen_from in firsts else 0
            if before > base and not self._condensing:
                start, tokens = before, await self._cost(before)
            if tokens > budget:
                start, tokens = await self._cut()
        room = tokens <= budget
        if not room and self._condensing and start > base:
            tokens = await self._cost(start)
        if tokens > budget:
            raise self._too_long(start, tokens)
        prompt = self._rendered[start]
        # Where there is room for the message, but for no summary of what goes, that just goes.
        return prompt if room else replace(prompt, condense=(), earlier="")

    async def _cut(self) -> tuple[int, int]:
        """Make room for several turns, and for the summary of what goes."""
        count, base = len(self._dialogue), self._base
        summary = summary_tokens(self._n_ctx) if self._condensing else 0

        async def cost(number: int) -> int:
            return await self._cost(base + number) + (summary if number else 0)

        start, tokens = await first_that_fits(count - base, int(ROOM * self._budget), cost)
        return base + start, tokens

    def _too_long(self, start: int, tokens: int) -> DoesNotFit:
        least = "" if start in self._rendered else "at least "
        free = f"{self._budget} of the {self._n_ctx} tokens of this window are free for it"
        if self._plan.window == "stop" and len(self._dialogue) > 1:
            return DoesNotFit(
                f"The conversation and this message make a prompt of {least}{tokens} tokens, "
                f"but only {free}",
                title="The window is full",
                hint=_HINTS["stop"],
            )
        pinned = sum(turn.pinned for turn in self._dialogue[:start])
        with_pins = f" and {thousands(pinned)} pinned before it" if pinned else ""
        hint = _HINTS[self._plan.window] if start else ""
        if self._condensing and self._dialogue[start].summary:
            hint = "Shorten it or the summary above it (s in the transcript)"
        if pinned:
            hint = "Unpin some messages (p in the transcript), or choose a larger context window"
        return DoesNotFit(
            f"The message{with_pins} makes a prompt of {least}{tokens} tokens, but only {free}",
            title="Message too long",
            hint=hint or "Shorten it, or choose a larger context window.",
        )

    # --- one way to cut it ------------------------------------------------------------------------

    async def _cost(self, start: int) -> int:
        if self._sizes[start] > LONGEST_TOKEN * self._n_ctx:
            return self._sizes[start] // LONGEST_TOKEN  # At least so many: not worth rendering.
        if start not in self._rendered:
            self._rendered[start] = await self._render(start)
        return len(self._rendered[start].tokens)

    async def _render(self, start: int) -> Prompt:
        dialogue = self._dialogue
        numbers = window.seen(len(dialogue), start, self._kept)
        has_summary = self._condensing and start == self._base and bool(dialogue[start].summary)
        shown = [
            window.with_summary(dialogue[number])
            if has_summary and number == start
            else dialogue[number]
            for number in numbers
        ]
        segments, tags = await _segments(self._engine, self._plan, shown)
        goes: list[Turn] = []
        if self._condensing:
            goes = [dialogue[n] for n in range(self._base, start) if n not in self._kept]
        return Prompt(
            format=self._plan.format,
            text="".join(_shown(segment) for segment in segments),
            tokens=tuple(await self._engine.tokenize(segments)),
            left_out=len(dialogue) - len(numbers),
            first_message=dialogue[start].first_message,
            tags=tuple(tags),
            gaps=window.gaps(dialogue, numbers),
            summary_at=dialogue[start].first_message if has_summary else None,
            condense=tuple(goes),
            earlier=dialogue[self._base].summary if start > self._base else "",
        )


async def _segments(
    engine: Tokenizer, plan: Plan, dialogue: Sequence[Turn]
) -> tuple[Sequence[Segment], list[str]]:
    if plan.preset is not None:
        dialogue = plan.preset.framed(dialogue)
    if plan.format != formats.TEMPLATE:
        return formats.render(formats.FORMATS[plan.format], plan.system, dialogue)
    found: list[str] = []

    def message(role: str, content: str) -> dict[str, str]:
        content, tags = formats.neutralise(content, plan.template_tags)
        found.extend(tags)
        return {"role": role, "content": content}

    messages = [message("system", plan.system)] if plan.system else []
    for turn in dialogue:
        messages.append(message("user", turn.user))
        if turn.answer is not None:
            messages.append(message("assistant", turn.answer))
    is_open = dialogue[-1].answer is None if dialogue else True
    segments = await engine.render(messages, add_generation_prompt=is_open)
    return segments, list(dict.fromkeys(found))


def seen_from(path: Sequence[Message]) -> int | None:
    """The first message the model saw for the latest answer of the path, where it was cut."""
    for message in reversed(path):
        if message.role == "assistant" and message.parameters:
            first = message.parameters.get("window_from")
            return first if isinstance(first, int) else None
    return None


def _shown(segment: Segment | Piece) -> str:
    """A segment as a person reads it; BOS and EOS by SentencePiece's names."""
    kind, value = segment
    return {"bos": "<s>", "eos": "</s>", "add_bos": ""}[value] if kind == "control" else value
