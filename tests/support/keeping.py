"""What the tests of kept states share: a tiny model told that evaluating is slow.

Else nothing would be worth keeping. A second context stands for the next start of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from corral.engine.llama.model import LlamaModel
from corral.engine.llama.states import Keeper
from corral.engine.params import States
from corral.engine.states import files
from corral.engine.states.files import Segment

Maker = Callable[..., LlamaModel]
"""Loads a model that is closed at the end of the test."""
SLOW = 0.01
"""Seconds that evaluating a token is said to take."""


def keeper_of(model: LlamaModel, root: Path, limit: int = 1 << 30) -> Keeper:
    keeper = Keeper(model, States(folder=str(root), limit=limit))
    keeper.note_evaluated(1000, 1000 * SLOW)
    return keeper


def never() -> bool:
    return False


def words(seed: int, count: int) -> list[int]:
    """Ordinary tokens that spell something each."""
    return [int(token) for token in np.random.default_rng(seed).integers(320, 400, count)]


def evaluate(model: LlamaModel, tokens: Sequence[int], conversation: str = "7") -> int:
    """Gives how many tokens were in the cache already."""
    reused = model.begin(tokens, conversation)
    model.evaluate(lambda done, total: None)
    return reused


def logits(model: LlamaModel) -> np.ndarray:
    """Of what was evaluated last."""
    import llama_cpp.llama_cpp as L

    row = L.llama_get_logits_ith(model.context, -1)
    return np.ctypeslib.as_array(row, (model.vocab.size,)).copy()


def replayed(model: LlamaModel, tokens: Sequence[int], conversation: str = "7") -> np.ndarray:
    """The logits of a prompt that is in the cache: its last token is evaluated again."""
    assert evaluate(model, tokens, conversation) == len(tokens) - 1
    return logits(model)


def kept(
    open_model: Maker,
    path: Path,
    root: Path,
    count: int = 150,
    conversation: str = "7",
    **values: object,
) -> list[int]:
    """A prompt of so many tokens that was evaluated and is on the disk."""
    model = open_model(path, **values)
    prompt = words(1, count)
    evaluate(model, prompt, conversation)
    keeper_of(model, root).idle(never)
    return prompt


def forged(segment: Segment, payload: bytes) -> None:
    """The same file with another payload, and checksums that match it."""
    folder = segment.path.parent
    files.write_segment(folder, segment.header, [], segment.tokens, memoryview(payload))
