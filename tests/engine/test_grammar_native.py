"""llama.cpp takes every grammar that ours finds good, and allows the same texts."""

from __future__ import annotations

import ctypes
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L
import pytest
from tests.chat.test_grammar import ARITHMETIC
from tests.chat.test_schema import SCHEMAS
from tests.support.gguf_files import tiny_llama
from tests.support.grammars import draw
from tests.support.native import log

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.gbnf import read
from corral.chat.grammar.schema import compile_schema
from corral.chat.grammar.walk import begin, matches
from corral.engine.llama.cancel import CancelFlag
from corral.engine.llama.model import LlamaModel
from corral.engine.protocol import LoadSpec
from corral.presets import Presets

FIRST_BYTE = 3
"""The token of byte 0 in a SentencePiece vocabulary."""
# fmt: off
BITS = [
    '"a"', '"b\\n"', "[a-z]", "[^x]", "[a\\]\\-]", ".", "(", ")", "|", "*", "?", "+", "{2}",
    "{0,3}", "{1,}", " ", "\n", "# c\n", "x", "root", "y ::= ", '\nx ::= "q"\n',
    '\ny ::= x "z"\n', "{ 2 , 3 }", '"é"', '""', "[-a]", "[a-]", "\\", "[^日-本]", '"\\u00e9"',
]
# fmt: on


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tiny_llama(Path(tmp_path_factory.mktemp("vocab")) / "tiny.gguf")
    spec = LoadSpec(path=str(path), vocab_only=True)
    model = LlamaModel(spec, log(), lambda _: None, CancelFlag())
    yield model.vocab.pointer
    model.close()


def allowed(vocab: Any, grammar: str, text: str) -> bool:
    """Whether llama.cpp's grammar lets a text through, byte by byte, and it is whole then."""
    sampler = L.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
    assert sampler, f"llama.cpp refuses {grammar!r}"
    try:
        for token in (*(byte + FIRST_BYTE for byte in text.encode()), 2):
            record = L.llama_token_data(id=token, logit=1.0, p=0.0)
            array = L.llama_token_data_array()
            array.data, array.size = ctypes.pointer(record), 1
            array.selected, array.sorted = -1, False
            L.llama_sampler_apply(sampler, ctypes.byref(array))
            if record.logit != 1.0:
                return False
            if token != 2:
                L.llama_sampler_accept(sampler, token)
        return True
    finally:
        L.llama_sampler_free(sampler)


def test_a_repetition_that_is_repeated_allows_the_same(vocab: Any) -> None:
    for grammar in [
        'root ::= "a"{2}{3}', 'root ::= "a"?{2,3} "b"', 'root ::= "ab"{1,2}? "c"',
        'root ::= "a"{0,2}{2}{1,2} "b"', 'root ::= ("a" "b"?){2}{1,2}', 'root ::= "a"+? "b"',
    ]:  # fmt: skip
        ours = read(grammar)
        for count in range(9):
            for text in (unit * count + end for unit in ("a", "ab") for end in ("", "b", "c")):
                assert matches(ours, text) == allowed(vocab, grammar, text), (grammar, text)


def test_grammars_made_of_schemas_and_presets_allow_the_same(vocab: Any) -> None:
    chance = random.Random(5)
    grammars = [compile_schema(json.dumps(schema)).grammar for schema in SCHEMAS]
    grammars += [one.form()[0] for one in Presets().all() if one.answer == "schema"]
    for grammar in [*grammars, ARITHMETIC]:
        for most in (0, 15, 400):
            text = draw(grammar, chance, most)
            assert allowed(vocab, grammar, text), (grammar, text)
            assert not allowed(vocab, grammar, text + "\x01")


def test_whatever_grammar_ours_finds_good_llama_cpp_takes(vocab: Any) -> None:
    chance = random.Random(7)
    good = 0
    for _ in range(4000):
        body = "".join(chance.choice(BITS) for _ in range(chance.randint(1, 9)))
        rest = chance.choice(["", '\nx ::= "q"', '\nx ::= "w"\ny ::= x "z"'])
        grammar = f"root ::= {body}{rest}"
        try:
            begin(grammar)
        except GrammarError:
            continue
        good += 1
        text = draw(grammar, chance, 20)
        assert allowed(vocab, grammar, text), (grammar, text)
    assert good > 300
