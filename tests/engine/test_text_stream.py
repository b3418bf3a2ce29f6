"""Bytes of tokens to text: whole characters, and nothing of a stop text."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from corral.engine.llama.vocab import TextStream


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(borders)]


@given(st.text(), st.lists(st.integers(0, 60), max_size=8))
def test_any_cut_gives_the_same_text(text: str, cuts: list[int]) -> None:
    text = text.encode("utf-8", "ignore").decode()
    stream = TextStream()
    out = "".join(stream.feed(piece) for piece in pieces(text.encode(), cuts))
    assert out + stream.feed(b"", final=True) == text


@given(st.text("ab</s>U:", max_size=40), st.lists(st.integers(0, 60), max_size=8))
def test_nothing_from_a_stop_text_on_gets_out(text: str, cuts: list[int]) -> None:
    stops = ("</s>", "U:")
    stream = TextStream(stops)
    out = "".join(stream.feed(piece) for piece in pieces(text.encode(), cuts))
    out += stream.feed(b"", final=True)
    first = min((text.find(s) for s in stops if s in text), default=len(text))
    assert out == text[:first]
    assert stream.stopped == (first < len(text))


def test_half_a_character_at_the_end_is_marked() -> None:
    stream = TextStream()
    assert stream.feed(b"caf\xc3") == "caf"
    assert stream.feed(b"", final=True) == "\ufffd"


def test_only_the_first_space_is_stripped() -> None:
    stream = TextStream(strip_leading_space=True)
    assert stream.feed(b"") + stream.feed(b"  Hi") + stream.feed(b" there") == " Hi there"
