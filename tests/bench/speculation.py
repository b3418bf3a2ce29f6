"""Guessing ahead against plain decoding: editing a text, free chat, a draft model; the same text?

Each pair is one answer with and one without guessing, in turn, with the same prompt and seed. Text
is compared by letter, and plain decoding with itself as well, while the number of threads changes.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.engines import load, make, starter
from tests.bench.figures import ROUNDS, alternate
from tests.bench.files import cases
from tests.support.quantizing import quantize

from corral.chat.formats import CHATML, Turn, render
from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Finished, Sampling

TEXT = (
    "The old lighthouse stood on the cliff above the village of Harrow. Every evening, Thomas "
    "Green climbed the narrow stairs, lit the lamp and wrote the weather into a thick brown book. "
    "He had done so for thirty years, and nobody in the village could remember a night without the "
    "light. Ships came past on their way to the north, loaded with wood, coal and salted fish, and "
    "their captains raised a hand when they saw the tower. In winter the storms were so loud that "
    "Thomas could not hear his own voice. Then he sat by the stove, drank black tea and read "
    "letters from his sister, who lived in the city and always asked when he would come."
)
EDIT = (
    "Rewrite the following text word for word, but replace the name Thomas by Peter everywhere. "
    f"Answer with the text alone.\n\n{TEXT}"
)
CHAT = "Tell me a story about a farmer who finds a golden coin in his field."
TASKS = {"edit this text": EDIT, "free chat": CHAT}
WAYS = {
    "temperature 0": Sampling(temperature=0),
    "temperature 0.8": Sampling(temperature=0.8, seed=7),
}
MOST = 240
"""Tokens of an answer."""


@dataclass
class Side:
    """What answers of one kind said, and how many guesses were right."""

    texts: list[str] = field(default_factory=list)
    drafted: int = 0
    accepted: int = 0

    async def answer(
        self, engine: Engine, tokens: Sequence[int], sampling: Sampling, *, lookup: bool
    ) -> float:
        """Tokens a second after the first, the pipe counted in."""
        text, finished, started = "", None, time.perf_counter()
        async for event in engine.generate(tokens, sampling, max_tokens=MOST, lookup=lookup):
            if isinstance(event, Delta):
                text += event.text
            elif isinstance(event, Finished):
                finished = event
        wall = time.perf_counter() - started
        assert finished is not None
        self.texts.append(text)
        self.drafted += finished.drafted
        self.accepted += finished.accepted
        seconds = wall - finished.timings.first_token_ms / 1e3
        return (finished.usage.completion_tokens - 1) / seconds


def run() -> dict[str, Any]:
    rows, samples = [], {}
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as name, cases() as files:
        draft = quantize(starter(), Path(name) / "draft.Q2_K.gguf", "Q2_K")
        small = [case.path for case in files if not case.large]
        ways: list[tuple[Path, str, Path | None]] = [(path, "f16", None) for path in small]
        ways += [(starter(), "q8_0", None), (starter(), "f16", draft)]
        for way in ways:
            for row, measured in asyncio.run(_measure(*way)):
                rows.append(row)
                samples[", ".join(str(value) for value in list(row.values())[:5])] = measured
    return {"rows": rows, "samples": samples}


async def _measure(
    path: Path, kv: str, draft: Path | None
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every task in every way; with a draft model it alone guesses, and another engine is plain."""
    shape: dict[str, Any] = {"n_ctx": 1024, "n_seq_max": 1, "type_k": kv, "type_v": kv}
    guessing = plain = make()
    await load(guessing, path, draft=str(draft or ""), **shape)
    if draft is not None:
        plain = make()
        await load(plain, path, **shape)
    done = []
    for task, text in TASKS.items():
        tokens = list(await plain.tokenize(render(CHATML, "", [Turn(text, None, 1)])[0]))
        for way, sampling in WAYS.items():
            ours, theirs = Side(), Side()
            options = {"lookup": draft is None}
            pairs = await alternate(
                partial(ours.answer, guessing, tokens, sampling, **options),
                partial(theirs.answer, plain, tokens, sampling, lookup=False),
            )
            count = ROUNDS + 1  # With the one that warms up.
            row = {
                "file": path.stem.rpartition(".")[2],
                "guesses": "lookup" if draft is None else "draft model Q2_K",
                "KV": kv,
                "task": task,
                "way": way,
                "÷ plain": round(pairs.ratio, 2),
                "pairs": pairs.spread,
                "guessed": ours.drafted // count,
                "right": ours.accepted // count,
                "same text": f"{_same(ours, theirs)}/{count}",
                "plain twice": f"{_same(theirs, theirs)}/{count}",
            }
            done.append((row, pairs.samples()))
    await guessing.close()
    await plain.close()
    return done


def _same(ours: Side, theirs: Side) -> int:
    """How many texts are the one that plain decoding gave first."""
    return sum(text == theirs.texts[0] for text in ours.texts)
