"""Segments to token ids, the one tokenizing function of all formats, and ids back to text."""

from __future__ import annotations

import codecs
import ctypes
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import llama_cpp.llama_cpp as L

from corral.engine.protocol import Segment

_SENTENCEPIECE = 1
_ATTR_UNKNOWN = 1 << 0
_ATTR_UNUSED = 1 << 1
_ATTR_CONTROL = 1 << 3
_ATTR_USER_DEFINED = 1 << 4
_NOT_ORDINARY = _ATTR_UNKNOWN | _ATTR_UNUSED | _ATTR_CONTROL | _ATTR_USER_DEFINED


class Vocab:
    """The vocabulary of a loaded model; valid as long as the model is."""

    def __init__(self, vocab: Any) -> None:
        self.pointer = vocab
        self.size = int(L.llama_vocab_n_tokens(vocab))
        self.bos = int(L.llama_vocab_bos(vocab))
        self.eos = int(L.llama_vocab_eos(vocab))
        self.add_bos = bool(L.llama_vocab_get_add_bos(vocab))
        self.is_sentencepiece = L.llama_vocab_type(vocab) == _SENTENCEPIECE
        self._buffer = ctypes.create_string_buffer(256)
        self._spelled: dict[int, bytes | None] = {}
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        """What was asked before: between two tokens the caches are full of weights, and each call
        of a foreign function takes microseconds."""

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Ids of ``text`` on its own, without BOS or EOS around it.

        Lone surrogates, which no tokenizer knows, become U+FFFD.
        """
        data = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
        capacity = len(data) + 8
        while True:
            ids = (L.llama_token * capacity)()
            count = L.llama_tokenize(
                self.pointer, data, len(data), ids, capacity, False, parse_special
            )
            if count >= 0:
                return list(ids[:count])
            capacity = -count

    def encode(self, segments: Iterable[Segment]) -> list[int]:
        """Ids of a whole prompt.

        Only ``special`` and ``control`` segments can give control tokens. A ``special`` text that
        this vocabulary does not know as one token joins the text around it, as the model's own
        tokenizer would have done.
        """
        ids: list[int] = []
        text = ""
        for kind, value in segments:
            if kind == "text":
                text += value
                continue
            if kind == "special":
                found = self.tokenize(value, parse_special=True)
                if len(found) != 1:
                    text += value
                    continue
            elif value == "add_bos":
                found = [self.bos] if self.add_bos and self.bos >= 0 else []
            else:
                found = [self.bos if value == "bos" else self.eos]
            if text:
                ids += self.tokenize(text)
                text = ""
            ids += found
        if text:
            ids += self.tokenize(text)
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes of one token, which may be half a character; control tokens have none."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._native_piece(token)
        return found

    def _native_piece(self, token: int) -> bytes:
        count = L.llama_token_to_piece(
            self.pointer, token, self._buffer, len(self._buffer), 0, False
        )
        if count < 0:
            self._buffer = ctypes.create_string_buffer(-count)
            return self._native_piece(token)
        return self._buffer.raw[:count]

    def spell(self, token: int) -> bytes | None:
        """The bytes of an ordinary token; None for one with a meaning of its own."""
        if token not in self._spelled:
            special = L.llama_vocab_get_attr(self.pointer, token) & _NOT_ORDINARY
            self._spelled[token] = None if special else self.piece(token)
        return self._spelled[token]

    def text(self, token: int) -> str:
        """The name of a token as the file spells it, ``<s>`` for BOS; empty for no token."""
        if token < 0:
            return ""
        data: bytes = L.llama_vocab_get_text(self.pointer, token)
        return data.decode("utf-8", "replace")

    def ends(self, token: int) -> bool:
        """Whether the model says with this token that it is done."""
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(L.llama_vocab_is_eog(self.pointer, token))
        return found

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts of all control and user-defined tokens, longest first."""
        texts = set()
        for token in range(self.size):
            attr = L.llama_vocab_get_attr(self.pointer, token)
            if attr & (_ATTR_CONTROL | _ATTR_USER_DEFINED):
                texts.add(self.text(token))
        return tuple(sorted(texts, key=len, reverse=True))


class TextStream:
    """Bytes of tokens to whole characters, holding back what may become a stop text.

    Args:
        stop: texts that end the answer and are not part of it.
        strip_leading_space: drop the one space SentencePiece puts before the first word.
    """

    def __init__(self, stop: Sequence[str] = (), *, strip_leading_space: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._half = False
        """Whether the decoder waits for the rest of a character."""
        self._stop = tuple(text for text in stop if text)
        self._strip = strip_leading_space
        self._held = ""
        self.stopped = False
        """True once a stop text came; nothing is given out after that."""

    @property
    def unfinished(self) -> int:
        """Bytes of a character that is not whole yet."""
        return len(self._decoder.getstate()[0])

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """The characters that are certain by now; ``final`` also gives what was held back."""
        if self.stopped:
            return ""
        if data.isascii() and not self._half and not final:
            text = data.decode("ascii")
        else:
            text = self._decoder.decode(data, final=final)
            self._half = self.unfinished > 0
        if self._strip and text:
            text = text.removeprefix(" ")
            self._strip = False
        if not self._stop:
            return text
        text = self._held + text
        self._held = ""
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        if not final:
            keep = max(_overlap(text, stop) for stop in self._stop)
            if keep:
                text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
