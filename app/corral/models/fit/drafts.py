"""Whether a small model can guess ahead for a large one: their tokens must mean the same.

The worker asks llama.cpp again once both are loaded (:mod:`corral.engine.llama.draft_model`); this
answers before, from the two files, so that nobody waits for a model that is then refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from corral.errors import Refused
from corral.models.gguf.checks import TOKEN_BYTES, TOKENS
from corral.models.gguf.header import Header, open_model
from corral.models.gguf.reader import STRING_BYTES, Reader, Unusable, Value, read_contents
from corral.text import shorten
from corral.units import thousands

MOST_MORE = 128
"""Tokens by which the two vocabularies may differ in size; llama.cpp's speculative.cpp."""
FIRST_COMPARED = 5
"""Tokens before this one may be spelled differently; the same source."""

_KINDS = {"llama": "SentencePiece", "gpt2": "byte-pair encoding"}
_ENDS = {"llama": (1, 2), "gpt2": (11, 11)}
"""Numbers of the tokens for beginning and end where a file does not say; llama.cpp's."""


def compatible(target: Header, draft: Header) -> str:
    """Why ``draft`` cannot guess ahead for ``target``, in plain words; empty where it can.

    The conditions are llama.cpp's. Reads both vocabularies where the headers alone do not tell:
    about a tenth of a second.

    Raises:
        NotFound: one of the files is gone.
        Refused: one of them cannot be read any more.
    """
    if target.tokenizer_model != draft.tokenizer_model:
        own, other = (
            _KINDS.get(header.tokenizer_model, shorten(header.tokenizer_model, 20))
            for header in (draft, target)
        )
        return f"it splits text into tokens by {own}, not by {other}"
    if target.add_bos != draft.add_bos or _adds_end(target) != _adds_end(draft):
        return "it begins or ends a text with other tokens"
    if _ends(target) != _ends(draft):
        return "its tokens for the beginning and the end have other numbers"
    if abs(target.vocab_size - draft.vocab_size) > MOST_MORE:
        sizes = f"{thousands(draft.vocab_size)} tokens, not {thousands(target.vocab_size)}"
        return f"its vocabulary has {sizes}"
    pairs = zip(_vocabulary(target), _vocabulary(draft), strict=False)
    for token, (theirs, own_text) in enumerate(pairs):
        if token >= FIRST_COMPARED and theirs != own_text:
            words = (shorten(text.decode("utf-8", "replace"), 20) for text in (own_text, theirs))
            return "its token {} is “{}”, not “{}”".format(token, *words)
    return ""


def _ends(header: Header) -> tuple[object, object]:
    bos, eos = _ENDS.get(header.tokenizer_model, (-1, -1))
    known = header.metadata
    return (
        known.get("tokenizer.ggml.bos_token_id", bos),
        known.get("tokenizer.ggml.eos_token_id", eos),
    )


def _adds_end(header: Header) -> bool:
    return bool(header.metadata.get("tokenizer.ggml.add_eos_token", False))


def _vocabulary(header: Header) -> list[bytes]:
    """The text of every token."""
    collected = _Vocabulary()
    with open_model(header.path) as (file, status):
        try:
            read_contents(Reader(file, status.st_size), collected)
        except (Unusable, OSError):
            message = f"“{shorten(header.path.name, 80)}” cannot be read any more"
            raise Refused(message, hint="Look whether the file is still there and whole") from None
    return collected.tokens


class _Vocabulary:
    """Keeps the texts of the tokens while a header is read; the header was checked before."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []

    def value(self, key: str, value: Value) -> None:
        """Nothing to look at."""

    def text_limit(self, key: str) -> int:
        return TOKEN_BYTES if key == TOKENS else STRING_BYTES

    def texts(self, key: str, batches: Iterator[list[bytes]]) -> None:
        for batch in batches:
            if key == TOKENS:
                self.tokens += batch
