"""Measures how fast each device multiplies, through ggml's own interface.

One token multiplies every matrix with one vector, and the memory sets the pace; a prompt multiplies
with many at once, and the arithmetic does. Small models wait for neither, but for the operations
themselves: so their fixed cost is measured, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator
from operator import truediv
from statistics import median
from typing import Any

from corral.engine.llama.library import devices, ggml
from corral.engine.llama.model import CancelFlag, Cancelled
from corral.engine.protocol import Device, Rates
from corral.engine.threads import usable_cores

TYPES = {
    "F16": 1, "Q8_0": 8, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7,
    "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "IQ4_NL": 20,
}  # fmt: skip
"""The tensor types of common files, and their numbers in ggml."""
_F32 = 0
WIDTH, ROWS = 2048, 2048
BATCH = 128
BEYOND_CACHE = 48 << 20
"""Bytes of weights that do not fit into a processor's cache. A graphics card's is measured out of
its memory with the same, for it has less cache and more speed."""
TINY, TINY_OPERATIONS = 64, 256
REPEATS = 2
ROUNDS = 2
LONG = 0.1
"""Seconds after which a run is not repeated: else engines without vectors take minutes."""
BYTE = 0x3C
"""Fills weights and vectors: as a number an an ordinary one in every type."""


_ByThreads = dict[int, tuple[float, ...]]
"""By the number of threads, the rates of one type: beyond the cache, within it, and of a prompt."""


class _Parameters(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


def measure(cancel: CancelFlag) -> tuple[Rates, ...]:
    """The rates of every device; of the processor with all cores, and with half of them.

    ggml's threads wait for each other, so beside busy neighbours fewer of them are faster, and the
    engine uses fewer then. Takes two to three seconds.

    Raises:
        Cancelled: the flag was set.
    """
    library = Ggml()
    found = []
    for index, device in enumerate(devices()):
        if device.kind in ("cpu", "gpu", "integrated"):
            with library.backend(index) as backend:
                found += _Measurement(library, backend, device, cancel).rates()
    return tuple(found)


class Ggml:
    """The functions used of libggml and libggml-base, which the binding does not cover."""

    def __init__(self) -> None:
        self._ggml, self._base = ggml()
        pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        wide = ctypes.c_int64
        self.dev_get = self._function(self._ggml, "ggml_backend_dev_get", pointer, size)
        of = self._base
        self.dev_init = self._function(of, "ggml_backend_dev_init", pointer, pointer, pointer)
        self.dev_reg = self._function(of, "ggml_backend_dev_backend_reg", pointer, pointer)
        self.dev_buft = self._function(of, "ggml_backend_dev_buffer_type", pointer, pointer)
        self.supports = self._function(
            of, "ggml_backend_dev_supports_op", ctypes.c_bool, pointer, pointer
        )
        self.proc = self._function(
            of, "ggml_backend_reg_get_proc_address", pointer, pointer, ctypes.c_char_p
        )
        self.free_backend = self._function(of, "ggml_backend_free", None, pointer)
        self.init = self._function(of, "ggml_init", pointer, _Parameters)
        self.free = self._function(of, "ggml_free", None, pointer)
        self.tensor = self._function(
            of, "ggml_new_tensor_2d", pointer, pointer, integer, wide, wide
        )
        self.mul_mat = self._function(of, "ggml_mul_mat", pointer, pointer, pointer, pointer)
        self.new_graph = self._function(
            of, "ggml_new_graph_custom", pointer, pointer, size, ctypes.c_bool
        )
        self.expand = self._function(of, "ggml_build_forward_expand", None, pointer, pointer)
        self.compute = self._function(of, "ggml_backend_graph_compute", integer, pointer, pointer)
        self.allocate = self._function(
            of, "ggml_backend_alloc_ctx_tensors_from_buft", pointer, pointer, pointer
        )
        self.clear = self._function(of, "ggml_backend_buffer_clear", None, pointer, ctypes.c_uint8)
        self.free_buffer = self._function(of, "ggml_backend_buffer_free", None, pointer)
        self.set = self._function(of, "ggml_backend_tensor_set", None, pointer, pointer, size, size)
        self.tensor_get = self._function(
            of, "ggml_backend_tensor_get", None, pointer, pointer, size, size
        )
        self.bytes = self._function(of, "ggml_nbytes", size, pointer)

    @staticmethod
    def _function(library: Any, name: str, result: Any, *arguments: Any) -> Any:
        function = library[name]
        function.restype, function.argtypes = result, list(arguments)
        return function

    @contextlib.contextmanager
    def backend(self, index: int) -> Iterator[Backend]:
        device = self.dev_get(index)
        handle = self.dev_init(device, None)
        if not handle:
            raise MemoryError("A device cannot be used for a probe")
        try:
            yield Backend(self, device, handle)
        finally:
            self.free_backend(handle)

    @contextlib.contextmanager
    def context(self) -> Iterator[Any]:
        """Room for the records of some thousand tensors, not for what is in them."""
        context = self.init(_Parameters(4 << 20, None, True))
        try:
            yield context
        finally:
            self.free(context)


class Backend:
    def __init__(self, library: Ggml, device: Any, handle: Any) -> None:
        self.device, self.handle = device, handle
        self._library = library
        self._reg = library.dev_reg(device)

    def set_threads(self, threads: int) -> None:
        if address := self._library.proc(self._reg, b"ggml_backend_set_n_threads"):
            kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
            kind(address)(self.handle, threads)

    def buffer_types(self) -> list[Any]:
        """Those for weights, in llama.cpp's order: rearranged for the processor, then plain."""
        found = []
        if address := self._library.proc(self._reg, b"ggml_backend_dev_get_extra_bufts"):
            kind = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
            extra = kind(address)(self.device)
            index = 0
            while extra and extra[index]:
                found.append(extra[index])
                index += 1
        return [*found, self._library.dev_buft(self.device)]


