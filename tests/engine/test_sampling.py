"""What is left out of a sampler chain changes nothing in what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import llama_cpp.llama_cpp as L
import pytest
from tests.support.native import log

from corral.engine.llama.cancel import CancelFlag
from corral.engine.llama.model import LlamaModel
from corral.engine.llama.sampling import Chain
from corral.engine.protocol import LoadSpec, Sampling


@pytest.fixture(scope="module")
def model(starter: Path) -> Iterator[LlamaModel]:
    spec = LoadSpec(path=str(starter), n_ctx=512, threads=2)
    model = LlamaModel(spec, log(), lambda _: None, CancelFlag())
    yield model
    model.close()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.6, top_p=0.9, seed=1),
        Sampling(temperature=0.8, top_p=1.0, seed=2),
        Sampling(temperature=0.3, top_p=0.95, seed=3),
    ],
    ids=lambda s: f"{s.temperature}",
)
def test_dropping_the_impossible_ahead_says_the_same(model: LlamaModel, sampling: Sampling) -> None:
    seed = sampling.seed or 0
    ours = Chain(sampling, model.vocab, n_ctx=512, seed=seed)
    plain = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
    L.llama_sampler_chain_add(plain, L.llama_sampler_init_temp(sampling.temperature))
    L.llama_sampler_chain_add(plain, L.llama_sampler_init_top_p(sampling.top_p, 1))
    L.llama_sampler_chain_add(plain, L.llama_sampler_init_dist(seed))
    model.begin(model.vocab.encode([("text", "Once upon a time there was")]))
    model.evaluate(lambda *_: None)
    said = []
    for _ in range(60):
        token = ours.sample(model.context)
        assert token == L.llama_sampler_sample(plain, model.context, -1)
        said.append(token)
        model.step([token])
    assert len(set(said)) > 20
    ours.close()
    L.llama_sampler_free(plain)


@pytest.mark.parametrize("bias", [{}, {28: -1e9, 253: 4.0, 10**9: 1.0}], ids=["plain", "biased"])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.2])
def test_a_row_looked_at_by_array_says_what_a_chain_says(
    model: LlamaModel, temperature: float, bias: dict[int, float]
) -> None:
    ours = Chain(
        Sampling(temperature=temperature, top_p=1.0, logit_bias=bias),
        model.vocab,
        n_ctx=512,
        seed=5,
    )
    plain = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
    pairs = (L.llama_logit_bias * 2)(*((t, b) for t, b in bias.items() if t < model.vocab.size))
    L.llama_sampler_chain_add(
        plain, L.llama_sampler_init_logit_bias(model.vocab.size, 2 if bias else 0, pairs)
    )
    L.llama_sampler_chain_add(plain, L.llama_sampler_init_temp(temperature))
    L.llama_sampler_chain_add(plain, L.llama_sampler_init_dist(5))
    model.begin(model.vocab.encode([("text", "The sea was calm, and the ship")]))
    model.evaluate(lambda *_: None)
    for _ in range(40):
        # The chain first: ours adds the biases to the row itself.
        token = int(L.llama_sampler_sample(plain, model.context, -1))
        assert ours.sample(model.context) == token
        model.step([token])
    ours.close()
    L.llama_sampler_free(plain)


def test_logits_that_are_no_numbers_end_nothing(model: LlamaModel) -> None:
    model.begin(model.vocab.encode([("text", "Once")]))
    model.evaluate(lambda *_: None)
    row = L.llama_get_logits_ith(model.context, -1)
    for i in range(model.vocab.size):
        row[i] = float("nan")
    for temperature in (0.0, 0.6):
        chain = Chain(Sampling(temperature=temperature), model.vocab, n_ctx=512, seed=1)
        assert 0 <= chain.sample(model.context) < model.vocab.size
        chain.close()


@pytest.mark.parametrize(
    ("sampling", "length"),
    [
        (Sampling(temperature=0), 1),
        (Sampling(temperature=0, min_p=0.1, repeat_penalty=1.1), 2),
        (Sampling(temperature=0, logit_bias={1: -3.0}), 1),
        (Sampling(temperature=0.6, top_p=0.9), 3),
        (Sampling(temperature=0.6, top_p=0.9, top_k=40), 4),
        (Sampling(temperature=1.0, top_p=0.9), 2),
        (Sampling(temperature=1.5, top_p=0.9), 3),
        (Sampling(temperature=0.6, samplers=("temperature", "top_n_sigma"), top_n_sigma=1), 3),
        (Sampling(temperature=0.6, mirostat=2), 2),
        (Sampling(temperature=0.5, top_p=0.9, dynatemp_range=0.2), 3),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_chain_has_what_is_active(model: LlamaModel, sampling: Sampling, length: int) -> None:
    chain = Chain(sampling, model.vocab, n_ctx=512, seed=1)
    assert L.llama_sampler_chain_n(chain.pointer) == length
    chain.close()
