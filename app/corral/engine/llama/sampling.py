"""Sampler chains: the full set of llama.cpp, with only the active ones in the chain."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.llama.vocab import Vocab
from corral.engine.protocol import SamplerName, Sampling

IMPOSSIBLE = 1e-5
"""Probability, in parts of the likeliest token's, that all tokens dropped ahead have together."""
HOT = 0.85
"""Temperature above which too little can be dropped to be worth a look."""


class Chain:
    """A sampler chain that always ends in a selecting sampler: one without aborts the process.

    Args:
        n_ctx: what a look-back of -1 means, in tokens.
        seed: a plain number; the caller draws one where the person gave none.
    """

    def __init__(self, sampling: Sampling, vocab: Vocab, *, n_ctx: int, seed: int) -> None:
        self._sampling = sampling
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._seed = seed
        self._keep: list[Any] = []
        self.pointer = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
        if sampling.logit_bias:
            self._add(self._logit_bias())
        builders: dict[SamplerName, Callable[[], Any]] = {
            "penalties": self._penalties,
            "dry": self._dry,
            "top_n_sigma": self._top_n_sigma,
            "top_k": self._top_k,
            "typical_p": self._typical_p,
            "top_p": self._top_p,
            "min_p": self._min_p,
            "xtc": self._xtc,
            "temperature": self._temperature,
        }
        # At temperature 0 the likeliest token wins, so what only cuts the tail is left out; and
        # mirostat replaces the cutting samplers, as in llama.cpp.
        greedy = sampling.temperature == 0
        keep = {"penalties", "dry"} if greedy else {"penalties", "dry", "temperature"}
        names = [n for n in dict.fromkeys(sampling.samplers) if n in keep or not sampling.mirostat]
        for name in names:
            if name in keep or not greedy:
                if name == "temperature" and self._comes_first(name, names):
                    self._add(self._drop_impossible())
                self._add(builders[name]())
        self._add(L.llama_sampler_init_greedy() if greedy else self._selecting())

    def sample(self, context: Any, row: int = -1) -> int:
        """The next token after a row of logits, -1 is the last; llama.cpp also accepts it."""
        return int(L.llama_sampler_sample(self.pointer, context, row))

    def accept_prompt(self, tokens: Iterable[int]) -> None:
        """Let the penalties see the prompt, as llama.cpp's own programs do."""
        s = self._sampling
        penalties = s.repeat_penalty != 1 or s.frequency_penalty != 0 or s.presence_penalty != 0
        if not penalties and s.dry_multiplier == 0:
            return
        for token in tokens:
            L.llama_sampler_accept(self.pointer, token)

    def close(self) -> None:
        if self.pointer:
            L.llama_sampler_free(self.pointer)
            self.pointer = None

    def _add(self, sampler: Any) -> None:
        # A NULL comes back as a falsy pointer object, and adding one crashes.
        if sampler:
            L.llama_sampler_chain_add(self.pointer, sampler)

    def _drop_impossible(self) -> Any:
        """Leave out what the temperature makes impossible, before it is computed for everything.

        An exponential for each of 50,000 tokens takes as long as 5 % of a small model's token. All
        that is left out together has less than :data:`IMPOSSIBLE` of the likeliest token's
        probability, which is what the rounding of llama.cpp's own sum amounts to.
        """
        s = self._sampling
        # A changing temperature goes by how many candidates there are, mirostat by all of them.
        if s.mirostat or s.dynatemp_range > 0 or not 0 < s.temperature <= HOT:
            return None
        least = math.log(IMPOSSIBLE / self._vocab.size) * s.temperature
        return L.llama_sampler_init_min_p(math.exp(least), 1)

    def _comes_first(self, name: SamplerName, names: Sequence[SamplerName]) -> bool:
        """Whether nothing before it has cut the candidates, or looks at all of them."""
        s = self._sampling
        active = {
            "top_n_sigma": s.top_n_sigma > 0,
            "top_k": s.top_k > 0,
            "typical_p": s.typical_p < 1,
            "top_p": s.top_p < 1,
            "min_p": s.min_p > 0,
            "xtc": s.xtc_probability > 0,
        }
        before = names[: names.index(name)]
        after = names[names.index(name) :]
        # The width of all logits is measured by this one alone.
        return not any(active.get(n) for n in before) and not (
            "top_n_sigma" in after and active["top_n_sigma"]
        )

    def _selecting(self) -> Any:
        s = self._sampling
        if s.mirostat == 1:
            return L.llama_sampler_init_mirostat(
                self._vocab.size, self._seed, s.mirostat_tau, s.mirostat_eta, 100
            )
        if s.mirostat == 2:
            return L.llama_sampler_init_mirostat_v2(self._seed, s.mirostat_tau, s.mirostat_eta)
        return L.llama_sampler_init_dist(self._seed)

    def _logit_bias(self) -> Any:
        pairs = [(t, b) for t, b in self._sampling.logit_bias.items() if 0 <= t < self._vocab.size]
        array = (L.llama_logit_bias * len(pairs))(*pairs)
        self._keep.append(array)
        return L.llama_sampler_init_logit_bias(self._vocab.size, len(pairs), array)

    def _penalties(self) -> Any:
        s = self._sampling
        if s.repeat_penalty == 1 and s.frequency_penalty == 0 and s.presence_penalty == 0:
            return None
        last_n = self._n_ctx if s.penalty_last_n < 0 else s.penalty_last_n
        return L.llama_sampler_init_penalties(
            self._vocab.size, last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
        )

    def _dry(self) -> Any:
        s = self._sampling
        if s.dry_multiplier == 0:
            return None
        breakers = [text.encode() for text in s.dry_sequence_breakers]
        array = (ctypes.c_char_p * len(breakers))(*breakers)
        self._keep.append(array)
        last_n = self._n_ctx if s.dry_penalty_last_n < 0 else s.dry_penalty_last_n
        return L.llama_sampler_init_dry(
            self._vocab.pointer,
            s.dry_multiplier,
            s.dry_base,
            s.dry_allowed_length,
            last_n,
            array,
            len(breakers),
        )

    def _top_n_sigma(self) -> Any:
        n = self._sampling.top_n_sigma
        return L.llama_sampler_init_top_n_sigma(n) if n > 0 else None

    def _top_k(self) -> Any:
        k = self._sampling.top_k
        return L.llama_sampler_init_top_k(k) if k > 0 else None

    def _typical_p(self) -> Any:
        p = self._sampling.typical_p
        return L.llama_sampler_init_typical(p, 1) if p < 1 else None

    def _top_p(self) -> Any:
        p = self._sampling.top_p
        return L.llama_sampler_init_top_p(p, 1) if p < 1 else None

    def _min_p(self) -> Any:
        p = self._sampling.min_p
        return L.llama_sampler_init_min_p(p, 1) if p > 0 else None

    def _xtc(self) -> Any:
        s = self._sampling
        if s.xtc_probability == 0:
            return None
        return L.llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, 1, self._seed)

    def _temperature(self) -> Any:
        s = self._sampling
        if s.dynatemp_range > 0:
            return L.llama_sampler_init_temp_ext(
                s.temperature, s.dynatemp_range, s.dynatemp_exponent
            )
        return L.llama_sampler_init_temp(s.temperature) if s.temperature != 1 else None
