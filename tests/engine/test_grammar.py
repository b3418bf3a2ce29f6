"""Answers that follow a grammar, by real models: every one of them parses and satisfies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.conftest import load
from tests.support.gguf_files import tiny_llama
from tests.support.json_schema import satisfies

from corral.chat.grammar.gbnf import read
from corral.chat.grammar.schema import compile_schema
from corral.chat.grammar.walk import matches
from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Finished, Sampling, Segment
from corral.errors import EngineError
from corral.presets import Presets

NOISE = Sampling(temperature=1.5, top_p=1.0)


async def prompt(engine: Engine, text: str) -> tuple[int, ...]:
    segments: list[Segment] = [("control", "add_bos"), ("text", text)]
    return tuple(await engine.tokenize(segments))


async def answer(
    engine: Engine, tokens: Sequence[int], sampling: Sampling, max_tokens: int = 0, **rest: Any
) -> tuple[str, Finished]:
    text, finished = "", None
    async for event in engine.generate(tokens, sampling, max_tokens=max_tokens, **rest):
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Finished):
            finished = event
    assert finished is not None
    return text, finished


def with_grammar(grammar: str, seed: int, base: Sampling = NOISE) -> Sampling:
    return base.model_copy(update={"grammar": grammar, "seed": seed})


async def test_a_model_with_random_weights_keeps_every_form(engine: Engine, tmp_path: Path) -> None:
    await load(engine, tiny_llama(tmp_path / "tiny.gguf", seed=3), n_ctx=512)
    tokens = await prompt(engine, "hello llama")
    presets = [Presets().get(name) for name in ("sentiment", "entities", "extract")]
    presets.append(Presets().get("classify").with_labels(["spam", "not spam", "“a” \\ ü"]))
    most = 60
    for preset in presets:
        grammar = preset.form(most)[0]
        for seed in range(40):
            text, finished = await answer(engine, tokens, with_grammar(grammar, seed), most)
            assert finished.usage.completion_tokens <= most
            assert matches(read(grammar), text), text
            if preset.schema:
                assert satisfies(json.loads(text), json.loads(preset.schema)), text
            else:
                assert text in preset.labels


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
async def test_the_starter_keeps_a_form_in_every_way_of_sampling(
    engine: Engine, starter: Path, temperature: float
) -> None:
    await load(engine, starter, n_ctx=512)
    schema = {
        "type": "object",
        "properties": {
            "capital": {"type": "string", "maxLength": 20},
            "rivers": {
                "type": "array",
                "items": {"type": "string", "maxLength": 12},
                "maxItems": 2,
            },
            "size": {"type": "integer", "minimum": 10, "maximum": 99},
        },
        "required": ["capital", "size"],
    }
    grammar = compile_schema(json.dumps(schema)).grammar
    tokens = await prompt(engine, "As JSON, the capital, rivers and size of France:\n")
    ways: list[dict[str, Any]] = [
        {},
        {"top_k": 5},
        {"repeat_penalty": 1.2},
        {"logit_bias": {28: -50.0, 10: 4.0}},
    ]
    for seed, more in enumerate(ways):
        base = Sampling.model_validate({"temperature": temperature} | more)
        text, _ = await answer(engine, tokens, with_grammar(grammar, seed, base), 80)
        assert satisfies(json.loads(text), schema), text


async def test_what_is_allowed_anyway_is_not_changed_by_a_grammar(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter, n_ctx=512)
    tokens = await prompt(engine, "Once upon a time")
    plain = Sampling(temperature=0, seed=1)
    free, _ = await answer(engine, tokens, plain, 24, strip_leading_space=False)
    loose = with_grammar("root ::= [^\\x00]*", 1, plain)
    formed, _ = await answer(engine, tokens, loose, 24)
    assert formed == free and len(free) > 20


async def test_an_answer_ends_by_itself_where_its_grammar_does(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter, n_ctx=512)
    tokens = await prompt(engine, "Is the sky blue? Answer yes or no.\n")
    grammar = 'root ::= "yes" | "no"'
    text, finished = await answer(engine, tokens, with_grammar(grammar, 1))
    assert text in ("yes", "no") and finished.stop_reason == "end"
    assert finished.usage.completion_tokens <= 3


async def test_an_answer_that_ran_out_of_tokens_is_closed(engine: Engine, starter: Path) -> None:
    await load(engine, starter, n_ctx=512)
    tokens = await prompt(engine, "Write JSON about llamas:\n")
    schema = {"type": "object", "properties": {"text": {"minLength": 40}, "n": {"type": "null"}},
              "required": ["text", "n"]}  # fmt: skip
    grammar = compile_schema(json.dumps(schema)).grammar
    for most in (1, 2, 3, 7):
        text, finished = await answer(engine, tokens, with_grammar(grammar, most), most)
        assert finished.stop_reason == "length"
        assert finished.usage.completion_tokens == most
        assert satisfies(json.loads(text), schema), text


async def test_stop_texts_and_leading_spaces_of_a_format_do_not_cut_a_form(
    engine: Engine, tmp_path: Path
) -> None:
    await load(engine, tiny_llama(tmp_path / "tiny.gguf"), n_ctx=512)
    tokens = await prompt(engine, "hello")
    sampling = with_grammar('root ::= " USER: yes"', 1)
    text, _ = await answer(engine, tokens, sampling, 60, stop=("USER:",))
    assert text == " USER: yes"


async def test_a_grammar_of_characters_that_the_vocabulary_lacks_ends_and_closes(
    engine: Engine, tmp_path: Path
) -> None:
    await load(engine, tiny_llama(tmp_path / "tiny.gguf"), n_ctx=512)
    tokens = await prompt(engine, "hello")
    for grammar in ('root ::= "日本語" [а-я]{3}', "root ::= [\\U0001F600-\\U0001F64F]{4}"):
        for seed in range(5):
            text, _ = await answer(engine, tokens, with_grammar(grammar, seed), 40)
            assert matches(read(grammar), text), text


async def test_broken_utf_8_never_gets_into_a_form(engine: Engine, tmp_path: Path) -> None:
    """llama.cpp reads overlong and cut characters as if they were whole ones."""
    await load(engine, tiny_llama(tmp_path / "tiny.gguf", seed=9), n_ctx=512)
    tokens = await prompt(engine, "llama")
    # Only the byte tokens: printable ASCII is forbidden.
    grammar = "root ::= [^\\x00-\\x7F]{6}"
    for seed in range(20):
        text, _ = await answer(engine, tokens, with_grammar(grammar, seed), 40)
        assert "\ufffd" not in text or text.count("\ufffd") + len(text) < 12
        assert matches(read(grammar), text), text


async def test_a_bad_grammar_is_one_failed_answer_and_the_engine_goes_on(
    engine: Engine, tmp_path: Path
) -> None:
    await load(engine, tiny_llama(tmp_path / "tiny.gguf"), n_ctx=512)
    tokens = await prompt(engine, "hello")
    for grammar in ('root ::= "a', "root ::= root", 'a ::= "b"', "root ::= x"):
        with pytest.raises(EngineError, match="grammar"):
            await answer(engine, tokens, with_grammar(grammar, 1))
    text, _ = await answer(engine, tokens, with_grammar('root ::= "still here"', 1))
    assert text == "still here"
    exploding = 'root ::= "a" root "b" | "a" root "c" | "a"'
    text, _ = await answer(engine, tokens, with_grammar(exploding, 4), 60)
    assert text.startswith("a")


async def test_nothing_is_guessed_ahead_where_a_grammar_holds(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter, n_ctx=512)
    tokens = await prompt(engine, "a b c d e f a b c d e f a b c d e f a b c d")
    sampling = with_grammar("root ::= [a-f ]{30}", 1, Sampling(temperature=0))
    _, finished = await answer(engine, tokens, sampling, 40)
    assert finished.drafted == 0
