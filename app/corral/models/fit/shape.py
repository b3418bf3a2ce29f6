"""The numbers of a model that decide about memory and speed, from its header or the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.models.catalog import Family, File
from corral.models.gguf.header import Header
from corral.models.gguf.types import TENSOR_TYPES

Types = Mapping[str, int]
"""Bytes by tensor type."""

KINDS = {entry.name: entry for entry in TENSOR_TYPES.values()}
_DEFAULT_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes in elements, weights in bytes."""

    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int
    n_ff: int
    vocab_size: int
    context_length: int
    """Tokens the model was trained on."""
    tensor_bytes: int
    """Of all weights."""
    input: Types
    """The table of embeddings, of which each token reads one row. It stays with the processor."""
    layers: tuple[Types, ...]
    output: Types
    """The output matrix; a copy of the embeddings where the file has none of its own."""
    quant: str

    @classmethod
    def of_header(cls, header: Header) -> Shape:
        """From a file that is here, or whose header was fetched."""
        layers = [header.types.get(str(index), {}) for index in range(header.n_layer)]
        output = header.types.get("output", {})
        places = (header.types.get("input", {}), *layers, output)
        if sum(sum(place.values()) for place in places) != header.tensor_bytes:
            places = ()  # Somebody asks about another file of the same model.
        return cls._made(
            header, header.quant, header.vocab_size, header.tensor_bytes, places,
            context=header.context_length,
            heads=(header.head_dim_k, header.head_dim_v),
        )  # fmt: skip

    @classmethod
    def of_family(cls, family: Family, file: File) -> Shape:
        """From the catalogue's numbers alone."""
        head = family.n_embd // family.n_head
        size = file.bytes or round(file.gigabytes * 1e9)
        return cls._made(
            family, file.quant, family.n_vocab, size, (),
            context=family.context or _DEFAULT_CONTEXT,
            heads=(head, head),
        )  # fmt: skip

    @classmethod
    def _made(
        cls,
        of: Header | Family,
        quant: str,
        n_vocab: int,
        size: int,
        places: tuple[Types, ...],
        *,
        context: int,
        heads: tuple[int, int],
    ) -> Shape:
        places = places or _places(of, quant, n_vocab, size, sum(heads))
        table, *layers, output = places
        if sum(output.values()) < sum(table.values()) / 16:  # Nothing but its norm.
            output = {**output, **table}
        return cls(
            n_layer=of.n_layer,
            n_embd=of.n_embd,
            n_head=of.n_head,
            n_head_kv=of.n_head_kv,
            head_dim_k=heads[0],
            head_dim_v=heads[1],
            n_ff=of.n_ff,
            vocab_size=n_vocab,
            context_length=context,
            tensor_bytes=size,
            input=table,
            layers=tuple(layers),
            output=output,
            quant=quant,
        )

    @property
    def read_bytes(self) -> int:
        """Weights that every token reads."""
        return sum(sum(place.values()) for place in (*self.layers, self.output))


_EXTRA: dict[str, dict[str, str]] = {
    "Q2_K": dict.fromkeys(("v", "o", "gate", "up", "down"), "Q3_K"),
    "Q3_K_M": {"v": "Q4_K", "down": "Q4_K", "o": "Q4_K"},
    "Q3_K_L": {"v": "Q5_K", "down": "Q5_K", "o": "Q5_K"},
}
_MORE = {"Q4_K_M": "Q6_K", "Q5_K_M": "Q6_K"}


def _places(
    of: Header | Family, quant: str, n_vocab: int, size: int, heads: int
) -> tuple[Types, ...]:
    """Where the bytes are by llama.cpp's mixes of September 2023, scaled to the file's size.

    Releases differ in a few layers. The sum is right in any case, and no layer is far from it.
    """
    base = _base(quant)
    kv = of.n_head_kv * heads // 2
    parts = {
        "q": of.n_embd * (heads // 2) * of.n_head, "k": of.n_embd * kv, "v": of.n_embd * kv,
        "o": of.n_embd * (heads // 2) * of.n_head,
        "gate": of.n_embd * of.n_ff, "up": of.n_embd * of.n_ff, "down": of.n_embd * of.n_ff,
    }  # fmt: skip
    table = of.n_embd * n_vocab
    places = [_bytes({base: table})]
    for layer in range(of.n_layer):
        elements: dict[str, int] = {"F32": 2 * of.n_embd}
        for part, count in parts.items():
            type = _EXTRA.get(quant, {}).get(part, base)
            if quant in _MORE and part in ("v", "down") and _more(layer, of.n_layer):
                type = _MORE[quant]
            elements[type] = elements.get(type, 0) + count
        places.append(_bytes(elements))
    last = base if base in ("Q8_0", "F16", "BF16", "F32") else "Q6_K"
    places.append(_bytes({last: table, "F32": of.n_embd}))
    factor = size / sum(sum(place.values()) for place in places)
    return tuple({type: round(count * factor) for type, count in place.items()} for place in places)


def _base(quant: str) -> str:
    names = [quant, quant.rsplit("_", 1)[0]]
    return next((name for name in names if name in KINDS), "Q4_K")


def _more(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2


def _bytes(elements: Mapping[str, int]) -> dict[str, int]:
    return {
        type: -(-count // KINDS[type].block) * KINDS[type].bytes for type, count in elements.items()
    }
