"""Memory: what a model needs, what this machine has, and what would fit instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from corral.engine.protocol import LoadSpec
from corral.errors import DoesNotFit, Refused, UsageError
from corral.models.gguf.header import Header
from corral.models.gguf.types import TENSOR_TYPES
from corral.text import shorten
from corral.units import gigabytes, thousands

DEFAULT_CONTEXT = 4096
"""Tokens of context where nobody asks for more: what Llama 2 was trained on."""
CONTEXT_STEP = 256
"""llama.cpp rounds the context up to a multiple of this."""
STRETCH = 8
"""How many times the trained window RoPE scaling may reach: nothing usable was reported beyond."""
LONGEST_CONTEXT = 1 << 24
"""More than any model was trained on; a file may claim whatever fits into 32 bits."""
PROCESS_BYTES = 105_000_000
"""The worker besides what it loads: 37 MB of Python and llama.cpp, the vocabulary, and the pages of
the file that are mapped beside those in use, for the page cache deals in larger pieces."""

_TYPES = {entry.name.lower(): entry for entry in TENSOR_TYPES.values()}
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, by what they are for."""

    weights: int
    kv: int
    compute: int
    process: int
    draft: int = 0
    """All that a draft model takes beside it."""

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.process + self.draft


class Sizes(Protocol):
    """What memory depends on; headers and :class:`corral.models.fit.shape.Shape` have it."""

    @property
    def n_layer(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_head(self) -> int: ...
    @property
    def n_head_kv(self) -> int: ...
    @property
    def head_dim_k(self) -> int: ...
    @property
    def head_dim_v(self) -> int: ...
    @property
    def n_ff(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def tensor_bytes(self) -> int: ...


Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """How one file fits this machine; sizes in bytes."""

    name: str
    n_ctx: int
    kv_type: str
    """``f16``, or ``q8_0/f16`` where keys and values differ."""
    bytes: Memory
    device_bytes: Mapping[str, int]
    """What it would take, by device; ``CPU`` is the machine's memory."""
    free_bytes: Mapping[str, int]
    fits: Literal["gpu", "partial", "cpu", "no"]
    gpu_layers: int
    """How many of ``layers`` would be on graphics cards; the output layer counts."""
    layers: int
    tokens_per_second: Range | None
    """None where it does not fit at all, also not in place of another model."""
    first_token_ms: Range | None
    """Of a prompt of 512 tokens."""
    quality_loss: float | None
    """Percent of perplexity over the unquantized model, where somebody measured it."""
    measured: bool
    """This very file was run with so many layers on cards: the range is of those runs."""
    reason: str
    """One plain sentence."""
    fits_if_released: bool = False
    """Whether it would if the models in memory were let go."""
    missing: int = 0
    """What is short, those given back counted in."""

    def record(self) -> dict[str, Any]:
        """As ``models fit --json`` prints it."""
        return asdict(self) | {
            "bytes": asdict(self.bytes) | {"total": self.bytes.total},
            "tokens_per_second": list(self.tokens_per_second) if self.tokens_per_second else None,
            "first_token_ms": list(self.first_token_ms) if self.first_token_ms else None,
        }


def context_for(header: Header, wanted: int) -> int:
    """Tokens of context to load with, a multiple of 256.

    Args:
        wanted: what the person asked for; 0 is what the model was trained on, at most 4,096.

    Raises:
        UsageError: the model was not trained on so many tokens.
    """
    return context_of(header.context_length, wanted, header.path.stem)


def context_of(trained: int, wanted: int, name: str) -> int:
    """As :func:`context_for`, of a model that was trained on so many tokens.

    Raises:
        UsageError: fewer than are wanted.
    """
    trained = min(trained, LONGEST_CONTEXT)
    if wanted > trained:
        stretched = ""
        if wanted <= STRETCH * trained:
            stretched = f", or stretch it: /window {wanted} yarn, or --ctx {wanted} --rope yarn"
        raise UsageError(
            f"A context of {thousands(wanted)} tokens is more than the {thousands(trained)} "
            f"that “{shorten(name, 60)}” was trained on",
            title="Context too large",
            hint=f"Ask for at most {thousands(trained)} tokens{stretched}",
        )
    tokens = wanted or min(trained, DEFAULT_CONTEXT)
    return tokens + -tokens % CONTEXT_STEP


def memory_needed(
    header: Sizes,
    n_ctx: int,
    type_k: str = "f16",
    type_v: str = "f16",
    n_ubatch: int = 512,
    *,
    flash_attn: bool = True,
    draft: Header | None = None,
) -> Memory:
    """What a loaded model takes in all, mapped weights included.

    How many conversations stay warm makes no difference: they share one pool of ``n_ctx`` cells.

    Args:
        type_k, type_v: of the KV cache, by llama.cpp's names.
        n_ubatch: tokens evaluated in one step.
        flash_attn: without it the attention scores of a whole step are kept.
        draft: the small model that guesses ahead in the same process.
    """
    return Memory(
        weights=header.tensor_bytes,
        kv=n_ctx * kv_bytes_per_token(header, type_k, type_v),
        compute=_compute_bytes(header, n_ctx, min(n_ubatch, n_ctx), flash_attn),
        process=PROCESS_BYTES,
        draft=draft_bytes(draft, n_ctx, type_k, type_v, n_ubatch) if draft else 0,
    )


def draft_bytes(
    draft: Header, n_ctx: int, type_k: str = "f16", type_v: str = "f16", n_ubatch: int = 512
) -> int:
    """What a draft model takes in all: it reads what the large one reads, in a cache of the same
    types, but no more than it was trained on."""
    n_ctx = min(n_ctx, draft.context_length + -draft.context_length % CONTEXT_STEP)
    kv = n_ctx * kv_bytes_per_token(draft, type_k, type_v)
    return draft.tensor_bytes + kv + _compute_bytes(draft, n_ctx, min(n_ubatch, n_ctx), True)


def kv_bytes_per_token(header: Sizes, type_k: str = "f16", type_v: str = "f16") -> int:
    """Bytes of the KV cache for one token of context: 512 KiB for Llama 2 7B in f16."""
    return header.n_layer * (
        _row_bytes(type_k, header.n_head_kv * header.head_dim_k)
        + _row_bytes(type_v, header.n_head_kv * header.head_dim_v)
    )


def _row_bytes(type: str, elements: int) -> int:
    kind = _TYPES[type]
    return -(-elements // kind.block) * kind.bytes


def _compute_bytes(header: Sizes, n_ctx: int, step: int, flash_attn: bool) -> int:
    """llama.cpp's compute buffer on a CPU.

    It reuses memory from one operation to the next, so the widest place in the graph counts: the
    logits, the feed-forward part, or attention without flash attention. The factors are fitted to
    what llama.cpp reports for 135M, 1.1B, 7B, 13B and 70B at several contexts, and agree with all
    of it within 5 %.
    """
    usual = compute_bytes(header.vocab_size, header.n_embd, header.n_ff, n_ctx, step)
    if flash_attn:
        return usual
    embedding = header.n_embd * step * 4
    values = header.n_head_kv * header.head_dim_v * step * 4
    attention = (header.n_head + 1) * n_ctx * step * 4 + 5 * embedding + 2 * values
    return max(usual, attention)


def compute_bytes(vocab_size: int, n_embd: int, n_ff: int, n_ctx: int, step: int = 512) -> int:
    """The compute buffer with flash attention, for ``step`` tokens at a time."""
    embedding = n_embd * step * 4
    logits = vocab_size * step * 4 + 2 * embedding
    feed_forward = 4 * embedding + 3 * n_ff * step * 4 + n_ctx * step * 2
    return max(logits, feed_forward)


def check(
    header: Header,
    spec: LoadSpec,
    available: int,
    *,
    name: str = "",
    draft: Header | None = None,
) -> None:
    """Refuses a load that memory does not suffice for, before any native code runs.

    Args:
        available: bytes, as :func:`available_memory` says.
        name: what to call the model; else the name of its file.
        draft: the small model that is loaded with it.

    Raises:
        Refused: the file has no weights.
        DoesNotFit: with the two numbers, and a hint that says what would fit.
        UsageError: as :func:`context_for`.
    """
    if not header.tensor_bytes:
        raise Refused(
            f"{shorten(name or header.path.stem, 60)} holds a vocabulary, but no weights",
            title="Not a usable model file",
            hint="corral ask --dry-run can count and show a prompt with it",
        )
    stretched = spec.rope_scaling != "off"
    n_ctx = spec.n_ctx if stretched else context_for(header, spec.n_ctx)
    needed = _needed(header, spec, n_ctx, spec.type_k, spec.type_v)
    if draft is not None:
        needed += draft_bytes(draft, n_ctx, spec.type_k, spec.type_v, spec.n_ubatch)
    if needed <= available:
        return
    what = shorten(name or header.path.stem, 60) + (" and its draft model" if draft else "")
    raise DoesNotFit(
        f"{what} with {thousands(n_ctx)} tokens of context {'need' if draft else 'needs'} "
        f"{gigabytes(needed)}, "
        f"{gigabytes(available)} are free",
        title="Not enough memory",
        hint=_what_would_fit(header, spec, n_ctx, available),
    )


def _needed(header: Header, spec: LoadSpec, n_ctx: int, type_k: str, type_v: str) -> int:
    flash_attn = spec.flash_attn != "off"
    return memory_needed(header, n_ctx, type_k, type_v, spec.n_ubatch, flash_attn=flash_attn).total


def _what_would_fit(header: Header, spec: LoadSpec, n_ctx: int, available: int) -> str:
    low, high = 0, n_ctx // CONTEXT_STEP
    while low + 1 < high:
        middle = (low + high) // 2
        fits = _needed(header, spec, middle * CONTEXT_STEP, spec.type_k, spec.type_v) <= available
        low, high = (middle, high) if fits else (low, middle)
    offers = []
    if low:
        offers.append(f"{thousands(low * CONTEXT_STEP)} tokens of context")
    # A quantized value cache exists only with flash attention.
    wide = {spec.type_k, spec.type_v} & {"f16", "bf16", "f32"} and spec.flash_attn != "off"
    if wide and _needed(header, spec, n_ctx, "q8_0", "q8_0") <= available:
        offers.append("a q8_0 KV cache")
    if not offers:
        return "Close other applications, or choose a smaller quantization or a smaller model"
    sentence = " or ".join(offers) + " would fit"
    return sentence[0].upper() + sentence[1:]


def available_memory(control_groups: Path = _CONTROL_GROUPS, own_groups: Path = _OWN_GROUPS) -> int:
    """Bytes that can be used without swapping; in a container no more than its limit leaves."""
    available: int = psutil.virtual_memory().available
    return min([available, *_group_limits(control_groups, own_groups)])


def _group_limits(control_groups: Path, own_groups: Path) -> list[int]:
    """What each memory limit on this process leaves, in both versions of Linux's control groups."""
    try:
        lines = own_groups.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    left = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            root, files = control_groups, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            root = control_groups / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        # Every group above sets a limit too. Inside a container the path is often the host's,
        # and only the root of the mounted tree exists.
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            if folder == root or root in folder.parents:
                left += _left_in_group(folder, *files)
    return left


def _left_in_group(folder: Path, limit_file: str, usage_file: str, prefix: str) -> list[int]:
    limit, usage = _read_number(folder / limit_file), _read_number(folder / usage_file)
    if limit is None or usage is None:
        return []
    # Cached file pages count as used, and are given back as soon as they are needed: also those
    # that were read twice, as a model is that was verified and then loaded.
    return [max(0, limit - usage + _cached(folder / "memory.stat", prefix))]


def _read_number(path: Path) -> int | None:
    """None where there is no such file, or no limit (``max``)."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cached(path: Path, prefix: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    keys = (f"{prefix}inactive_file", f"{prefix}active_file")
    return sum(int(line.split()[1]) for line in lines if line.startswith(keys))
