"""What is not evaluated twice: turns, branches and conversations in a real context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from tests.engine.conftest import load
from tests.engine.test_engine import GREEDY, answer
from tests.support.gguf_files import tiny_llama

from corral.chat.formats import CHATML, LLAMA_2, Format, Turn, render
from corral.engine.engine import Engine
from corral.engine.protocol import Finished, Sampling

BEYOND = 4
"""Tokens a prompt may evaluate beyond what is new in it."""


class Talk:
    """Conversations with one engine that remember what they said."""

    def __init__(
        self, engine: Engine, format: Format, sampling: Sampling, system: str = ""
    ) -> None:
        self.engine = engine
        self.format = format
        self.sampling = sampling
        self.system = system

    async def prompt(self, *turns: tuple[str, str | None]) -> list[int]:
        dialogue = [Turn(user, said, 1) for user, said in turns]
        return list(await self.engine.tokenize(render(self.format, self.system, dialogue)[0]))

    async def say(self, *turns: tuple[str, str | None], **options: object) -> tuple[str, Finished]:
        options = {"max_tokens": 24, **options}
        return await answer(self.engine, await self.prompt(*turns), self.sampling, **options)

    async def new(self, past: Sequence[tuple[str, str | None]], question: str) -> int:
        """Tokens of a following question and of what ends the answer before it."""
        whole = await self.prompt(*past, (question, None))
        *before, (user, said) = past
        asked = await self.prompt(*before, (user, None))
        spoken = await self.engine.tokenize([("text", f" {said}" if said else "")])
        return len(whole) - len(asked) - len(spoken)


async def turns(talk: Talk, count: int) -> list[tuple[str, str | None]]:
    """A conversation in which every turn is checked for what it evaluated."""
    past: list[tuple[str, str | None]] = []
    for number in range(count):
        question = f"And what about number {number}?"
        text, finished = await talk.say(*past, (question, None))
        usage = finished.usage
        assert usage.prompt_tokens == usage.reused_tokens + usage.evaluated_tokens
        if past:
            assert usage.evaluated_tokens <= await talk.new(past, question) + BEYOND
        past.append((question, text))
    return past


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many words that it says at random: where only tokens are counted, and many of them."""
    words = [f"w{number}" for number in range(1000)]
    return tiny_llama(tmp_path_factory.mktemp("reuse") / "tiny.gguf", vocab=words, context=1024)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_turns_evaluate_what_is_new(
    engine: Engine, starter: Path, temperature: float
) -> None:
    await load(engine, starter)
    await turns(Talk(engine, CHATML, Sampling(temperature=temperature, top_p=1.0, seed=5)), 4)


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_pieces_of_a_model_that_never_says_whole_words(
    engine: Engine, tmp_path: Path, seed: int
) -> None:
    """Hardly any id it generates is what the tokenizer makes of the same text."""
    pieces = ["".join(letters) for size in (4, 3, 2) for letters in product("ab", repeat=size)]
    path = tiny_llama(tmp_path / "tiny.gguf", seed=seed, vocab=[*pieces, "▁a", "▁b", "a", "b", "▁"])
    await load(engine, path, n_seq_max=16, threads=1)
    first = 259 + len(pieces)
    letters = dict.fromkeys(range(first, first + 4), 8.0)
    no_bytes = dict.fromkeys(range(259), -1000.0) | {2: 5.0} | letters
    talk = Talk(engine, LLAMA_2, Sampling(temperature=3.0, top_p=1.0, logit_bias=no_bytes))
    past: list[tuple[str, str | None]] = []
    generated = canonical = 0
    for number in range(4):
        question = (f"And what about number {number}?", None)
        text, ended = "", False
        # Real models begin with a space, as the format has it, and end without one.
        while not ended or not text.strip() or text != " " + text.strip():
            talk.sampling = talk.sampling.model_copy(update={"seed": seed})
            seed += 1
            text, finished = await talk.say(*past, question, strip_leading_space=False)
            ended = finished.stop_reason == "end"
            if past:
                evaluated = finished.usage.evaluated_tokens
                assert evaluated <= await talk.new(past, question[0]) + BEYOND
        past.append((question[0], text.strip()))
        generated += finished.usage.completion_tokens
        canonical += len(await engine.tokenize([("text", text.strip())]))
    assert canonical < generated - 4, "the test shows nothing where both are spelled alike"


