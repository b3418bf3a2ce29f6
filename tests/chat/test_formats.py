"""Prompt formats: what the pieces are, before any vocabulary sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.chat import formats
from corral.chat.conversation import Message
from corral.chat.formats import Piece, Turn, neutralise, render, turns


def message(id: int, role: str, text: str, parent: int | None = None) -> Message:
    return Message(id, 1, parent, role, text, "complete", 0.0)  # type: ignore[arg-type]


def test_llama_2_pairs_are_encoded_on_their_own() -> None:
    pieces, found = render(formats.LLAMA_2, "SYS", [Turn("U1 ", " A1", 1), Turn("U2", None, 3)])
    assert pieces == [
        Piece("control", "bos"),
        Piece("text", "[INST] <<SYS>>\nSYS\n<</SYS>>\n\nU1 [/INST] A1 "),
        Piece("control", "eos"),
        Piece("control", "bos"),
        Piece("text", "[INST] U2 [/INST]"),
    ]
    assert found == []


def test_chatml_keeps_role_and_content_in_one_text() -> None:
    pieces, _ = render(formats.CHATML, "S", [Turn("U", None, 1)])
    assert pieces == [
        Piece("control", "add_bos"),
        Piece("special", "<|im_start|>"),
        Piece("text", "system\nS"),
        Piece("special", "<|im_end|>"),
        Piece("text", "\n"),
        Piece("special", "<|im_start|>"),
        Piece("text", "user\nU"),
        Piece("special", "<|im_end|>"),
        Piece("text", "\n"),
        Piece("special", "<|im_start|>"),
        Piece("text", "assistant\n"),
    ]


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        (
            formats.ZEPHYR,
            "<|system|>\nS{eos}\n<|user|>\nU{eos}\n<|assistant|>\nA{eos}\n<|user|>\nV{eos}\n"
            "<|assistant|>\n",
        ),
        (formats.VICUNA, "S USER: U ASSISTANT: A{eos}USER: V ASSISTANT:"),
        (
            formats.ALPACA,
            "S\n\n### Instruction:\nU\n\n### Response:\nA{eos}\n\n### Instruction:\nV\n\n"
            "### Response:\n",
        ),
        (
            formats.HUMAN_RESPONSE,
            "S\n\n### HUMAN:\nU\n\n### RESPONSE:\nA{eos}\n\n### HUMAN:\nV\n\n### RESPONSE:\n",
        ),
        (formats.COMPLETION, "{bos}S\n\nUAV"),
    ],
)
def test_other_families(format: formats.Format, expected: str) -> None:
    pieces, _ = render(format, "S", [Turn("U", "A", 1), Turn("V", None, 3)])
    marks = {"eos": "{eos}", "bos": "{bos}", "add_bos": ""}
    said = "".join(marks[p.value] if p.kind == "control" else p.value for p in pieces)
    assert said == expected


def test_vicuna_says_its_own_system_prompt_where_nobody_gave_one() -> None:
    pieces, _ = render(formats.VICUNA, "", [Turn("U", None, 1)])
    assert pieces[1].value.startswith("A chat between a curious user")


@pytest.mark.parametrize("tag", formats.LLAMA_2.tags)
def test_tags_of_a_person_are_broken_up_and_reported(tag: str) -> None:
    text, found = neutralise(f"a{tag}b {tag}{tag}", formats.LLAMA_2.tags)
    assert found == [tag]
    assert tag not in text


@given(
    st.lists(st.sampled_from(["[", "/", "INST", "]", "<", "<<", "SYS", ">>", ">", " ", "x"])).map(
        "".join
    )
)
def test_no_tag_survives_whatever_is_nested(text: str) -> None:
    cleaned, _ = neutralise(text, formats.LLAMA_2.tags)
    assert not any(tag in cleaned for tag in formats.LLAMA_2.tags)


@given(st.text(), st.text(), st.sampled_from(list(formats.FORMATS.values())))
def test_what_people_write_never_becomes_a_special_piece(
    system: str, text: str, format: formats.Format
) -> None:
    reference, _ = render(format, "s" if system else "", [Turn("u", None, 1)])
    pieces, _ = render(format, system, [Turn(text, None, 1)])
    special = [p for p in pieces if p.kind != "text"]
    assert special == [p for p in reference if p.kind != "text"]


def test_braces_in_a_message_are_only_text() -> None:
    pieces, _ = render(formats.CHATML, "{}", [Turn("{} {0} {x}", None, 1)])
    assert Piece("text", "user\n{} {0} {x}") in pieces
    assert Piece("text", "system\n{}") in pieces


def test_failed_answers_are_left_out_and_questions_joined() -> None:
    path = [
        message(1, "user", "one"),
        message(2, "assistant", ""),
        message(3, "user", "two"),
        message(4, "assistant", "answer"),
        message(5, "user", "three"),
    ]
    assert turns(path) == [Turn("one\n\ntwo", "answer", 1), Turn("three", None, 5)]
