"""Which catalogue model would suit this machine best, from the catalogue's numbers alone."""

from __future__ import annotations

from typing import Any

from corral.models.catalog import Catalog, Family, File
from corral.models.fit import DEFAULT_CONTEXT, PROCESS_BYTES, compute_bytes
from corral.units import gigabytes, thousands

SHARE = 0.85
"""Of the free memory: the rest stays for the browser that is open, too."""

VOCABULARY = 32_000
"""Tokens in the vocabulary of all Llama 2 models."""


def recommend(catalog: Catalog, available: int) -> dict[str, Any] | None:
    """The largest Llama 2 chat model whose recommended file fits the free memory.

    A larger model in its recommended quantization answers better than a smaller one in a finer
    one. Gives ``{name, bytes, reason}``, or None where not even the smallest file fits.
    """
    families = [
        family
        for family in catalog.families.values()
        if family.format == "llama-2" and family.kind == "chat"
    ]
    families.sort(key=lambda family: family.n_embd, reverse=True)
    candidates = [(family, file) for family in families for file in _by_preference(family)[:1]]
    candidates += [(family, file) for family in families for file in _by_preference(family)[1:]]
    for family, file in candidates:
        needed = memory(family, file)
        if needed <= SHARE * available:
            return {
                "name": f"{family.name}:{file.quant}",
                "bytes": needed,
                "reason": f"{family.title} needs {gigabytes(needed)} with "
                f"{thousands(family.context or DEFAULT_CONTEXT)} tokens of context, "
                f"{gigabytes(available)} are free",
            }
    return None


def memory(family: Family, file: File) -> int:
    """Bytes of weights, f16 KV cache, compute buffer and process, at the family's context."""
    n_ctx = min(family.context or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    kv = n_ctx * family.n_layer * 2 * 2 * family.n_head_kv * (family.n_embd // family.n_head)
    compute = compute_bytes(VOCABULARY, family.n_embd, family.n_ff, n_ctx)
    return (file.bytes or int(file.gigabytes * 1e9)) + kv + compute + PROCESS_BYTES


def _by_preference(family: Family) -> list[File]:
    """The recommended file, then the smaller ones from large to small."""
    files = {file.quant: file for file in family.files}
    best = files[family.recommended]
    smaller = [file for file in family.files if file.gigabytes < best.gigabytes]
    return [best, *sorted(smaller, key=lambda file: -file.gigabytes)]
