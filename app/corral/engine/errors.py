"""What a worker's answers and ends mean for a person."""

from __future__ import annotations

import re
from pathlib import Path

from corral.engine import protocol
from corral.engine.process import WorkerEnded, signal_of
from corral.errors import EngineError, UsageError

_LOG_BYTES = 64 * 1024
"""As much of the log's end is looked at: llama.cpp says why it gives up in its last lines."""

_NO_MEMORY = re.compile(
    r"out of memory|(failed|unable) to allocate|cannot allocate memory|bad_alloc|MemoryError"
    r"|ErrorOutOf\w*Memory|insufficient memory|alloc_tensor_range: failed",
    re.IGNORECASE,
)


class EngineStopped(EngineError):
    """The request was stopped on request; nothing is wrong."""

    title = "Stopped"


class OutOfMemory(EngineError):
    """A model could not be loaded because some memory was too small for it.

    Attributes:
        killed: the worker did not survive it.
    """

    title = "Not enough memory"

    def __init__(self, message: str, *, hint: str = "", killed: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.killed = killed


def from_failed(failed: protocol.Failed) -> EngineError | UsageError:
    """The error of a request that the worker could not carry out."""
    message = " ".join(failed.message.split())
    if failed.code == "stopped":
        return EngineStopped("Stopped")
    if failed.code == "template":
        return UsageError(
            f"The chat template of this file cannot be used: {message}",
            title="Template refused",
            hint="Choose another prompt format for this model.",
        )
    if failed.code == "load":
        return EngineError(
            f"The model could not be loaded: {message}",
            title="Not loaded",
            hint="The engine log says more.",
        )
    if failed.code == "device":
        return EngineError(message, title="The device failed", hint="The engine log says more.")
    if failed.code == "adapter":
        return EngineError(
            message, title="Adapter not loaded", hint="/adapter takes it off; the log says more."
        )
    return EngineError(f"The engine failed: {message}", hint="The engine log says more.")


def while_loading(error: EngineError, log: Path, start: int) -> EngineError:
    """The same error, or :class:`OutOfMemory` where that was the reason.

    Args:
        log: what llama.cpp wrote, together with all other workers.
        start: where the log ended when this load began, in bytes.
    """
    ended = error.code if isinstance(error, WorkerEnded) else None
    killed = ended is not None and signal_of(ended) == "SIGKILL"
    if not killed and not _NO_MEMORY.search(_since(log, start)):
        return error
    reason = "the system ended the engine" if ended is not None else "llama.cpp got too little"
    return OutOfMemory(
        f"Memory ran out while the model was loaded: {reason}",
        hint="Choose a smaller context, a smaller quantization or a smaller model; "
        "the engine log says more.",
        killed=ended is not None,
    )


def _since(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(start, end - _LOG_BYTES) if start <= end else 0)
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