class _Measurement:
    def __init__(self, library: Ggml, backend: Backend, device: Device, cancel: CancelFlag) -> None:
        self._library, self._backend, self._device = library, backend, device
        self._cancel = cancel
        cores = usable_cores()
        self._threads = (cores, cores // 2) if device.kind == "cpu" and cores > 1 else (1,)
        self._data = ctypes.create_string_buffer(bytes([BYTE]) * (WIDTH * ROWS * 4))

    def rates(self) -> list[Rates]:
        """Raises: Cancelled."""
        # A neighbour's burst outlasts the repeats of one type, but not the way around all of them.
        rounds = [
            {name: rates for name, number in TYPES.items() if (rates := self._type(number))}
            for _ in range(ROUNDS)
        ]
        found = [self._rates(threads, rounds) for threads in self._threads]
        return [_without_bursts(found[0], found[-1]), *found[1:]]

    def _rates(self, threads: int, rounds: list[dict[str, _ByThreads]]) -> Rates:
        names = tuple(rounds[0])
        of = {name: [one[name][threads] for one in rounds] for name in names}
        decode, cached, prompt = (
            {name: max(values[kind] for values in of[name]) for name in names} for kind in range(3)
        )
        self._backend.set_threads(threads)
        return Rates(
            device=self._device.name,
            kind=self._device.kind,
            threads=threads,
            decode=decode,
            cached=cached,
            prompt=prompt,
            overhead=self._overhead(),
            scatter=median(
                max(values)[0] / min(values)[0] - 1 for values in (of[name] for name in names)
            ),
        )

    def _overhead(self) -> float:
        """Seconds of one operation among many tiny ones."""
        library = self._library
        with library.context() as context:
            weight = library.tensor(context, _F32, TINY, TINY)
            value = library.tensor(context, _F32, TINY, 1)
            graph = library.new_graph(context, 2 * TINY_OPERATIONS, False)
            for _ in range(TINY_OPERATIONS):
                value = library.mul_mat(context, weight, value)
                library.expand(graph, value)
            with self._filled(context, library.dev_buft(self._backend.device)):
                return self._time(graph, 4 * REPEATS) / TINY_OPERATIONS

    def _type(self, number: int) -> _ByThreads | None:
        """Rates of a tensor type: beyond the cache, within it, and of a prompt."""
        library = self._library
        for buffer_type in self._backend.buffer_types():
            with library.context() as outer, library.context() as inner:
                first = library.tensor(outer, number, WIDTH, ROWS)
                size = library.bytes(first)
                count = max(2, BEYOND_CACHE // size)
                others = [library.tensor(outer, number, WIDTH, ROWS) for _ in range(count)]
                vector = library.tensor(inner, _F32, WIDTH, 1)
                batch = library.tensor(inner, _F32, WIDTH, BATCH)
                sets = ((vector, others), (vector, [first] * 4), (batch, [first]))
                graphs = [self._graph(inner, values, matrices) for values, matrices in sets]
                plain = library.dev_buft(self._backend.device)
                with self._filled(inner, plain), self._placed(outer, buffer_type):
                    probe = library.mul_mat(inner, first, vector)
                    if not library.supports(self._backend.device, probe):
                        continue
                    for weight in (first, *others):
                        library.set(weight, self._data, 0, size)
                    operations = 2.0 * WIDTH * ROWS * BATCH
                    found = {}
                    for threads in self._threads:
                        self._backend.set_threads(threads)
                        seconds = [self._time(graph, REPEATS) for graph in graphs]
                        works = (count * size, 4 * size, operations)
                        found[threads] = tuple(map(truediv, works, seconds))
                    return found
        return None

    def _graph(self, context: Any, values: Any, matrices: list[Any]) -> Any:
        graph = self._library.new_graph(context, 2 * len(matrices) + 8, False)
        for matrix in matrices:
            self._library.expand(graph, self._library.mul_mat(context, matrix, values))
        return graph

    @contextlib.contextmanager
    def _placed(self, context: Any, buffer_type: Any) -> Iterator[None]:
        """Memory for what ``context`` describes."""
        buffer = self._library.allocate(context, buffer_type)
        if not buffer:
            raise MemoryError("No memory for a probe of " + self._device.name)
        self._buffer = buffer
        try:
            yield
        finally:
            self._library.free_buffer(buffer)

    @contextlib.contextmanager
    def _filled(self, context: Any, buffer_type: Any) -> Iterator[None]:
        with self._placed(context, buffer_type):
            self._library.clear(self._buffer, BYTE)
            yield

    def _time(self, graph: Any, repeats: int) -> float:
        """The fastest of some runs, after one that nobody counts unless it is long itself."""
        seconds = []
        for _ in range(repeats + 1):
            if self._cancel:
                raise Cancelled
            start = time.perf_counter()
            self._library.compute(self._backend.handle, graph)
            seconds.append(time.perf_counter() - start)
            if len(seconds) == 1 and seconds[0] > LONG:
                return seconds[0]
        return min(seconds[1:])


def _without_bursts(many: Rates, few: Rates) -> Rates:
    """More threads are never slower by themselves: where they seem so, a neighbour was busy.

    Such a type gets the rate of few threads, times what the others gained.
    """
    mended: dict[str, dict[str, float]] = {}
    for kind in ("decode", "cached", "prompt"):
        more: dict[str, float] = getattr(many, kind)
        less: dict[str, float] = getattr(few, kind)
        gain = max(1.0, median(more[name] / less[name] for name in more))
        mended[kind] = {
            name: rate if rate >= less[name] else less[name] * gain for name, rate in more.items()
        }
    return many.model_copy(update=mended)
