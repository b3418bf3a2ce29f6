"""ggml's tensor types, llama.cpp's names for the mixes of them, and GGUF's value types, as tables.

Sources: ``ggml.h``, ``llama.h`` and the constants of the ``gguf`` package, at the llama.cpp commit
that the pinned engine is built from.
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class TensorType(NamedTuple):
    """Elements are stored in blocks; a row is a whole number of them."""

    name: str
    block: int
    """Elements in a block."""
    bytes: int
    """Bytes of a block."""


# fmt: off
TENSOR_TYPES: dict[int, TensorType] = {
    number: TensorType(name, block, size)
    for number, name, block, size in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (30, "BF16", 1, 2), (28, "F64", 1, 8),
        (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8),
        (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 40),
        (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (22, "IQ2_S", 256, 82),
        (18, "IQ3_XXS", 256, 98), (21, "IQ3_S", 256, 110), (19, "IQ1_S", 256, 50),
        (29, "IQ1_M", 256, 56), (20, "IQ4_NL", 32, 18), (23, "IQ4_XS", 256, 136),
        (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
    )
}

FILE_TYPES: dict[int, str] = {
    0: "F32", 1: "F16", 32: "BF16",
    2: "Q4_0", 3: "Q4_1", 8: "Q5_0", 9: "Q5_1", 7: "Q8_0",
    10: "Q2_K", 21: "Q2_K_S", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M",
    16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 28: "IQ2_S", 29: "IQ2_M", 22: "IQ3_XS", 23: "IQ3_XXS",
    26: "IQ3_S", 27: "IQ3_M", 24: "IQ1_S", 31: "IQ1_M", 25: "IQ4_NL", 30: "IQ4_XS",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
}
"""``general.file_type`` (llama.cpp's ``llama_ftype``) to the name people know."""
# fmt: on

GUESSED_FILE_TYPE = 1024
"""Flag in ``general.file_type``: llama.cpp derived it from the tensors."""


class ValueType(NamedTuple):
    name: str
    code: struct.Struct | None
    """How a number of this type is packed; None for strings and arrays."""


_SCALARS = {
    0: ("uint8", "<B"),
    1: ("int8", "<b"),
    2: ("uint16", "<H"),
    3: ("int16", "<h"),
    4: ("uint32", "<I"),
    5: ("int32", "<i"),
    6: ("float32", "<f"),
    7: ("bool", "<B"),
    10: ("uint64", "<Q"),
    11: ("int64", "<q"),
    12: ("float64", "<d"),
}

VALUE_TYPES: dict[int, ValueType] = {
    **{number: ValueType(name, struct.Struct(code)) for number, (name, code) in _SCALARS.items()},
    8: ValueType("string", None),
    9: ValueType("array", None),
}
UINT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
