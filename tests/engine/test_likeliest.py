"""The likeliest next tokens: the plain softmax of the real model, and nothing else is disturbed."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.engine.conftest import load
from tests.engine.test_engine import GREEDY, answer

from corral.engine import protocol
from corral.engine.engine import Engine, EngineStopped
from corral.errors import EngineError

TEXT = "The capital of France is"


async def look(engine: Engine, tokens: Sequence[int], count: int, **wanted: Any) -> protocol.Likely:
    events = [event async for event in engine.likeliest(tokens, count, **wanted)]
    assert isinstance(events[-1], protocol.Likely)
    return events[-1]


def softmax(path: Path, tokens: Sequence[int]) -> NDArray[np.float64]:
    """By llama.cpp alone, in this process, with a context of its own."""
    model = L.llama_model_load_from_file(str(path).encode(), L.llama_model_default_params())
    params = L.llama_context_default_params()
    params.n_ctx = params.n_batch = 512
    context = L.llama_init_from_model(model, params)
    try:
        ids = (L.llama_token * len(tokens))(*tokens)
        assert L.llama_decode(context, L.llama_batch_get_one(ids, len(tokens))) == 0
        size = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
        row = L.llama_get_logits_ith(context, -1)
        logits = np.ctypeslib.as_array(ctypes.cast(row, ctypes.POINTER(ctypes.c_float)), (size,))
        shares = np.exp(logits.astype(np.float64) - logits.max())
        return np.asarray(shares / shares.sum())
    finally:
        L.llama_free(context)
        L.llama_model_free(model)


async def test_they_are_the_models_own_and_leave_what_is_evaluated_alone(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter, n_ctx=1024)
    tokens = await engine.tokenize([("control", "bos"), ("text", TEXT)])
    found = await look(engine, tokens, 1000, also=(5, 5, 10**6))
    shares = softmax(starter, tokens)
    assert len({one.token for one in found.tokens}) == len(found.tokens) >= 1000
    probabilities = [one.probability for one in found.tokens]
    assert 0.9 < sum(probabilities) <= 1.0
    assert probabilities[:1000] == sorted(probabilities[:1000], reverse=True)
    for one in found.tokens[:20]:
        assert one.probability == pytest.approx(shares[one.token], rel=0.02, abs=1e-5)
    assert [one.token for one in found.tokens[:3]] == np.argsort(-shares)[:3].tolist()
    assert found.tokens[0].text == " Paris" and found.tokens[0].kind == "text"
    assert {one.kind for one in found.tokens} >= {"text"}

    # The first one is what the greedy sampler takes, and it evaluates nothing anew for that.
    text, done = await answer(engine, tokens, GREEDY, max_tokens=24, conversation="7")
    assert text.startswith(found.tokens[0].text)
    whole = [*tokens, *done.answer]
    assert len(whole) > 24
    # Token by token through the middle: one is evaluated for each, and the long one stays warm.
    for place in range(len(whole) - 4, len(whole) - 10, -1):
        there = await look(engine, whole[:place], 3, also=(whole[place],), conversation="7")
        assert there.evaluated_tokens == 1
        assert there.tokens[0].token == whole[place], "it was the greedy choice"
    again, more = await answer(engine, whole, GREEDY, max_tokens=2, conversation="7")
    assert more.usage.evaluated_tokens <= 1 and again

    with pytest.raises(EngineError, match="the window 1024"):
        await look(engine, [5] * 1024, 3)
    with pytest.raises(EngineError):
        await look(engine, [], 3)

    # A look is stopped in the middle of a long prompt, and the next one is answered.
    long = await engine.tokenize([("control", "bos"), ("text", "Llamas and alpacas. " * 300)])
    with pytest.raises(EngineStopped):
        async for event in engine.likeliest(long[:1000], 3):
            assert isinstance(event, protocol.Progress)
            engine.stop()
    assert (await look(engine, tokens, 1)).tokens[0].text == " Paris"


async def test_the_bytes_of_tokens_add_up_to_the_text(engine: Engine, llama_vocab: Path) -> None:
    await load(engine, llama_vocab, vocab_only=True)
    text = "Once, héllo 😀\n  日本"
    spelled = await engine.spelled([("control", "bos"), ("text", text)])
    assert spelled.tokens == tuple(await engine.tokenize([("control", "bos"), ("text", text)]))
    assert spelled.sizes[0] == 0, "BOS is no text"
    # SentencePiece puts a space of its own before the first word.
    assert sum(spelled.sizes) == len(text.encode()) + 1
