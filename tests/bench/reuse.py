"""Tokens evaluated for a turn, a regenerate and a sibling switch; warm conversations against cold.

Whole turns through the store and the prompt format, at temperature 1, so that the model writes what
no tokenizer would give back the same way.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.engines import answer, load, make, starter, words
from tests.bench.figures import ROUNDS, Pairs, alternate
from tests.support.gguf_files import spm_vocabulary, tiny_llama

from corral.chat.conversation import Message
from corral.chatting import Finished, Options
from corral.parts import Parts, build
from corral.paths import Paths

LONG = 2000
"""Tokens of a conversation that one switches to."""
SHORT = 8
"""Tokens of what is said next in it."""
QUESTION = "Write a few lines about llamas, then about alpacas, with numbers and a list."
NEXT = "Now say it again, shorter, and in other words."
FURTHER = ("Tell me why.", "Please translate that.", "How do you know?")
"""Said after each switch; no two texts here begin the same way."""
KINDS = ("following turn", "regenerate", "sibling switch")


def run() -> dict[str, Any]:
    overheads: dict[tuple[str, str], list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name:
        folder = Path(name)
        tiny = tiny_llama(folder / "tiny.gguf", context=4096)
        models = {"ChatML": str(starter()), "Llama 2": str(tiny)}
        for format, model in models.items():
            found = asyncio.run(_overheads(folder / format.replace(" ", ""), model, format))
            overheads |= {(format, kind): values for kind, values in found.items()}
    rows: list[dict[str, Any]] = [
        {
            "format": format,
            "evaluated for": kind,
            "new text +": f"{median(values):.0f}",
            "most": max(values),
            "times": len(values),
        }
        for (format, kind), values in overheads.items()
    ]
    pairs = asyncio.run(_switching())
    rows.append(
        {
            "warm conversation": f"{LONG} tokens, {SHORT} new ones",
            "first token ms": round(1e3 * median(pairs.ours)),
            "cold ms": round(1e3 * median(pairs.theirs)),
            "ratio": round(pairs.ratio, 3),
            "pairs": pairs.spread,
        }
    )
    kept = {f"{format}, {kind}": values for (format, kind), values in overheads.items()}
    return {"rows": rows, "tokens over new text": kept, "samples": pairs.samples()}


async def _overheads(home: Path, model: str, format: str) -> dict[str, list[int]]:
    """Tokens that were evaluated although they had been before, by what was done."""
    parts = build(Paths(home / "config", home / "data", home / "cache", home / "logs"), save=False)
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    parameters: dict[str, Any] = {"temperature": 1.0, "max_tokens": 60, "n_ctx": 4096}
    if format == "Llama 2":
        # Random weights write broken characters, and begin without the space that every model of
        # this format writes first: no text can hold that. Pieces of words alone, and no end.
        texts = [text for text, _, _ in spm_vocabulary()]
        odd = (id for id, text in enumerate(texts) if text[0] != "▁" or text == "▁")
        parameters["logit_bias"] = dict.fromkeys(odd, -1e9)
    try:
        for seed in range(ROUNDS):
            options = Options(
                model=model,
                parameters={**parameters, "seed": seed},
                format="llama-2" if format == "Llama 2" else "chatml",
            )
            for kind, tokens in await _conversation(parts, options):
                found[kind].append(tokens)
    finally:
        await parts.close()
    return found


async def _conversation(parts: Parts, options: Options) -> list[tuple[str, int]]:
    """A question, two answers to it, a next turn below each, and back to the first."""
    id = parts.store.create_conversation().id
    first = await _said(parts.chatting.send(id, QUESTION, options))
    found = []
    turn = await _said(parts.chatting.send(id, NEXT, options))
    found.append(("following turn", _evaluated_again(first, turn)))
    other = Options(
        model=options.model,
        parameters={**options.parameters, "seed": 1000 + options.parameters["seed"]},
        format=options.format,
    )
    again = await _said(parts.chatting.regenerate(first, other))
    found.append(("regenerate", _usage(again)["evaluated_tokens"]))
    below = await _said(parts.chatting.send(id, NEXT, options, parent=again.id))
    found.append(("following turn", _evaluated_again(again, below)))
    for one, text in zip((first, again, first), FURTHER, strict=True):
        back = await _said(parts.chatting.send(id, text, options, parent=one.id))
        found.append(("sibling switch", _evaluated_again(one, back)))
    return found


async def _said(turn: Any) -> Message:
    message = None
    async for event in turn:
        if isinstance(event, Finished):
            assert event.error is None, event.error
            message = event.message
    assert message is not None
    return message


def _usage(message: Message) -> dict[str, int]:
    assert message.usage is not None
    return message.usage


def _evaluated_again(before: Message, now: Message) -> int:
    """Tokens evaluated over those that nobody had seen: what was said since the answer before."""
    known = _usage(before)["prompt_tokens"] + _usage(before)["completion_tokens"]
    fresh = _usage(now)["prompt_tokens"] - known
    return _usage(now)["evaluated_tokens"] - fresh


async def _switching() -> Pairs:
    """To the first token of a turn in one of two warm conversations, against one nobody read."""
    engine = make()
    await load(engine, starter(), n_ctx=8192)
    warm = [words(LONG), words(LONG)]
    for conversation in warm:
        await answer(engine, conversation, 1)
    number = 0

    async def ours() -> float:
        nonlocal number
        number += 1
        warm[number % 2] = warm[number % 2] + words(SHORT)
        return (await answer(engine, warm[number % 2], 1)).first

    async def cold() -> float:
        return (await answer(engine, words(LONG), 1)).first

    try:
        return await alternate(ours, cold)
    finally:
        await engine.close()
