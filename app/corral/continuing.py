"""An answer that goes on where it was stopped or cut off, and what is known of its parts.

The prompt is the one it was made with, followed by the very tokens it consists of: nothing is
tokenized anew, so nothing is evaluated anew, and the words come as if it had never ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from corral.chat import texts
from corral.chat.conversation import Message, active_path
from corral.engine import protocol
from corral.errors import DoesNotFit, NotFound, UsageError
from corral.turn import Record, Turn

if TYPE_CHECKING:
    from corral.planning import Options, Plan
    from corral.prompting import Tokenizer
    from corral.store.store import Store

LEAST_ROOM = 32
"""Tokens that must be free behind an answer that goes on."""

IDS = "ids"
"""Parameter of an answer that did not come to its end: its tokens, and how long a text they are."""

PIECES = "pieces"
"""Parameter of an answer that went on: where each earlier part ended, and how it was made."""


def check(message: Message) -> None:
    """Whether an answer can go on.

    Raises:
        UsageError: it is none, or it says all that the model wanted to say.
    """
    if message.role != "assistant":
        raise UsageError("Only an answer can go on", title="Not an answer")
    if message.status == "complete" and message.stop_reason != "length":
        raise UsageError(
            "This answer came to its own end",
            title="Nothing to go on with",
            hint="Ask for more in a new message.",
        )


def question_of(store: Store, id: int, goes_on: bool = False) -> Message:
    """The question that a message is or answers.

    Args:
        goes_on: it is an answer that should go on.

    Raises:
        NotFound: it was deleted.
        UsageError: as :func:`check`.
    """
    message = store.message(id)
    if goes_on:
        check(message)
    if message.role == "user":
        return message
    question = store.message(message.parent) if message.parent is not None else None
    if question is not None and texts.is_text(store.conversation(message.conversation)):
        return question
    if question is None or question.role != "user":
        raise NotFound("The question of this answer was deleted", hint="Undo brings it back")
    return question


def path_to(store: Store, question: Message) -> list[Message]:
    """The messages up to a question.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    store.message(question.id)
    return active_path(store.messages(question.conversation), question.id)


async def begin(
    store: Store, turn: Turn, question: Message, options: Options, cut: Message | None
) -> Record:
    """The row of an answer that begins, or of ``cut``, which goes on."""
    before: int | None = None
    if cut is None:
        answer = await asyncio.to_thread(
            store.begin_answer,
            question.id,
            model=None,
            parameters=dict(options.parameters) or None,
        )
    else:
        before = (await asyncio.to_thread(store.conversation, cut.conversation)).active
        answer = await asyncio.to_thread(store.resume_answer, cut.id)
    turn.answer, turn.text = answer, answer.text
    record = Record(store, turn, answer, cut, before)
    if cut is not None:
        record.parameters = {**options.parameters, PIECES: pieces(cut)}
    return record


def pieces(cut: Message) -> list[dict[str, Any]]:
    """How the parts of an answer were made, the one that ends with ``cut`` included."""
    parameters = dict(cut.parameters or {})
    parameters.pop(IDS, None)
    earlier = parameters.pop(PIECES, None)
    if not cut.text:
        return earlier if isinstance(earlier, list) else []
    piece = {
        "characters": len(cut.text),
        "stop_reason": cut.stop_reason,
        "model": cut.model,
        "parameters": parameters,
        "usage": cut.usage,
        "timings": cut.timings,
    }
    return [*(earlier if isinstance(earlier, list) else []), piece]


def kept_ids(text: str, before: Sequence[int], finished: protocol.Finished) -> dict[str, Any]:
    """The parameter that lets an answer go on exactly; nothing where it came to its own end."""
    if finished.stop_reason == "end" or not finished.answer:
        return {}
    return {IDS: {"characters": len(text), "tokens": [*before, *finished.answer]}}


async def answer_ids(engine: Tokenizer, plan: Plan, answer: Message) -> tuple[int, ...]:
    """The tokens of an answer: its own where they are known and the same model goes on with it."""
    kept = (answer.parameters or {}).get(IDS)
    model = answer.model or {}
    same = model.get("sha256") == plan.model.sha256 and model.get("quant") == plan.model.quant
    if same and isinstance(kept, dict) and kept.get("characters") == len(answer.text):
        tokens = kept.get("tokens")
        if isinstance(tokens, list) and all(isinstance(one, int) for one in tokens):
            return tuple(tokens)
    return tuple(await engine.tokenize([("text", answer.text)])) if answer.text else ()


async def so_far(
    engine: Tokenizer, plan: Plan, n_ctx: int, answer: Message | None
) -> tuple[tuple[int, ...], int]:
    """The tokens that an answer goes on behind, and how large a window its prompt has.

    Args:
        answer: None for one that begins.

    Raises:
        DoesNotFit: the answer leaves no room behind it.
        UsageError: it has to obey a form, which is whole or nothing.
    """
    if answer is None:
        return (), n_ctx
    if getattr(plan.sampling, "grammar", ""):
        raise UsageError(
            "An answer in a given form cannot go on",
            title="Nothing to go on with",
            hint="Ask for another one, with more tokens.",
        )
    ids = await answer_ids(engine, plan, answer)
    if n_ctx - len(ids) < 2 * LEAST_ROOM:
        raise DoesNotFit(
            f"The answer has {len(ids)} tokens, and the window only {n_ctx}",
            title="The answer fills the window",
            hint="Choose a larger context window, or ask for the rest in a new message.",
        )
    usage = answer.usage or {}
    taken = usage.get("prompt_tokens", n_ctx) + usage.get("completion_tokens", 0)
    # As long as its own prompt leaves room, it is the same one, and was evaluated already.
    return ids, n_ctx if taken + LEAST_ROOM <= n_ctx else n_ctx - len(ids)
