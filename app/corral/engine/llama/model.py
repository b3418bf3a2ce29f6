"""A loaded model and its context: load with progress and cancel, evaluate, and reuse what stands.

The list of token ids in the cache is the truth about it; everything else is asked of llama.cpp.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.llama.library import NativeLog, drop_copied_pages, memory_use
from corral.engine.llama.vocab import Vocab
from corral.engine.protocol import Loaded, LoadSpec
from corral.engine.threads import NeighbourMeter, ThreadGovernor, usable_cores

LOAD_MODES = {"auto": -1, "read": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct_io": 4}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2}
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
KV_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "bf16": 30,
}

CHUNK_SECONDS = 0.25
"""How long one step of prompt evaluation should take: the pace of the bar, and of a GPU's stop."""


class LoadError(Exception):
    """llama.cpp refused the file or the context; the text is its own last error."""


class Cancelled(Exception):
    """The request was cancelled; the context is in order."""


class CancelFlag:
    """A flag that native code can read without Python.

    llama.cpp asks its abort callback after every graph node, some 600 times per token; a Python
    function there costs 5 % of the speed. ``strlen`` over a two-byte buffer has the right shape
    (pointer in, zero or one out), takes no lock, and answers 1 once the first byte is set.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(2)
        try:
            self._strlen = ctypes.CDLL(None).strlen
        except (OSError, AttributeError, TypeError):  # Windows has no global namespace
            self._strlen = ctypes.cdll.msvcrt.strlen  # type: ignore[attr-defined,unused-ignore]

    def set(self) -> None:
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        self._buffer[0] = b"\x00"

    def __bool__(self) -> bool:
        return self._buffer[0] != b"\x00"

    def watch(self, context: Any) -> None:
        """Make llama.cpp's CPU backend abort its work when the flag is set."""
        callback = ctypes.cast(self._strlen, L.ggml_abort_callback)
        L.llama_set_abort_callback(context, callback, ctypes.addressof(self._buffer))


