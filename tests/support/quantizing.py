"""Other quantizations of a model file, made by llama.cpp itself in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILE_TYPES = {
    "Q4_0": 2,
    "Q8_0": 7,
    "Q2_K": 10,
    "Q3_K_M": 12,
    "Q4_K_M": 15,
    "Q5_K_M": 17,
    "Q6_K": 18,
}

_PROGRAM = """
import ctypes, sys
import llama_cpp.llama_cpp as L
log = L.llama_log_callback(lambda *a: None)
L.llama_log_set(log, None)
L.llama_backend_init()
parameters = L.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread, parameters.allow_requantize = int(sys.argv[3]), 2, True
source, target = sys.argv[1].encode(), sys.argv[2].encode()
sys.exit(L.llama_model_quantize(source, target, ctypes.byref(parameters)))
"""


def quantize(source: Path, target: Path, quant: str) -> Path:
    """Write ``source`` in another quantization; quality is lost where it was quantized before."""
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(source), str(target), str(FILE_TYPES[quant])],
        check=True,
        timeout=120,
    )
    return target
