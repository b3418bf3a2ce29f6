"""What the engine reports about devices, memory and speed; the base of all messages."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    # Validators are built when first used: not before the first frame.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Device(Model):
    """A device ggml can compute on; memory in bytes."""

    name: str
    description: str
    kind: Literal["cpu", "gpu", "integrated", "accelerator", "other"]
    memory_free: int
    memory_total: int


class MemoryUse(Model):
    """What one loaded model takes, in bytes, as llama.cpp and the system report it."""

    weights: dict[str, int] = Field(default_factory=dict)
    """By llama.cpp's name of the buffer: ``CPU_Mapped``, ``CPU_REPACK``, ``CUDA0`` …"""
    kv: dict[str, int] = Field(default_factory=dict)
    compute: dict[str, int] = Field(default_factory=dict)
    output: dict[str, int] = Field(default_factory=dict)
    resident: int = 0
    """Of the whole process after the warm-up, mapped weights included."""


class Rates(Model):
    """How fast one device computes, as a short probe measured it."""

    device: str
    """ggml's name, as in :class:`Device`."""
    kind: Literal["cpu", "gpu", "integrated", "accelerator", "other"]
    threads: int
    decode: dict[str, float]
    """Bytes of weights a second with one token, by tensor type, out of main memory."""
    cached: dict[str, float]
    """The same where the weights fit into the processor's cache."""
    prompt: dict[str, float]
    """Floating point operations a second with a batch of tokens, by tensor type."""
    overhead: float
    """Seconds of one operation that has next to nothing to do."""
    scatter: float = 0.0
    """Relative spread of the probe's own repeats."""
