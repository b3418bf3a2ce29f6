"""The prompt for the end of a path, whether that is a dialogue or a text to be written on in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corral.chat import formats, texts
from corral.chat.conversation import Conversation, Message, active_path
from corral.chat.formats import Turn
from corral.chat.window import answer_reserve
from corral.errors import DoesNotFit, UsageError
from corral.prompting import LONGEST_TOKEN, ROOM, Prompt, Tokenizer, build_prompt
from corral.prompting import seen_from as dialogue_seen_from

if TYPE_CHECKING:
    from corral.planning import Options, Plan
    from corral.store.store import Store
    from corral.talking import ChatEngine

WORD = 64
"""Characters: a text is cut behind a space, where there is one as near as this."""

SEEDS = 0xFFFF_FFFF
"""How many seeds there are, from 0."""


async def prompt_of(
    engine: Tokenizer,
    plan: Plan,
    n_ctx: int,
    path: Sequence[Message],
    *,
    seen_from: int | None = None,
) -> Prompt:
    """The prompt of a path, with what fits the window.

    Args:
        seen_from: as for :func:`corral.prompting.build_prompt`; a text finds its own.

    Raises:
        DoesNotFit: it cannot fit.
    """
    if plan.text:
        return await text_prompt(engine, plan, n_ctx, texts.joined(path), texts.seen_from(path))
    return await build_prompt(engine, plan, n_ctx, formats.turns(path), seen_from=seen_from)


async def text_prompt(
    engine: Tokenizer, plan: Plan, n_ctx: int, text: str, seen_from: int = 0
) -> Prompt:
    """The prompt of a text: BOS and its words, of a long one the end.

    As long as what was seen before still fits it begins there, so that only what is new is
    evaluated; when it has to be cut, room is made for a good deal more.

    Raises:
        DoesNotFit: nothing may be left out, or there is no room for any of it.
    """
    budget = n_ctx - answer_reserve(n_ctx, plan.max_tokens)
    start = 0
    if plan.window != "stop":
        start = seen_from if seen_from < len(text) else 0
        start = max(start, len(text) - LONGEST_TOKEN * n_ctx)
    prompt = await _rendered(engine, plan, text, start)
    while (tokens := len(prompt.tokens)) > budget:
        kept = int((len(text) - start) * ROOM * budget / tokens)
        if plan.window == "stop" or not kept:
            raise DoesNotFit(
                f"The text makes a prompt of {tokens} tokens, but only {budget} of the {n_ctx} "
                "tokens of this window are free for it",
                title="The window is full",
                hint="Shorten it, let the beginning go with --window drop, or choose a larger "
                "context window",
            )
        start = len(text) - kept
        if (space := max(text.find(sign, start, start + WORD) for sign in " \n")) >= 0:
            start = space + 1
        prompt = await _rendered(engine, plan, text, start)
    return prompt


async def _rendered(engine: Tokenizer, plan: Plan, text: str, start: int) -> Prompt:
    segments, _ = formats.render(formats.COMPLETION, plan.system, [Turn(text[start:], None, 0)])
    return Prompt(
        format=plan.format,
        text="".join("<s>" if kind == "control" else value for kind, value in segments),
        tokens=tuple(await engine.tokenize(segments)),
        text_from=start,
    )


async def preview(
    store: Store, engine: ChatEngine, plan: Plan, conversation: Conversation | None, text: str
) -> Prompt:
    """The prompt that sending ``text`` would give, without weights and without saving.

    Raises:
        DoesNotFit: it would not be sent.
    """
    path: list[Message] = []
    if conversation is not None:
        path = active_path(store.messages(conversation.id), conversation.active)
    if text:
        path.append(Message(0, 0, None, "user", text, "complete", 0.0))
    async for _ in engine.load(plan.spec.model_copy(update={"vocab_only": True})):
        pass
    before = dialogue_seen_from(path)
    return await prompt_of(engine, plan, plan.spec.n_ctx, path, seen_from=before)


def candidate(options: Options, seed: Any, number: int) -> Options:
    """The options of candidate ``number``, from 0: the same seed would write the same words.

    Args:
        seed: what the first one has, by whoever said so; None draws one for each.
    """
    if not isinstance(seed, int) or not number:
        return options
    return replace(options, parameters={**options.parameters, "seed": (seed + number) % SEEDS})


def check_kind(conversation: Conversation | None, messages: int, *, text: bool | None) -> None:
    """Whether a conversation is what it is taken for.

    Args:
        text: it is to be a text; None takes it as it is.

    Raises:
        UsageError: a text is no dialogue, and a dialogue no text.
    """
    if conversation is None or text is None or not messages:
        return
    if text and not texts.is_text(conversation):
        raise UsageError(
            f"Conversation {conversation.id} is a chat, and no text to write on in",
            title="Not a text",
            hint="Leave out --complete, or begin a new text.",
        )
    if not text and texts.is_text(conversation):
        raise UsageError(
            f"Conversation {conversation.id} is a text to write on in, and no chat",
            title="Not a chat",
            hint="Leave the prompt format out, or begin a new conversation.",
        )
