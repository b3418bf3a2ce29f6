"""Sampler chains: the full set of llama.cpp, with only the active ones in the chain."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import llama_cpp.llama_cpp as L
import numpy as np
from numpy.typing import NDArray

from corral.engine.llama.cancel import LoadError
from corral.engine.llama.formed import RECORD, Formed
from corral.engine.llama.vocab import Vocab
from corral.engine.protocol import SamplerName, Sampling

IMPOSSIBLE = 1e-5
"""Probability, in parts of the likeliest token's, that all tokens dropped ahead have together."""
HOT = 0.85
"""Temperature above which too little can be dropped to be worth a look."""
_logits_address = L._lib["llama_get_logits_ith"]
_logits_address.argtypes = [ctypes.c_void_p, ctypes.c_int32]
_logits_address.restype = ctypes.c_void_p


class Chain:
    """A sampler chain that always ends in a selecting sampler: one without aborts the process.

    Args:
        n_ctx: what a look-back of -1 means, in tokens.
        seed: a plain number; the caller draws one where the person gave none.

    Raises:
        LoadError: the grammar cannot be used.
    """

    def __init__(self, sampling: Sampling, vocab: Vocab, *, n_ctx: int, seed: int) -> None:
        self._sampling = sampling
        self._vocab = vocab
        self._n_ctx = n_ctx
        self._seed = seed
        self.formed = Formed(sampling.grammar, vocab) if sampling.grammar else None
        """Where the answer stands in its grammar."""
        self._keep: list[Any] = []
        self._bias = self._logit_bias()
        self._candidates: Candidates | None = None
        """For what is looked at by array alone, before the chain sees the rest."""
        self._views: dict[int, NDArray[np.float32]] = {}
        """Rows of logits by their address: to make one takes longer than to read it."""
        self.pointer = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
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
        names = [
            name
            for name in dict.fromkeys(sampling.samplers)
            if (name in keep or not (sampling.mirostat or greedy)) and self._active(name)
        ]
        self._likeliest = greedy and not names
        if not greedy and names[:1] == ["temperature"] and self._few(names):
            self._candidates = Candidates(vocab.size, sampling.temperature)
        by_array = self._likeliest or self._candidates is not None or self._bias is not None
        self._native = self.formed is None and not by_array
        """The chain sees all logits as they are."""
        for name in names:
            self._add(builders[name]())
        self._add(L.llama_sampler_init_greedy() if greedy else self._selecting())

    def sample(self, context: Any, row: int = -1) -> int:
        """The next token after a row of logits, -1 is the last; the chain also accepts it.

        The biases are added to the row itself: no row is sampled from twice. -1 is no token: the
        grammar allows none of this vocabulary.
        """
        if self._native:
            return int(L.llama_sampler_sample(self.pointer, context, row))
        logits = self._row(context, row)
        if self._bias is not None:
            ids, values = self._bias
            logits[ids] += values
        if self.formed is not None:
            least = 0.0 if self._likeliest else None
            if self._candidates is not None:
                least = self._candidates.least
            return self.formed.sample(self.pointer, logits, least)
        if self._likeliest:
            return int(logits.argmax())
        if self._candidates is not None:
            token = self._candidates.sample(self.pointer, logits)
            if token is not None:
                return token
        return int(L.llama_sampler_sample(self.pointer, context, row))

    def _row(self, context: Any, row: int) -> NDArray[np.float32]:
        """The logits themselves, not a copy.

        Raises:
            LoadError: llama.cpp has no such row.
        """
        address = _logits_address(context, row)
        if address is None:
            raise LoadError("the model gave no logits")
        view = self._views.get(address)
        if view is None:
            # A context has one place for them, with as many rows as a step has.
            memory = (ctypes.c_float * self._vocab.size).from_address(address)
            view = self._views[address] = np.ctypeslib.as_array(memory)
        return view

    def accept_prompt(self, tokens: Iterable[int]) -> None:
        """Let the penalties see the prompt, as llama.cpp's own programs do."""
        if not (self._active("penalties") or self._active("dry")):
            return
        for token in tokens:
            L.llama_sampler_accept(self.pointer, token)

    def close(self) -> None:
        if self.pointer:
            L.llama_sampler_free(self.pointer)
            self.pointer = None
        if self.formed is not None:
            self.formed.close()

    def _add(self, sampler: Any) -> None:
        # A NULL comes back as a falsy pointer object, and adding one crashes.
        if sampler:
            L.llama_sampler_chain_add(self.pointer, sampler)

    def _active(self, name: SamplerName) -> bool:
        s = self._sampling
        return {
            "penalties": s.repeat_penalty != 1
            or s.frequency_penalty != 0
            or s.presence_penalty != 0,
            "dry": s.dry_multiplier != 0,
            "top_n_sigma": s.top_n_sigma > 0,
            "top_k": s.top_k > 0,
            "typical_p": s.typical_p < 1,
            "top_p": s.top_p < 1,
            "min_p": s.min_p > 0,
            "xtc": s.xtc_probability != 0,
            "temperature": s.temperature != 1 or s.dynatemp_range > 0,
        }[name]

    def _few(self, names: Sequence[SamplerName]) -> bool:
        """Whether what the temperature makes impossible is much, and nobody asks for it.

        A changing temperature goes by how many candidates there are, mirostat by all of them, and
        top-n-sigma measures the width of all logits.
        """
        s = self._sampling
        settled = not s.mirostat and s.dynatemp_range <= 0 and "top_n_sigma" not in names
        return settled and 0 < s.temperature <= HOT

    def _selecting(self) -> Any:
        s = self._sampling
        if s.mirostat == 1:
            return L.llama_sampler_init_mirostat(
                self._vocab.size, self._seed, s.mirostat_tau, s.mirostat_eta, 100
            )
        if s.mirostat == 2:
            return L.llama_sampler_init_mirostat_v2(self._seed, s.mirostat_tau, s.mirostat_eta)
        return L.llama_sampler_init_dist(self._seed)

    def _logit_bias(self) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        pairs = {t: b for t, b in self._sampling.logit_bias.items() if 0 <= t < self._vocab.size}
        if not pairs:
            return None
        return np.array([*pairs], np.intp), np.array([*pairs.values()], np.float32)

    def _penalties(self) -> Any:
        s = self._sampling
        last_n = self._n_ctx if s.penalty_last_n < 0 else s.penalty_last_n
        return L.llama_sampler_init_penalties(
            self._vocab.size, last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
        )

    def _dry(self) -> Any:
        s = self._sampling
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
        return L.llama_sampler_init_top_n_sigma(self._sampling.top_n_sigma)

    def _top_k(self) -> Any:
        return L.llama_sampler_init_top_k(self._sampling.top_k)

    def _typical_p(self) -> Any:
        return L.llama_sampler_init_typical(self._sampling.typical_p, 1)

    def _top_p(self) -> Any:
        return L.llama_sampler_init_top_p(self._sampling.top_p, 1)

    def _min_p(self) -> Any:
        return L.llama_sampler_init_min_p(self._sampling.min_p, 1)

    def _xtc(self) -> Any:
        s = self._sampling
        return L.llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, 1, self._seed)

    def _temperature(self) -> Any:
        s = self._sampling
        if s.dynatemp_range > 0:
            return L.llama_sampler_init_temp_ext(
                s.temperature, s.dynatemp_range, s.dynatemp_exponent
            )
        return L.llama_sampler_init_temp(s.temperature)


