"""How many rows of a step are computed as one alone is, to the last bit.

That depends on the processor or card, the types of the weights and of the KV cache: with Q4_0, Q4_1
and Q8_0 on x86-64 any number is, with Q4_K that llama.cpp repacked up to three, with F16 one
(measured with llama-cpp-python 0.3.36). So it is tried before it counts. One thing is not seen: on
cards the number of cells may change how a row is computed between two trials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from corral.engine.drafting import MOST_GUESSES
from corral.engine.llama.model import CELLS, LlamaModel

FIRST = 4
"""Rows that are tried at first; then twice as many, where they are wanted."""
MOST = MOST_GUESSES + 1


class Alike:
    """Steps of one loaded model with several rows, but no more than are computed alike.

    Where guesses want more rows, the last tokens of the answer, which were decoded one by one, are
    decoded again in one step, and the logits of all rows compared. It is assumed that fewer rows
    than are alike are alike, too, and that more than are not are not: other kernels begin with some
    number of rows. On cards, which have other kernels for fuller caches as well, it is tried again
    when the cache has doubled.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        self._adapters = ""
        self._rows: deque[bytes] = deque(maxlen=2 * MOST)
        """The logits of the last tokens, as they are alone, while more is to be tried; twice as
        many as are compared, for the last ones may be taken back."""
        self._forget()

    def _forget(self) -> None:
        self._alike = 1 if self._model.spec.exact else MOST
        self._unlike = MOST + 1
        self._cells = 0
        self._stop()

    def _stop(self) -> None:
        self._wanted = False
        self._rows.clear()

    @property
    def most(self) -> int:
        """Rows that may be alike, as far as is known."""
        return self._unlike - 1

    def begin(self) -> None:
        """A prompt was evaluated; its adapters are multiplied in a way of their own."""
        if self._adapters != (adapters := self._model.sequences.adapters):
            self._adapters = adapters
            self._forget()
        self._rows.clear()

    def step(self, tokens: Sequence[int]) -> tuple[int, float]:
        """As :meth:`LlamaModel.step`, with as many of the tokens as are known to be alike.

        Returns:
            Their number, and the seconds of the step.

        Raises:
            Cancelled, LoadError: as there.
        """
        if len(tokens) > 1 and self._model.varies_with_cells:
            cells = (self._model.sequences.used_cells // CELLS).bit_length()
            if cells > self._cells:
                self._cells, self._alike = cells, 1
                self._stop()
        if self._wanted:
            self._try()
        if len(tokens) > self._alike:
            tokens, self._wanted = tokens[: self._alike], self._alike < self.most
        seconds = self._model.step(tokens)
        if self._wanted:
            self._rows.extend(self._model.logits(number) for number in range(len(tokens)))
        return len(tokens), seconds

    def rewind(self, count: int) -> None:
        """As :meth:`LlamaModel.rewind`."""
        self._model.rewind(count)
        for _ in range(min(count, len(self._rows))):
            self._rows.pop()

    def _try(self) -> None:
        """Find out about more rows, when enough was said that can tell."""
        model = self._model
        # In large steps up to where it fails, from there on halfway.
        count = max(FIRST, 2 * self._alike)
        if count >= self._unlike:
            count = (self._alike + self._unlike) // 2
        if count > len(self._rows):
            return
        said, alone = model.tokens[-count:], list(self._rows)[-count:]
        self._stop()
        model.rewind(count)
        model.step(said)
        if [model.logits(number) for number in range(count)] == alone:
            self._alike = count
            return
        self._unlike = count
        model.rewind(count)
        for token in said:
            model.step_one(token)
