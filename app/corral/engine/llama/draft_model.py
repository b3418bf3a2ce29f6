"""A small model that guesses ahead for a large one with the same vocabulary.

It has a context of its own and a list of what that holds; its guesses are its likeliest tokens. The
large model's sampler decides about each of them, so what it is called or how good it is changes
nothing in the text (:mod:`corral.engine.drafting`).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.drafting import Drafter, Speculator
from corral.engine.llama.alike import Alike
from corral.engine.llama.batch import Batch
from corral.engine.llama.cancel import CancelFlag
from corral.engine.llama.library import NativeLog, drop_copied_pages
from corral.engine.llama.model import FLASH_ATTENTION, KV_TYPES, LOAD_MODES, LlamaModel
from corral.engine.llama.vocab import Vocab
from corral.engine.protocol import LoadSpec
from corral.text import shorten

MOST_MORE = 128
"""Tokens by which the two vocabularies may differ in size; llama.cpp's speculative.cpp."""
FIRST_COMPARED = 5
"""Tokens before this one may be spelled differently; the same source."""
LIKELIEST = 10
"""Tokens among which the draft model's certainty is shared out; llama.cpp looks at as many."""


class DraftRefused(Exception):
    """Why a draft model cannot be used, in plain words; the model itself is loaded without it."""