class Candidates:
    """The tokens that a temperature leaves possible, chosen by array.

    llama.cpp's own way copies a record for each of the vocabulary's tokens and computes an
    exponential for each: with 50,000 of them 2 to 4 % of a small model's token. All that is left
    out here together has less than :data:`IMPOSSIBLE` of the likeliest token's probability, which
    is what the rounding of llama.cpp's own sum amounts to.

    Args:
        size: tokens of the vocabulary.
        temperature: above zero.
    """

    def __init__(self, size: int, temperature: float) -> None:
        self.least = math.log(IMPOSSIBLE / size) * temperature
        """How much less than the best logit is still possible."""
        self._records = (L.llama_token_data * size)()
        self._view = np.frombuffer(self._records, RECORD)
        self._array = L.llama_token_data_array()
        self._array.data = ctypes.cast(self._records, ctypes.POINTER(L.llama_token_data))

    def sample(self, chain: Any, logits: NDArray[np.float32]) -> int | None:
        """Apply the chain; None where no logit is a number, which only llama.cpp has a way with."""
        ids = np.flatnonzero(logits >= logits.max() + self.least)
        count = len(ids)
        if not count:
            return None
        view = self._view[:count]
        view["id"] = ids
        view["logit"] = logits[ids]
        array = self._array
        array.size, array.selected, array.sorted = count, -1, False
        L.llama_sampler_apply(chain, ctypes.byref(array))
        token = int(self._view["id"][array.selected])
        L.llama_sampler_accept(chain, token)
        return token