class LlamaModel:
    """One model and one context. Every method belongs to the inference thread.

    Args:
        progress: told the loaded fraction, 0.0 to 1.0, once per tensor or more.
        cancel: stops load and evaluation.

    Raises:
        LoadError: the file or the context was refused.
        Cancelled: the flag was set while loading.
    """

    def __init__(
        self,
        spec: LoadSpec,
        log: NativeLog,
        progress: Callable[[float], None],
        cancel: CancelFlag,
    ) -> None:
        started = time.perf_counter()
        self._spec = spec
        self._log = log
        self._cancel = cancel
        self._context: Any = None
        self._batch: Any = None
        log.errors.clear()
        log.offloaded = None
        log.buffers.clear()
        meter = NeighbourMeter()
        self._model = self._load_model(progress)
        suspicious = meter.cores() > 0.25
        self.vocab = Vocab(L.llama_model_get_vocab(self._model))
        self.tokens: list[int] = []
        """What the KV cache holds, in order."""
        cores = usable_cores()
        self.generation_threads = ThreadGovernor(
            spec.threads or cores, fixed=bool(spec.threads), suspicious=suspicious
        )
        prompt_threads = spec.threads_batch or spec.threads or cores
        self.prompt_threads = ThreadGovernor(
            prompt_threads,
            fixed=bool(spec.threads_batch or spec.threads),
            suspicious=suspicious,
        )
        self.n_ctx = 0
        if not spec.vocab_only:
            try:
                self._make_context()
            except BaseException:
                self.close()
                raise
        self.load_ms = (time.perf_counter() - started) * 1000

    # --- loading ----------------------------------------------------------------------------------

    def _load_model(self, progress: Callable[[float], None]) -> Any:
        spec = self._spec
        params = L.llama_model_default_params()
        params.n_gpu_layers = spec.n_gpu_layers
        params.load_mode = LOAD_MODES[spec.load_mode]
        params.split_mode = SPLIT_MODES[spec.split_mode]
        params.main_gpu = spec.main_gpu
        params.vocab_only = spec.vocab_only
        params.check_tensors = spec.check_tensors
        if spec.tensor_split:
            slots = int(L.llama_max_devices())
            split = (ctypes.c_float * slots)(*spec.tensor_split[:slots])
            params.tensor_split = ctypes.cast(split, ctypes.POINTER(ctypes.c_float))

        def on_progress(fraction: float, _user: Any) -> bool:
            # Nothing may leave a native callback.
            with contextlib.suppress(Exception):
                progress(fraction)
            return not self._cancel

        callback = L.llama_progress_callback(on_progress)
        params.progress_callback = callback
        model = L.llama_model_load_from_file(self._spec.path.encode(), params)
        if model is None:
            if self._cancel:
                raise Cancelled
            raise LoadError(self._log.explain("llama.cpp gave no reason"))
        return model

    def _make_context(self) -> None:
        spec = self._spec
        params = L.llama_context_default_params()
        params.n_ctx = spec.n_ctx or int(L.llama_model_n_ctx_train(self._model))
        params.n_batch = min(spec.n_batch, params.n_ctx)
        params.n_ubatch = min(spec.n_ubatch, params.n_batch)
        params.n_seq_max = 1
        params.kv_unified = True
        params.flash_attn_type = FLASH_ATTENTION[spec.flash_attn]
        params.type_k = KV_TYPES[spec.type_k]
        params.type_v = KV_TYPES[spec.type_v]
        params.offload_kqv = spec.offload_kqv
        params.n_threads = self.generation_threads.threads
        params.n_threads_batch = self.prompt_threads.threads
        params.rope_freq_base = spec.rope_freq_base
        params.rope_freq_scale = spec.rope_freq_scale
        self._context = L.llama_init_from_model(self._model, params)
        if self._context is None:
            raise LoadError(self._log.explain("the context could not be created"))
        self._memory = L.llama_get_memory(self._context)
        self.n_ctx = int(L.llama_n_ctx(self._context))
        self._n_batch = int(L.llama_n_batch(self._context))
        self._batch = L.llama_batch_init(self._n_batch, 0, 1)
        self._cancel.watch(self._context)
        drop_copied_pages(self._log, spec.path)
        self._warm_up()

    def _warm_up(self) -> None:
        """One token through the whole graph, so that the first answer does not pay for it."""
        token = self.vocab.bos if self.vocab.bos >= 0 else 0
        self._decode([token], 0)
        L.llama_memory_clear(self._memory, True)
        if self._cancel:
            raise Cancelled

    def describe(self, id: int) -> Loaded:
        """The ``loaded`` event for request ``id``."""
        n_layer = int(L.llama_model_n_layer(self._model))
        buffer = ctypes.create_string_buffer(256)
        L.llama_model_desc(self._model, buffer, len(buffer))
        template = L.llama_model_chat_template(self._model, None)
        gpu_layers, layers = self._log.offloaded or (0, n_layer + 1)
        return Loaded(
            id=id,
            description=buffer.value.decode("utf-8", "replace"),
            n_ctx=self.n_ctx,
            n_ctx_train=int(L.llama_model_n_ctx_train(self._model)),
            n_vocab=self.vocab.size,
            n_layer=n_layer,
            gpu_layers=gpu_layers,
            layers=layers,
            threads=self.generation_threads.threads,
            size=int(L.llama_model_size(self._model)),
            parameters=int(L.llama_model_n_params(self._model)),
            add_bos=self.vocab.add_bos,
            chat_template=template.decode("utf-8", "replace") if template else None,
            load_ms=self.load_ms,
            memory=memory_use(self._log),
        )

    # --- evaluating -------------------------------------------------------------------------------

    def evaluate(self, prompt: Sequence[int], progress: Callable[[int, int], None]) -> int:
        """Bring the cache to ``prompt`` and its last row of logits up to date.

        Args:
            progress: told tokens done and tokens to do, after each step.

        Returns:
            How many tokens of the prompt were in the cache already.

        Raises:
            Cancelled: the flag was set; what was evaluated stays in the cache.
        """
        reused = _common_prefix(self.tokens, prompt)
        # There are logits only for what is decoded now, so an exact hit replays its last token.
        self._truncate(min(reused, len(prompt) - 1))
        reused = len(self.tokens)
        todo = len(prompt) - reused
        done = 0
        chunk = min(self._n_batch, 64)
        while done < todo:
            if self._cancel:
                raise Cancelled
            piece = prompt[reused + done : reused + done + chunk]
            before = time.perf_counter()
            self._append(piece)
            seconds = time.perf_counter() - before
            self._set_threads(prompt=self.prompt_threads.note(seconds, len(piece)))
            done += len(piece)
            progress(done, todo)
            rate = len(piece) / max(seconds, 1e-6)
            chunk = max(32, min(self._n_batch, 2 * chunk, int(rate * CHUNK_SECONDS) // 32 * 32))
        return reused

    def append(self, token: int) -> None:
        """Decode one generated token.

        Raises:
            Cancelled: the flag was set while it was decoded.
        """
        before = time.perf_counter()
        self._append([token])
        seconds = time.perf_counter() - before
        self._set_threads(generation=self.generation_threads.note(seconds))

    @property
    def context(self) -> Any:
        """The llama_context, for the sampler chain."""
        return self._context

    def _append(self, tokens: Sequence[int]) -> None:
        result = self._decode(tokens, len(self.tokens))
        if result == 0:
            self.tokens.extend(tokens)
            return
        # Finished micro-batches stay in the cache and the interrupted one is removed: go by what
        # llama.cpp says is there.
        kept = int(L.llama_memory_seq_pos_max(self._memory, 0)) + 1
        self.tokens = [*self.tokens, *tokens][:kept]
        if result == 2 or self._cancel:
            raise Cancelled
        raise LoadError(self._log.explain(f"llama_decode returned {result}"))

    def _decode(self, tokens: Sequence[int], position: int) -> int:
        batch = self._batch
        batch.n_tokens = len(tokens)
        last = len(tokens) - 1
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == last
        return int(L.llama_decode(self._context, batch))

    def _truncate(self, length: int) -> None:
        if length < len(self.tokens):
            if not L.llama_memory_seq_rm(self._memory, 0, length, -1):
                L.llama_memory_clear(self._memory, True)
                length = 0
            del self.tokens[length:]

    def _set_threads(self, *, generation: int = 0, prompt: int = 0) -> None:
        wanted = (
            generation or self.generation_threads.threads,
            prompt or self.prompt_threads.threads,
        )
        if wanted != getattr(self, "_threads", None):
            self._threads = wanted
            L.llama_set_n_threads(self._context, *wanted)

    def close(self) -> None:
        """Free everything, in the order llama.cpp asks for."""
        if self._batch is not None:
            L.llama_batch_free(self._batch)
            self._batch = None
        if self._context is not None:
            L.llama_free(self._context)
            self._context = None
        if self._model is not None:
            L.llama_model_free(self._model)
            self._model = None


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))
