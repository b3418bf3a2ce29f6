"""A loaded model and its context: load with progress and cancel, evaluate, and reuse what stands.

Several sequences live in the one context (:mod:`corral.engine.llama.sequences`); one of them is the
current one. Their lists of token ids are the truth; everything else is asked of llama.cpp.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.llama.adapters import ActiveAdapters
from corral.engine.llama.batch import Batch
from corral.engine.llama.by_row import ByRow
from corral.engine.llama.cancel import CancelFlag as CancelFlag
from corral.engine.llama.cancel import Cancelled as Cancelled
from corral.engine.llama.cancel import LoadError as LoadError
from corral.engine.llama.computing import Computing
from corral.engine.llama.library import NativeLog, drop_copied_pages, memory_use
from corral.engine.llama.memory import KvCache
from corral.engine.llama.sequences import Live, Sequences
from corral.engine.llama.vocab import Vocab
from corral.engine.protocol import Adapter, Loaded, LoadSpec
from corral.engine.states.keys import stamp
from corral.engine.threads import NeighbourMeter

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

CELLS = 256
"""A context has a multiple of so many."""
CHUNK_SECONDS = {"cpu": 4.0, "gpu": 0.5}
"""How long one step of prompt evaluation should take. Processors stop in the middle of one and this
is the pace of the bar alone; everything else stops only between two."""
CHUNK_LEAST = {"cpu": 256, "gpu": 128}
"""Tokens a step is never smaller than: each reads all weights, and small ones are slower (measured
on one core, 7B Q4_K_M shape: 32 tokens 0.75 of the speed of 512, 64 0.89, 128 0.97, 256 1.00)."""

TILE = 16
"""Rows that repacked weights are multiplied with at once on x86. What is left over at the end of a
step is done four by four and one by one, which costs a multiple of it for each row (7B Q4_K_M, one
core, CPU time: 15 rows 2.42 s, 16 rows 1.74 s; 31 rows 3.89 s, 32 rows 3.24 s)."""
TILE_PAYS = 13
"""Rows left over that take longer than a whole tile."""

ROPE_SCALING = {
    "linear": L.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": L.LLAMA_ROPE_SCALING_TYPE_YARN,
}


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
        self.spec = spec
        self._log = log
        self._cancel = cancel
        self._context: Any = None
        self._adapters: ActiveAdapters | None = None
        self._live: Live | None = None
        self._rest: list[int] = []
        self._rate = 0.0
        """Tokens a second of prompt evaluation, as far as is known."""
        log.errors.clear()
        log.offloaded = None
        log.buffers.clear()
        meter = NeighbourMeter()
        self.stamp = stamp(Path(spec.path))
        """Of the files that are loaded: others may lie in their place by the time they are read."""
        self._model = self._load_model(progress)
        self._gpu_layers = (log.offloaded or (0, 0))[0]
        repacked = "CPU_REPACK" in log.buffers.get("weights", ())
        self._tiled = repacked and platform.machine().lower() in ("x86_64", "amd64")
        suspicious = meter.cores() > 0.25
        self.vocab = Vocab(L.llama_model_get_vocab(self._model))
        self.computing = Computing(spec, suspicious=suspicious)
        self.n_ctx = 0
        self.n_batch = 0
        """The most tokens of one :meth:`step`."""
        if not spec.vocab_only:
            try:
                self._make_context()
            except BaseException:
                self.close()
                raise
        self.load_ms = (time.perf_counter() - started) * 1000

    # --- loading ----------------------------------------------------------------------------------

    def _load_model(self, progress: Callable[[float], None]) -> Any:
        spec = self.spec
        params = L.llama_model_default_params()
        params.n_gpu_layers = spec.n_gpu_layers
        params.load_mode = LOAD_MODES[spec.load_mode]
        params.use_extra_bufts = spec.repack
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
        model = L.llama_model_load_from_file(self.spec.path.encode(), params)
        if model is None:
            if self._cancel:
                raise Cancelled
            raise LoadError(self._log.explain("llama.cpp gave no reason"))
        return model

    def _make_context(self) -> None:
        spec = self.spec
        params = L.llama_context_default_params()
        params.n_seq_max = spec.n_seq_max + 1  # The last one is for reading and writing states.
        # llama.cpp rounds the context up itself, but aborts where a batch has less than a row for
        # each sequence.
        n_ctx = spec.n_ctx or int(L.llama_model_n_ctx_train(self._model))
        params.n_ctx = -(-n_ctx // CELLS) * CELLS
        params.n_batch = min(max(spec.n_batch, params.n_seq_max), params.n_ctx)
        params.n_ubatch = min(spec.n_ubatch, params.n_batch)
        params.kv_unified = True
        params.flash_attn_type = FLASH_ATTENTION[spec.flash_attn]
        params.type_k = KV_TYPES[spec.type_k]
        params.type_v = KV_TYPES[spec.type_v]
        params.offload_kqv = spec.offload_kqv
        params.n_threads = self.computing.generation.threads
        params.n_threads_batch = self.computing.prompt.threads
        params.rope_freq_base = spec.rope_freq_base
        params.rope_freq_scale = spec.rope_freq_scale
        if spec.rope_scaling != "off":
            params.rope_scaling_type = ROPE_SCALING[spec.rope_scaling]
        by_row = ByRow()
        wide = {spec.type_k, spec.type_v} <= {"f16", "f32"}
        with by_row.noting() if spec.exact and wide else contextlib.nullcontext():
            self._context = L.llama_init_from_model(self._model, params)
        if self._context is None:
            raise LoadError(self._log.explain("the context could not be created"))
        self._adapters = ActiveAdapters(self._model, self._context, self._log)
        self.memory = L.llama_get_memory(self._context)
        self.n_ctx = int(L.llama_n_ctx(self._context))
        self.n_batch = int(L.llama_n_batch(self._context))
        self._batch = Batch(self.n_batch)
        self.sequences = Sequences(
            KvCache(self.memory), spec.n_seq_max, self.n_ctx, self.vocab.spell
        )
        self.computing.attach(self._context, by_row)
        fixed = not self._gpu_layers and (by_row.works or not wide)
        self.varies_with_cells = spec.exact and not fixed
        """Whether a row may be computed in another way when the cache is fuller."""
        self._cancel.watch(self._context)
        drop_copied_pages(self._log, spec.path)
        self._warm_up()

    def _warm_up(self) -> None:
        """One token through the whole graph, so that the first answer does not pay for it."""
        token = self.vocab.bos if self.vocab.bos >= 0 else 0
        before = time.perf_counter()
        L.llama_decode(self._context, self._batch.fill([token], 0, 0))
        # A first guess for the prompt: tokens share the reading of the weights.
        self._rate = 4 / max(time.perf_counter() - before, 1e-6)
        L.llama_memory_clear(self.memory, True)
        if self._cancel:
            raise Cancelled

    def describe(self, id: int) -> Loaded:
        """The ``loaded`` event for request ``id``."""
        n_layer = int(L.llama_model_n_layer(self._model))
        buffer = ctypes.create_string_buffer(256)
        L.llama_model_desc(self._model, buffer, len(buffer))
        template = L.llama_model_chat_template(self._model, None)
        return Loaded(
            id=id,
            description=buffer.value.decode("utf-8", "replace"),
            n_ctx=self.n_ctx,
            n_ctx_train=int(L.llama_model_n_ctx_train(self._model)),
            n_vocab=self.vocab.size,
            n_layer=n_layer,
            gpu_layers=self._gpu_layers,
            layers=n_layer + 1,
            threads=self.computing.generation.most,
            size=int(L.llama_model_size(self._model)),
            parameters=int(L.llama_model_n_params(self._model)),
            add_bos=self.vocab.add_bos,
            chat_template=template.decode("utf-8", "replace") if template else None,
            load_ms=self.load_ms,
            memory=memory_use(self._log),
        )

    # --- evaluating -------------------------------------------------------------------------------

    @property
    def tokens(self) -> list[int]:
        """What is evaluated of the current sequence, in order."""
        return self._live.tokens if self._live is not None else []

    def use_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Let exactly these be active from now on, and only what was evaluated with them be used.

        Raises:
            AdapterError: one of them could not be loaded; nothing changed.
        """
        assert self._adapters is not None
        self.sequences.adapters = self._adapters.use(adapters)

    def begin(self, prompt: Sequence[int], conversation: str = "") -> int:
        """Choose the sequence for a prompt; :meth:`evaluate` then does what is left of it.

        Returns:
            How many tokens of the prompt are in the cache already. They say the same as its
            beginning, but may be fewer or more than that has.
        """
        placed = self.sequences.place(prompt, conversation)
        self._live, self._rest = placed.live, placed.rest
        return len(placed.live.tokens)

    def evaluate(self, progress: Callable[[int, int], None]) -> None:
        """Evaluate what is left of the prompt, up to its row of logits.

        Args:
            progress: told tokens done and tokens to do, after each step; and before the first one
                where it takes its time.

        Raises:
            Cancelled: the flag was set; what was evaluated stays in the cache.
            LoadError: llama.cpp could not do it.
        """
        rest, done = self._rest, 0
        if len(rest) > CHUNK_LEAST["gpu"]:
            progress(0, len(rest))
        while done < len(rest):
            if self._cancel:
                raise Cancelled
            piece = rest[done : done + self._chunk(len(rest) - done)]
            self.computing.begin_prompt(len(piece))
            self._append(piece)
            seconds = self.computing.end()
            done += len(piece)
            if len(piece) >= 32:  # A short one tells about reading the weights, not about this.
                self._rate = len(piece) / max(seconds, 1e-6)
            progress(done, len(rest))

    def _chunk(self, left: int) -> int:
        """How many tokens the next step of prompt evaluation takes."""
        where = "gpu" if self._gpu_layers else "cpu"
        most = max(CHUNK_LEAST[where], int(self._rate * CHUNK_SECONDS[where]))
        most = min(most, self.n_batch)
        if left <= most:
            return left
        # Two halves are faster than a whole step and a small rest; and whole tiles than others.
        most = most if left >= 2 * most else -(-left // 2)
        return max(most - most % TILE, 1)

    def step(self, tokens: Sequence[int]) -> float:
        """Decode the last sampled token, and guesses behind it, with a row of logits for each.

        Row ``i`` is what follows ``tokens[i]``; guesses that turn out wrong are taken back by
        :meth:`rewind`.

        Returns:
            The seconds it took.

        Raises:
            Cancelled: the flag was set while it was decoded; no guess is left.
            LoadError: llama.cpp could not do it.
        """
        if len(tokens) == 1:
            return self.step_one(tokens[0])
        known = len(self.tokens)
        self.computing.begin_step(len(tokens))
        try:
            self._append(tokens, every_row=True)
        except Cancelled:
            self.rewind(max(0, len(self.tokens) - known - 1))
            raise
        return self.computing.end()

    def step_one(self, token: int) -> float:
        """The same for the last sampled token alone, with as little as can be done for it: between
        two tokens the processor's caches are full of weights, and each line takes microseconds."""
        live = self._live
        assert live is not None
        self.computing.begin_step(1)
        batch = self._batch.fill_one(token, len(live.tokens), live.id)
        result = int(L.llama_decode(self._context, batch))
        if result == 0:
            live.tokens.append(token)
        else:
            self._append((token,), result=result)
        return self.computing.end()

    def rewind(self, count: int) -> None:
        """Forget the last ``count`` tokens of the current sequence."""
        if count and self._live is not None:
            self.sequences.trim(self._live, len(self._live.tokens) - count)

    @property
    def context(self) -> Any:
        """The llama_context, for the sampler chain."""
        return self._context

    def logits(self, row: int = -1) -> bytes:
        """A copy of a row of the last step, one float32 for each token of the vocabulary; -1 is the
        last row."""
        pointer = L.llama_get_logits_ith(self._context, row)
        return ctypes.string_at(pointer, ctypes.sizeof(ctypes.c_float) * self.vocab.size)

    def _append(
        self, tokens: Sequence[int], *, every_row: bool = False, result: int | None = None
    ) -> None:
        """Decode behind the current sequence.

        Args:
            result: of the first try, where somebody had it already.
        """
        live = self._live
        assert live is not None
        known, idle = len(live.tokens), self._idle_rows(len(tokens))
        batch = self._batch.fill(tokens, known, live.id, every_row=every_row, idle=idle)
        if result is None:
            result = int(L.llama_decode(self._context, batch))
        while result == 1 and self.sequences.evict({live.id}):  # There was no free cell.
            result = int(L.llama_decode(self._context, batch))
        if idle:
            L.llama_memory_seq_rm(self.memory, live.id, known + len(tokens), -1)
        if result == 0:
            live.tokens.extend(tokens)
            return
        # Finished micro-batches stay in the cache and the interrupted one is removed: go by what
        # llama.cpp says is there.
        kept = int(L.llama_memory_seq_pos_max(self.memory, live.id)) + 1
        self.sequences.set_tokens(live, [*live.tokens, *tokens][:kept])
        if result == 2 or self._cancel:
            raise Cancelled
        raise LoadError(self._log.explain(f"llama_decode returned {result}"))

    def _idle_rows(self, rows: int) -> int:
        """How many rows more let a step be done sooner; none where there is no cell to spare."""
        idle = -rows % TILE
        if not self._tiled or idle > TILE - TILE_PAYS or rows + idle > self.n_batch:
            return 0
        return idle if self.sequences.used_cells + rows + idle <= self.n_ctx else 0

    def close(self) -> None:
        """Free everything, in the order llama.cpp asks for."""
        if self._context is not None:
            L.llama_free(self._context)
            self._context = None
        if self._adapters is not None:
            self._adapters.close()
            self._adapters = None
        if self._model is not None:
            L.llama_model_free(self._model)
            self._model = None
