"""Whether two models share a vocabulary, from their files alone, and as llama.cpp judges it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.support.gguf_files import Gguf, spm_vocabulary, string_array, tiny_llama, u32

from corral.errors import NotFound, Refused
from corral.models.fit.drafts import compatible
from corral.models.gguf.header import read_header


def changed(path: Path, source: Path, **values: bytes) -> Path:
    """``source`` with other values in its ``tokenizer.ggml`` keys."""
    model = Gguf.read(source)
    for key, payload in values.items():
        model.set(f"tokenizer.ggml.{key}", payload)
    return model.write(path)


def tokens_of(source: Path) -> list[bytes]:
    return [text.encode() for text, _, _ in spm_vocabulary()]


def test_the_same_vocabulary_in_another_quantization(starter: Path, q8: Path) -> None:
    assert compatible(read_header(starter), read_header(q8)) == ""


def test_another_kind_of_tokenizer(starter: Path, tmp_path: Path) -> None:
    tiny = tiny_llama(tmp_path / "tiny.gguf")
    reason = compatible(read_header(starter), read_header(tiny))
    assert reason == "it splits text into tokens by SentencePiece, not by byte-pair encoding"


def test_another_size(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(400)]
    many = tiny_llama(tmp_path / "many.gguf", vocab=words)
    few = tiny_llama(tmp_path / "few.gguf", vocab=words[:200])
    nearly = tiny_llama(tmp_path / "nearly.gguf", vocab=words[:300])
    assert compatible(read_header(many), read_header(few)) == (
        "its vocabulary has 459 tokens, not 659"
    )
    # As for Llama 2's own relatives, which pad their vocabularies.
    assert compatible(read_header(many), read_header(nearly)) == ""
    assert compatible(read_header(nearly), read_header(many)) == ""


def test_other_texts(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "tiny.gguf")
    texts = tokens_of(source)
    texts[300] = b"\xe2\x96\x81elsewhere"
    other = changed(tmp_path / "other.gguf", source, tokens=string_array(texts))
    assert compatible(read_header(source), read_header(other)).startswith(
        "its token 300 is “▁elsewhere”, not “"
    )


def test_the_first_tokens_may_be_spelled_differently(tmp_path: Path) -> None:
    source = tiny_llama(tmp_path / "tiny.gguf")
    texts = tokens_of(source)
    texts[0] = b"<pad>"
    other = changed(tmp_path / "other.gguf", source, tokens=string_array(texts))
    assert compatible(read_header(source), read_header(other)) == ""


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("eos_token_id", u32(3), "its tokens for the beginning and the end have other numbers"),
        ("bos_token_id", u32(4), "its tokens for the beginning and the end have other numbers"),
        ("add_bos_token", struct.pack("<IB", 7, 0), "it begins or ends a text with other tokens"),
        ("add_eos_token", struct.pack("<IB", 7, 1), "it begins or ends a text with other tokens"),
    ],
)
def test_other_ends(tmp_path: Path, key: str, value: bytes, reason: str) -> None:
    source = tiny_llama(tmp_path / "tiny.gguf")
    other = changed(tmp_path / "other.gguf", source, **{key: value})
    assert compatible(read_header(source), read_header(other)) == reason


def test_a_file_that_says_nothing_of_its_ends_has_the_usual_ones(tmp_path: Path) -> None:
    """As Llama 2 files do that leave out what is llama.cpp's default."""
    source = tiny_llama(tmp_path / "tiny.gguf")
    model = Gguf.read(source)
    for key in ("bos_token_id", "eos_token_id", "add_bos_token"):
        model.remove(f"tokenizer.ggml.{key}")
    other = model.write(tmp_path / "other.gguf")
    assert compatible(read_header(source), read_header(other)) == ""


def test_a_file_that_is_gone_or_was_cut(tmp_path: Path) -> None:
    source = read_header(tiny_llama(tmp_path / "tiny.gguf"))
    other = read_header(tiny_llama(tmp_path / "other.gguf", seed=1))
    other.path.write_bytes(other.path.read_bytes()[:2000])
    with pytest.raises(Refused, match="cannot be read any more"):
        compatible(source, other)
    other.path.unlink()
    with pytest.raises(NotFound):
        compatible(source, other)
