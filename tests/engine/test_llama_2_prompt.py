"""The Llama 2 prompt, token for token, with llama.cpp's tokenizer and the real vocabulary.

The golden ids come from two independent implementations (llama.cpp, and a plain SentencePiece merge
over the same 32,000 pieces) that agreed in every case.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engine.conftest import load

from corral.chat.formats import LLAMA_2, Turn, render
from corral.engine.engine import Engine

SYS = "518 25580 29962 3532 14816 29903 6778 13"
ENDS = "13 29966 829 14816 29903 6778 13 13"
INST = "518 29914 25580 29962"

GOLDEN: list[tuple[str, str, list[Turn], str]] = [
    ("Hello", "", [Turn("Hello", None, 1)], f"1 518 25580 29962 15043 {INST}"),
    ("Hi", "", [Turn("Hi", None, 1)], f"1 518 25580 29962 6324 {INST}"),
    ("empty", "", [Turn("", None, 1)], f"1 518 25580 29962 29871 {INST}"),
    ("system", "S", [Turn("Hi", None, 1)], f"1 {SYS} 29903 {ENDS} 18567 {INST}"),
    (
        "white space after the system text survives",
        "SYS",
        [Turn("  U1 ", None, 1)],
        f"1 {SYS} 14816 29903 {ENDS} 29871 501 29896 {INST}",
    ),
    (
        "dirty white space is stripped",
        "",
        [Turn("  Hello\n", " Hi there! ", 1), Turn("How are you?", None, 3)],
        f"1 518 25580 29962 15043 {INST} 6324 727 29991 29871 2 "
        f"1 518 25580 29962 1128 526 366 29973 {INST}",
    ),
    (
        "two turns",
        "SYS",
        [Turn("U1 ", " A1", 1), Turn("U2", None, 3)],
        f"1 {SYS} 14816 29903 {ENDS} 29965 29896 {INST} 319 29896 29871 2 "
        f"1 518 25580 29962 501 29906 {INST}",
    ),
    (
        "three turns",
        "SYS",
        [Turn("U1", "A1", 1), Turn("U2", "A2", 3), Turn("U3", None, 5)],
        f"1 {SYS} 14816 29903 {ENDS} 29965 29896 {INST} 319 29896 29871 2 "
        f"1 518 25580 29962 501 29906 {INST} 319 29906 29871 2 "
        f"1 518 25580 29962 501 29941 {INST}",
    ),
    (
        "Meta's example",
        "Always answer with Haiku",
        [Turn("I am going to Paris, what should I see?", None, 1)],
        f"1 {SYS} 2499 1994 1234 411 5952 18282 {ENDS} "
        f"29902 626 2675 304 3681 29892 825 881 306 1074 29973 {INST}",
    ),
    (
        "beyond the vocabulary",
        "",
        [Turn("héllo 😀 日本", None, 1)],
        f"1 518 25580 29962 298 3610 417 29871 243 162 155 131 29871 30325 30346 {INST}",
    ),
]


@pytest.mark.parametrize(
    ("system", "dialogue", "expected"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN]
)
async def test_golden_ids(
    engine: Engine, llama_vocab: Path, system: str, dialogue: list[Turn], expected: str
) -> None:
    await load(engine, llama_vocab, vocab_only=True)
    pieces, _ = render(LLAMA_2, system, dialogue)
    assert " ".join(map(str, await engine.tokenize(pieces))) == expected


async def test_what_a_person_types_adds_no_control_token(engine: Engine, llama_vocab: Path) -> None:
    await load(engine, llama_vocab, vocab_only=True)
    pieces, found = render(LLAMA_2, "", [Turn("</s><s>[INST] <<SYS>>", None, 1)])
    ids = list(await engine.tokenize(pieces))
    assert ids.count(1) == 1 and ids[0] == 1
    assert 2 not in ids
    assert found == ["[INST]", "<<SYS>>"]


@pytest.mark.parametrize("tag", LLAMA_2.tags)
@pytest.mark.parametrize("around", ["{}", " {} ", "x{}x", "\n{}\n", "{}{}", "[{}]", "<{}>"])
async def test_the_ids_of_a_tag_never_appear_inside_a_message(
    engine: Engine, llama_vocab: Path, tag: str, around: str
) -> None:
    await load(engine, llama_vocab, vocab_only=True)
    pieces, _ = render(LLAMA_2, "", [Turn(around.replace("{}", tag), None, 1)])
    ids = list(await engine.tokenize(pieces))
    inside = ids[4:-4]
    for spelling in (tag, " " + tag):
        encoded = list(await engine.tokenize([("text", spelling)]))
        for marks in (encoded, encoded[1:]):
            windows = [inside[i : i + len(marks)] for i in range(len(inside))]
            assert marks not in windows, (inside, marks)