async def test_siblings_stay_warm(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    talk = Talk(engine, CHATML, Sampling(temperature=1.0, seed=1))
    question = ("Tell me about the sea and the wind over it.", None)
    answers = []
    for seed in range(3):
        talk.sampling = talk.sampling.model_copy(update={"seed": seed})
        text, finished = await talk.say(question, conversation="7")
        answers.append(text)
        if seed:
            assert finished.usage.evaluated_tokens == 1
    assert len(set(answers)) == 3
    for text in (*answers, *reversed(answers)):
        past = [(question[0], text)]
        _, finished = await talk.say(*past, ("Why?", None), max_tokens=8, conversation="7")
        assert finished.usage.evaluated_tokens <= await talk.new(past, "Why?") + BEYOND


async def test_an_edit_keeps_what_was_before_it_and_what_it_replaces(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter)
    talk = Talk(engine, CHATML, GREEDY)
    past = await turns(talk, 2)
    _, edited = await talk.say(past[0], ("Something else now.", None), conversation="1")
    kept = len(await talk.prompt(past[0]))
    assert edited.usage.evaluated_tokens <= edited.usage.prompt_tokens - kept + BEYOND
    _, back = await talk.say(*past, ("Go on.", None))
    assert back.usage.evaluated_tokens <= await talk.new(past, "Go on.") + BEYOND


async def test_conversations_stay_warm_beside_each_other(engine: Engine, starter: Path) -> None:
    await load(engine, starter, n_ctx=2048)
    system = "You are a patient teacher of geography who knows every river of the world by name. "
    talk = Talk(engine, CHATML, GREEDY, system=system)
    shared = len(await talk.prompt(("", None))) - 8
    texts: dict[str, str] = {}
    for river in ("Nile", "Danube", "Volga"):
        text, finished = await talk.say((f"Where is the {river}?", None), conversation=river)
        texts[river] = text
        if river != "Nile":
            assert finished.usage.reused_tokens >= shared, "the system text is evaluated once"
    for river in ("Nile", "Danube", "Volga", "Nile"):
        past = [(f"Where is the {river}?", texts[river])]
        _, finished = await talk.say(*past, ("How long?", None), max_tokens=4, conversation=river)
        assert finished.usage.evaluated_tokens <= await talk.new(past, "How long?") + BEYOND


async def test_what_was_branched_says_the_same_as_what_was_evaluated_anew(
    engine: Engine, starter: Path
) -> None:
    options = {"n_ctx": 1024, "threads": 2}
    await load(engine, starter, **options)
    talk = Talk(engine, CHATML, GREEDY)
    past: list[tuple[str, str | None]] = [("Name a river.", "The Nile.")]
    await talk.say(("What is the capital of Peru?", None))
    await talk.say(*past, ("Name a mountain.", None))
    await talk.say(past[0])
    warm, finished = await talk.say(*past, ("Name a lake.", None))
    assert finished.usage.reused_tokens > 20
    await engine.close()
    await load(engine, starter, **options)
    cold, finished = await talk.say(*past, ("Name a lake.", None))
    assert finished.usage.reused_tokens == 0
    assert warm == cold


async def test_a_full_context_gives_up_the_least_recently_used(engine: Engine, tiny: Path) -> None:
    await load(engine, tiny, n_ctx=512)
    prompts = [[300 * chat + n for n in range(200)] for chat in range(1, 4)]
    for number, tokens in enumerate(prompts):
        await answer(engine, tokens, max_tokens=8, conversation=str(number))
    # Two of them fit: the first had to go, the others are still there.
    reused = []
    for number in (2, 1, 0):
        _, finished = await answer(engine, prompts[number], max_tokens=1)
        reused.append(finished.usage.reused_tokens)
    assert reused == [199, 199, 0]


async def test_one_sequence_is_enough(engine: Engine, starter: Path) -> None:
    await load(engine, starter, n_seq_max=1)
    talk = Talk(engine, CHATML, GREEDY)
    await turns(talk, 3)
    text, _ = await talk.say(("Name a colour.", None))
    again, finished = await talk.say(("Name a colour.", None))
    assert again == text
    assert finished.usage.evaluated_tokens == 1


@pytest.mark.parametrize("n_ctx", [1, 33, 300, 777])
async def test_a_context_of_any_size(engine: Engine, tiny: Path, n_ctx: int) -> None:
    loaded = await load(engine, tiny, n_ctx=n_ctx)
    assert loaded.n_ctx >= n_ctx
    _, finished = await answer(engine, [1] * (loaded.n_ctx - 2))
    assert finished.usage.completion_tokens <= 2
    _, finished = await answer(engine, [2] * 40, max_tokens=3)
    assert finished.usage.completion_tokens <= 3


@pytest.mark.parametrize("n_ubatch", [32, 96])
async def test_steps_that_are_smaller_than_the_prompt(
    engine: Engine, tiny: Path, n_ubatch: int
) -> None:
    await load(engine, tiny, n_batch=128, n_ubatch=n_ubatch)
    tokens = [300 + n for n in range(500)]
    _, finished = await answer(engine, tokens, max_tokens=2)
    assert finished.usage.evaluated_tokens == 500
    _, finished = await answer(engine, tokens, max_tokens=2)
    assert finished.usage.evaluated_tokens == 1
