"""The likeliest next tokens behind a prompt, with the probabilities the model itself gives them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from corral.engine import protocol
from corral.engine.llama.model import LlamaModel
from corral.engine.llama.states import Keeper
from corral.engine.llama.vocab import Vocab

PASSING = 64
"""Tokens: a look into the middle of a sequence that cost no more is forgotten again."""


def likeliest(
    command: protocol.Likeliest,
    model: LlamaModel,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
    keeper: Keeper | None = None,
) -> protocol.Likely:
    """The answer to the command; only what is not evaluated yet is.

    What was evaluated stays as it is: a look into the middle of a long sequence branches off, and
    the branch is given up afterwards.

    Args:
        progress: told tokens done and tokens to do.
        keeper: gets what was evaluated before from the disk.

    Raises:
        Cancelled: it was stopped.
        AdapterError, LoadError: as for an answer.
    """
    evaluated = 0

    def advanced(done: int, total: int) -> None:
        nonlocal evaluated
        evaluated = done
        progress(done, total)

    model.use_adapters(command.adapters)
    if keeper is not None:
        keeper.before(command.tokens, command.conversation, cancelled)
    before = set(model.sequences.live())
    reused = model.begin(command.tokens, command.conversation)
    try:
        model.evaluate(advanced)
        row = np.frombuffer(model.logits(), dtype=np.float32).astype(np.float64)
        chosen = _chosen(row, command)
    finally:
        if reused and evaluated <= PASSING:
            for live in set(model.sequences.live()) - before:
                model.sequences.drop(live.id)
    return protocol.Likely(
        id=command.id,
        tokens=tuple(_told(token, share, model.vocab) for token, share in chosen),
        reused_tokens=reused,
        evaluated_tokens=evaluated,
    )


def _chosen(logits: NDArray[np.float64], command: protocol.Likeliest) -> list[tuple[int, float]]:
    """Tokens and probabilities: the likeliest first, then those that were asked about."""
    logits = np.nan_to_num(logits, nan=-np.inf)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    # The same order for equals as the greedy sampler has: the smaller id first.
    order = np.argsort(-logits, kind="stable")[: command.count].tolist()
    also = (token for token in dict.fromkeys(command.also) if 0 <= token < len(shares))
    order += [token for token in also if token not in order]
    return [(token, float(shares[token])) for token in order]


def _told(token: int, share: float, vocab: Vocab) -> protocol.LikelyToken:
    piece = vocab.piece(token)
    kind: protocol.TokenKind = "text"
    if vocab.spell(token) is None or not piece:
        kind, text = "control", vocab.text(token)
    else:
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            kind, text = "part", "".join(f"<0x{byte:02X}>" for byte in piece)
    return protocol.LikelyToken(token=token, text=text, kind=kind, probability=share)
