"""Sampling that follows a grammar: llama.cpp's own, and ours beside it.

llama.cpp's masks a whole vocabulary in one call, which no Python can. It takes milliseconds, so a
token is drawn freely first and the mask is only used where that one is not allowed: the chances
are the same, because what is allowed keeps its share. Ours (:mod:`corral.chat.grammar.walk`) knows
when the answer is whole and how it can still be closed, and sees the broken UTF-8 that llama.cpp
lets through. A token counts only where both allow it: llama.cpp aborts on any other.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp.llama_cpp as L
import numpy as np
from numpy.typing import NDArray

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.walk import begin
from corral.engine.llama.cancel import LoadError
from corral.engine.llama.vocab import Vocab

RECORD = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""A ``llama_token_data``."""


class Formed:
    """One answer on its way through a grammar.

    Raises:
        LoadError: the grammar cannot be used.
    """

    def __init__(self, grammar: str, vocab: Vocab) -> None:
        try:
            self.walk = begin(grammar)
        except GrammarError as error:
            raise LoadError(f"The grammar cannot be used: {error}") from None
        self._vocab = vocab
        self._pointer = L.llama_sampler_init_grammar(vocab.pointer, grammar.encode(), b"root")
        if not self._pointer:  # NULL is a falsy pointer object, and using one crashes.
            raise LoadError("llama.cpp cannot use the grammar")
        self._all = np.arange(vocab.size, dtype=np.int32)
        self._records = (L.llama_token_data * vocab.size)()
        self._view = np.frombuffer(self._records, RECORD)
        self._array = L.llama_token_data_array()
        self._array.data = ctypes.cast(self._records, ctypes.POINTER(L.llama_token_data))

    def sample(self, chain: Any, logits: NDArray[np.float32], least: float | None = None) -> int:
        """The next token, which is also accepted; -1 where the vocabulary has none that fits.

        Args:
            least: how much below the best logit a token is impossible, as
                :class:`corral.engine.llama.sampling.Candidates` has it; None looks at all.
        """
        try:
            return self._sample(chain, logits, least)
        except GrammarError:  # Too many ways to read it: the caller closes it.
            return -1

    def close(self) -> None:
        if self._pointer:
            L.llama_sampler_free(self._pointer)
            self._pointer = None

    def _sample(self, chain: Any, logits: NDArray[np.float32], least: float | None) -> int:
        ids: NDArray[Any] = self._all
        if least is not None:
            ids = np.flatnonzero(logits >= logits.max() + least)
        token = self._draw(chain, ids, logits)
        if (
            token < 0
            or not self._allows(token)
            or not len(self._masked(self._all[token : token + 1]))
        ):
            ids = self._masked(self._all, logits)
            token = self._draw(chain, ids, logits)
            while token >= 0 and not self._allows(token):
                ids = ids[ids != token]
                token = self._draw(chain, ids, logits)
        if token >= 0:
            L.llama_sampler_accept(self._pointer, token)
            L.llama_sampler_accept(chain, token)
            self.walk.take(self._piece(token))
        return token

    def _draw(self, chain: Any, ids: NDArray[Any], logits: NDArray[np.float32]) -> int:
        """One of some tokens; nothing is accepted yet."""
        if not len(ids):
            return -1
        self._fill(ids, logits[ids])
        L.llama_sampler_apply(chain, ctypes.byref(self._array))
        if not 0 <= self._array.selected < len(ids):
            return -1
        return int(self._view["id"][self._array.selected])

    def _masked(self, ids: NDArray[Any], logits: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Those of some tokens that llama.cpp's grammar allows."""
        self._fill(ids, np.zeros(len(ids), np.float32) if logits is None else logits[ids])
        L.llama_sampler_apply(self._pointer, ctypes.byref(self._array))
        view = self._view[: len(ids)]
        return view["id"][view["logit"] > -np.inf].copy()

    def _fill(self, ids: NDArray[Any], logits: NDArray[np.float32]) -> None:
        view = self._view[: len(ids)]
        view["id"], view["logit"] = ids, logits
        array = self._array
        array.size, array.selected, array.sorted = len(ids), -1, False

    def _allows(self, token: int) -> bool:
        if self._vocab.ends(token):
            return self.walk.may_end
        data = self._piece(token)
        return bool(data) and self.walk.accepts(data)

    def _piece(self, token: int) -> bytes:
        """What a token says; the end of the answer, and every control token, say nothing."""
        return b"" if self._vocab.ends(token) else self._vocab.piece(token)
