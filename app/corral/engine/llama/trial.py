"""Has every device compute a little, as any model would: a library that loads may still not run.

One built for a newer processor ends the process here, with an illegal instruction, and a driver
that is there but does not work says so. It takes some milliseconds, and on graphics cards as long
as they need to wake up.
"""

from __future__ import annotations

import ctypes
import math

from corral.engine.llama.library import devices
from corral.engine.llama.probe import BYTE, TYPES, Backend, Ggml
from corral.engine.protocol import Device

WIDTH, ROWS, BATCH = 256, 32, 32
_F32 = 0
_VALUE = ctypes.c_float.from_buffer_copy(bytes([BYTE]) * 4).value
_EXPECTED = WIDTH * _VALUE * _VALUE


class TrialError(Exception):
    """A device cannot be used, or computes something else; the text says which."""


def attempt() -> tuple[Device, ...]:
    """The devices, after each of them multiplied with every tensor type that it knows.

    Raises:
        TrialError: one of them did not, or its result is wrong.
    """
    library = Ggml()
    found = devices()
    for index, device in enumerate(found):
        if device.kind in ("cpu", "gpu", "integrated"):
            try:
                with library.backend(index) as backend:
                    for name, number in (("F32", _F32), *TYPES.items()):
                        _multiply(library, backend, device, name, number)
            except MemoryError as error:
                raise TrialError(f"{device.name} cannot be used: {error}") from None
    return found


def _multiply(library: Ggml, backend: Backend, device: Device, name: str, number: int) -> None:
    """With one token and with a batch, which take different ways; the first buffer that will do."""
    plain = library.dev_buft(backend.device)
    for buffer_type in backend.buffer_types():
        with library.context() as outer, library.context() as inner:
            weight = library.tensor(outer, number, WIDTH, ROWS)
            columns = [library.tensor(inner, _F32, WIDTH, count) for count in (1, BATCH)]
            products = [library.mul_mat(inner, weight, column) for column in columns]
            graph = library.new_graph(inner, 16, False)
            for product in products:
                library.expand(graph, product)
            buffers = []
            try:
                for context, kind in ((outer, buffer_type), (inner, plain)):
                    buffers.append(library.allocate(context, kind))
                    if not buffers[-1]:
                        raise TrialError(f"{device.name} has no memory for the smallest matrix")
                if not all(library.supports(backend.device, product) for product in products):
                    continue
                size = library.bytes(weight)
                library.set(weight, bytes([BYTE]) * size, 0, size)
                for column in columns:
                    size = library.bytes(column)
                    library.set(column, bytes([BYTE]) * size, 0, size)
                if library.compute(backend.handle, graph):
                    raise TrialError(f"{device.name} could not multiply {name}")
                result = (ctypes.c_float * (ROWS * BATCH))()
                for product, count in zip(products, (ROWS, ROWS * BATCH), strict=True):
                    library.tensor_get(product, result, 0, 4 * count)
                    _compare(device, name, result[:count], exact=number == _F32)
            finally:
                for buffer in buffers:
                    if buffer:
                        library.free_buffer(buffer)
        return


def _compare(device: Device, name: str, values: list[float], *, exact: bool) -> None:
    good = all(map(math.isfinite, values)) and (
        not exact or all(abs(value / _EXPECTED - 1) < 0.01 for value in values)
    )
    if not good:
        raise TrialError(f"{device.name} computes wrong results with {name}")