class Speculation:
    """Guessing ahead for one loaded model: what was learned about it, and its draft model.

    Raises nothing: a model without its draft model is slower and says the same.

    Args:
        model: loaded, with a context unless it is its vocabulary alone.
        log: of the library.
        cancel: ends the loading of the draft model too.
    """

    def __init__(self, model: LlamaModel, log: NativeLog, cancel: CancelFlag) -> None:
        self.draft = ""
        """llama.cpp's description of the draft model; empty where there is none."""
        self.draft_refused = ""
        """Why the draft model that was asked for is not used; empty where it is."""
        self._draft: DraftModel | None = None
        self._enabled = not model.spec.vocab_only
        if model.spec.draft and self._enabled:
            try:
                self._draft = DraftModel(model.spec.draft, model, log, cancel)
                self.draft = self._draft.description
            except DraftRefused as error:
                self.draft_refused = str(error)
        self._speculator = Speculator(guesser=self._draft)
        self.alike = Alike(model)
        """How many guesses leave the text as it is."""

    def drafter(self, *, lookup: bool) -> Drafter | None:
        """Who guesses for the next answer; None where nobody does.

        Args:
            lookup: guess from the text itself.
        """
        if not self._enabled or not (lookup or self._draft):
            return None
        self._speculator.lookup = lookup
        return self._speculator

    def close(self) -> None:
        """Free the draft model; before the model itself."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None


class DraftModel:
    """A :class:`corral.engine.drafting.Guesser`. Every method belongs to the inference thread.

    Args:
        path: of the GGUF file, absolute.
        target: the model to guess for, loaded already.
        log: of the library; says what the file lacks.
        cancel: ends its work too.

    Raises:
        DraftRefused: the file is no usable draft model, or was not loaded in time.
    """

    def __init__(self, path: str, target: LlamaModel, log: NativeLog, cancel: CancelFlag) -> None:
        self._target = target
        self._cancel = cancel
        self._context: Any = None
        self._sampler: Any = None
        self._tokens: list[int] = []
        """What its cache holds."""
        self._agreed = 0
        """So many of those are known to be those of the text."""
        self._threads = 0
        offloaded = log.offloaded  # What the log says of the large model stays.
        log.errors.clear()
        self._model = self._load(path, target.spec, log)
        try:
            vocab = Vocab(L.llama_model_get_vocab(self._model))
            if reason := differs(target.vocab, vocab):
                raise DraftRefused(reason)
            self._make_context(target, log)
            drop_copied_pages(log, path)
            buffer = ctypes.create_string_buffer(256)
            L.llama_model_desc(self._model, buffer, len(buffer))
            self.description = buffer.value.decode("utf-8", "replace")
        except BaseException:
            self.close()
            raise
        finally:
            log.offloaded = offloaded
        self._size = vocab.size
        ids = ((token, 0.0, 0.0) for token in range(vocab.size))
        self._every_id = (L.llama_token_data * vocab.size)(*ids)
        self._candidates = (L.llama_token_data * vocab.size)()
        # ``llama_token_data`` is id, logit, p: three words.
        self._logits = memoryview(self._candidates).cast("B").cast("f")[1::3]

    def _load(self, path: str, spec: LoadSpec, log: NativeLog) -> Any:
        params = L.llama_model_default_params()
        # On a card as a whole or not at all: a small model is not worth dividing.
        params.n_gpu_layers = 0 if spec.n_gpu_layers == 0 else -1
        params.load_mode = LOAD_MODES[spec.load_mode]
        params.main_gpu = spec.main_gpu
        params.use_extra_bufts = spec.repack
        callback = L.llama_progress_callback(lambda _fraction, _user: not self._cancel)
        params.progress_callback = callback
        model = L.llama_model_load_from_file(path.encode(), params)
        if model is None:
            raise DraftRefused(
                "loading it was stopped"
                if self._cancel
                else f"it cannot be loaded: {log.explain('llama.cpp gave no reason')}"
            )
        return model

    def _make_context(self, target: LlamaModel, log: NativeLog) -> None:
        spec = target.spec
        params = L.llama_context_default_params()
        # Beyond what it was trained on its guesses are worth nothing.
        params.n_ctx = min(target.n_ctx, int(L.llama_model_n_ctx_train(self._model)))
        params.n_batch = min(spec.n_batch, params.n_ctx)
        params.n_ubatch = min(spec.n_ubatch, params.n_batch)
        params.n_seq_max = 1
        params.kv_unified = True
        params.flash_attn_type = FLASH_ATTENTION[spec.flash_attn]
        params.type_k = KV_TYPES[spec.type_k]
        params.type_v = KV_TYPES[spec.type_v]
        params.offload_kqv = spec.offload_kqv
        self._context = L.llama_init_from_model(self._model, params)
        if self._context is None:
            raise DraftRefused(f"it gets no context: {log.explain('llama.cpp gave no reason')}")
        self._memory = L.llama_get_memory(self._context)
        self._n_ctx = int(L.llama_n_ctx(self._context))
        self._batch = Batch(int(L.llama_n_batch(self._context)))
        self._cancel.watch(self._context)
        self._sampler = L.llama_sampler_init_top_k(LIKELIEST)

    # --- guessing ---------------------------------------------------------------------------------

    def begin(self, tokens: Sequence[int]) -> None:
        """A prompt was evaluated; what its beginning shares with the last text stays."""
        self._agreed = 0
        self._agree(tokens)

    def guess(self, tokens: list[int]) -> Iterator[tuple[int, float]]:
        """What may follow ``tokens``: its likeliest token, and its probability among the few
        likeliest; then what may follow that, and so on to the end of its context.

        Ends early where it was cancelled or llama.cpp refuses.
        """
        self._agree(tokens)
        # There are logits only for what is decoded now.
        self._trim(min(len(self._tokens), len(tokens) - 1))
        new = tokens[len(self._tokens) :]
        while len(self._tokens) + len(new) <= self._n_ctx and self._decode(new):
            token, sure = self._likeliest()
            if token >= self._target.vocab.size:
                return  # The large model may have fewer, and would refuse the whole batch.
            yield token, sure
            if self._target.vocab.ends(token):
                return
            new = [token]

    def _agree(self, tokens: Sequence[int]) -> None:
        """Forget what is not the beginning of ``tokens``."""
        known, at = self._tokens, self._agreed
        most = min(len(known), len(tokens))
        while at < most and known[at] == tokens[at]:
            at += 1
        self._agreed = at
        self._trim(at)

    def _trim(self, length: int) -> None:
        if length < len(self._tokens):
            if not L.llama_memory_seq_rm(self._memory, 0, length, -1):
                L.llama_memory_clear(self._memory, True)
                length = 0
            del self._tokens[length:]
            self._agreed = min(self._agreed, length)

    def _decode(self, tokens: Sequence[int]) -> bool:
        """Evaluate what follows; whether there is a row of logits for the last of them."""
        self._follow_threads()
        size = self._batch.capacity
        for start in range(0, len(tokens), size):
            piece = tokens[start : start + size]
            if L.llama_decode(self._context, self._batch.fill(piece, len(self._tokens), 0)):
                kept = int(L.llama_memory_seq_pos_max(self._memory, 0)) + 1
                self._tokens = [*self._tokens, *piece][:kept]
                return False
            self._tokens.extend(piece)
        return bool(tokens)

    def _likeliest(self) -> tuple[int, float]:
        """The first token of the last row, and its share of the likeliest ones."""
        row = L.llama_get_logits_ith(self._context, -1)
        values = ctypes.cast(row, ctypes.POINTER(ctypes.c_float * self._size)).contents
        # The sampler sorts them, so the numbers are put in their order again.
        ctypes.memmove(self._candidates, self._every_id, ctypes.sizeof(self._every_id))
        self._logits[:] = memoryview(values).cast("B").cast("f")
        array = L.llama_token_data_array(self._candidates, self._size, -1, False)
        L.llama_sampler_apply(self._sampler, ctypes.byref(array))
        first = array.data[0]
        others = (array.data[index].logit - first.logit for index in range(1, array.size))
        return int(first.id), 1 / (1 + math.fsum(math.exp(other) for other in others))

    def _follow_threads(self) -> None:
        """As many threads as the large model computes with at the moment."""
        threads = self._target.computing.generation.threads
        if threads != self._threads:
            self._threads = threads
            L.llama_set_n_threads(self._context, threads, threads)

    def close(self) -> None:
        """Free everything, in the order llama.cpp asks for."""
        if self._sampler:
            L.llama_sampler_free(self._sampler)
            self._sampler = None
        if self._context is not None:
            L.llama_free(self._context)
            self._context = None
        if self._model is not None:
            L.llama_model_free(self._model)
            self._model = None


def differs(target: Vocab, draft: Vocab) -> str:
    """Why a draft model's tokens mean something else, in plain words; empty where they do not.

    The same conditions as in llama.cpp's ``common_speculative``.
    """
    kind = L.llama_vocab_type
    if kind(target.pointer) != kind(draft.pointer):
        return "it has another kind of tokenizer"
    if target.add_bos != draft.add_bos or _add_eos(target) != _add_eos(draft):
        return "it begins or ends a text with other tokens"
    if (target.bos, target.eos) != (draft.bos, draft.eos):
        return "its tokens for the beginning and the end have other numbers"
    if abs(target.size - draft.size) > MOST_MORE:
        return f"its vocabulary has {draft.size} tokens, not {target.size}"
    text = L.llama_vocab_get_text
    for token in range(FIRST_COMPARED, min(target.size, draft.size)):
        if text(target.pointer, token) != text(draft.pointer, token):
            own, other = (shorten(vocab.text(token), 20) for vocab in (draft, target))
            return f"its token {token} is “{own}”, not “{other}”"
    return ""


def _add_eos(vocab: Vocab) -> bool:
    return bool(L.llama_vocab_get_add_eos(vocab.pointer))
