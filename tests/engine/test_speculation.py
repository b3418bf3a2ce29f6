"""Guessing ahead on the real thing: whoever guesses, and however badly, the text stays the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
from tests.engine.conftest import load
from tests.engine.test_engine import GREEDY, answer, prompt
from tests.support.gguf_files import tiny_llama
from tests.support.native import log

from corral.engine.drafting import Drafter
from corral.engine.engine import Engine
from corral.engine.llama.cancel import CancelFlag
from corral.engine.llama.draft_model import DraftModel, DraftRefused, Speculation
from corral.engine.llama.generation import Generation
from corral.engine.llama.model import LlamaModel
from corral.engine.lookup import Lookup
from corral.engine.protocol import Delta, Finished, Generate, LoadSpec, Model, Sampling

BEFORE = "The weather was good, and the wind came from the north. " * 22
"""With an f16 cache llama.cpp computes in another way where it has more than 256 tokens."""
EDIT = (
    f"{BEFORE}\n\n"
    "Repeat this text: The old lighthouse stood on the cliff above the village. Every evening "
    "Thomas climbed the narrow stairs, lit the lamp and wrote the weather into a brown book."
)


class Loaded:
    """A model in this process, and what is needed to use it."""

    def __init__(
        self, path: Path, draft: str = "", n_ctx: int = 1024, threads: int = 1, kv: str = "f16"
    ) -> None:
        self.cancel = CancelFlag()
        spec = LoadSpec.model_validate(
            {"path": str(path), "draft": draft, "n_ctx": n_ctx, "n_seq_max": 1}
            | {"threads": threads, "type_k": kv, "type_v": kv}
        )
        self.model = LlamaModel(spec, log(), lambda _: None, self.cancel)
        self.speculation = Speculation(self.model, log(), self.cancel)

    def close(self) -> None:
        self.speculation.close()
        self.model.close()

    def prompt(self, text: str = EDIT) -> list[int]:
        return self.model.vocab.encode(
            [
                ("special", "<|im_start|>"), ("text", f"user\n{text}"),
                ("special", "<|im_end|>"), ("text", "\n"),
                ("special", "<|im_start|>"), ("text", "assistant\n"),
            ]
        )  # fmt: skip

    def answer(
        self, drafter: Drafter | None, sampling: Sampling = GREEDY, **options: object
    ) -> tuple[str, Finished]:
        events: list[Model] = []
        command = Generate.model_validate(
            {"id": 1, "tokens": self.prompt(), "sampling": sampling, "max_tokens": 40, **options}
        )
        Generation(
            command,
            self.model,
            events.append,
            self.cancel,
            lambda: None,
            drafter=drafter,
            alike=self.speculation.alike,
        ).run()
        finished = events[-1]
        assert isinstance(finished, Finished)
        return "".join(event.text for event in events if isinstance(event, Delta)), finished


@pytest.fixture(scope="module", params=["f16", "q8_0"])
def starter_model(starter: Path, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    loaded = Loaded(starter, kv=request.param)
    # The last token of a prompt is read again for each answer, alone; the first time with the rest.
    loaded.answer(None, max_tokens=1)
    yield loaded
    loaded.close()


class Scripted:
    """Guesses by a function of the text so far, with no regard to what it costs."""

    def __init__(self, guess: Callable[[list[int]], list[int]]) -> None:
        self.drafted = self.accepted = 0
        self.said: list[int] = []
        self._guess = guess

    def begin(self, tokens: Sequence[int]) -> None: ...

    def draft(self, tokens: list[int], room: int) -> list[int]:
        self.said = tokens
        return self._guess(tokens)[:room]

    def note(self, drafted: int, accepted: int, seconds: float) -> None:
        self.drafted += drafted
        self.accepted += accepted

    def close(self) -> None: ...


def knowing(said: list[int], wrong: float) -> Callable[[list[int]], list[int]]:
    """Guesses what will be said, but for a part of the tokens."""
    draw = random.Random(4)

    def guess(tokens: list[int]) -> list[int]:
        more = said[len(tokens) : len(tokens) + draw.randrange(1, 12)]
        return [token if draw.random() >= wrong else 1000 + draw.randrange(9) for token in more]

    return guess


def always_from_the_text() -> Callable[[list[int]], list[int]]:
    lookup = Lookup()

    def guess(tokens: list[int]) -> list[int]:
        lookup.follow(tokens)
        return lookup.guess(5) if lookup.found else []

    return guess


WAYS = {
    "greedy": Sampling(temperature=0),
    "penalties": Sampling(temperature=0.8, seed=7, repeat_penalty=1.2, presence_penalty=0.2),
    "mirostat": Sampling(temperature=0.8, seed=9, mirostat=2),
    "every sampler": Sampling(
        temperature=0.9, seed=10, top_k=40, min_p=0.05, typical_p=0.95, xtc_probability=0.3,
        dry_multiplier=0.8,
    ),
}  # fmt: skip

SOME = [WAYS["greedy"], WAYS["penalties"]]


@pytest.mark.parametrize("sampling", WAYS.values(), ids=WAYS.keys())
def test_the_text_is_that_of_plain_decoding(starter_model: Loaded, sampling: Sampling) -> None:
    plain = Scripted(lambda tokens: [])
    text, finished = starter_model.answer(plain, sampling)
    guessers = {
        "right": knowing(plain.said, 0.0),
        "half right": knowing(plain.said, 0.4),
        "wrong": knowing(plain.said, 1.0),
        "text": always_from_the_text(),
    }
    for name, guess in guessers.items():
        drafter = Scripted(guess)
        again, other = starter_model.answer(drafter, sampling)
        assert again == text, name
        assert other.stop_reason == finished.stop_reason
        assert other.usage.completion_tokens == finished.usage.completion_tokens
        assert (other.drafted, other.accepted) == (drafter.drafted, drafter.accepted)
        assert other.drafted > 0 or name == "text"
        assert {"right": other.accepted == other.drafted, "wrong": other.accepted == 0}.get(
            name, True
        )
        # What was wrong is not left in the cache.
        cached, said = starter_model.model.tokens, drafter.said
        assert cached[: len(said)] == said[: len(cached)]
        assert abs(len(cached) - len(said)) <= 1  # The last one, or what ends the answer.


def test_an_answer_ends_where_it_would_in_the_middle_of_guesses(starter_model: Loaded) -> None:
    plain = Scripted(lambda tokens: [])
    text, _ = starter_model.answer(plain, max_tokens=200)
    whole = plain.said
    for options in ({"max_tokens": 17}, {"stop": ["narrow"]}, {"stop": ["e"], "max_tokens": 200}):
        short, one = starter_model.answer(None, **options)
        same, other = starter_model.answer(Scripted(knowing(whole, 0.0)), **options)
        assert same == short
        assert text.startswith(short)
        assert other.stop_reason == one.stop_reason
        assert other.usage.completion_tokens == one.usage.completion_tokens
    again, finished = starter_model.answer(Scripted(knowing(whole, 0.0)), max_tokens=200)
    assert again == text
    assert finished.stop_reason == "end"
    assert finished.accepted > 10


def test_stopping_while_guesses_are_decoded(starter_model: Loaded) -> None:
    plain = Scripted(lambda tokens: [])
    text, _ = starter_model.answer(plain)
    guess = knowing(plain.said, 0.0)
    start = len(starter_model.prompt())

    def stopping(tokens: list[int]) -> list[int]:
        if len(tokens) > start + 20:
            starter_model.cancel.set()
        return guess(tokens)

    part, finished = starter_model.answer(Scripted(stopping))
    starter_model.cancel.clear()
    assert finished.stop_reason == "stopped"
    assert part
    assert text.startswith(part)
    assert starter_model.answer(None)[0] == text


def test_what_was_guessed_right_is_shown_before_the_next_slow_step(starter_model: Loaded) -> None:
    model, plain = starter_model.model, Scripted(lambda tokens: [])
    starter_model.answer(plain)
    command = Generate(id=1, tokens=tuple(starter_model.prompt()), sampling=GREEDY, max_tokens=40)
    drafter = Scripted(knowing(plain.said, wrong=0.0))
    events: list[Model] = []
    generation = Generation(
        command, model, events.append, starter_model.cancel, lambda: None, drafter=drafter
    )
    step, held = model.step, list[str]()

    def slow(tokens: Sequence[int]) -> float:
        held.append(generation._pending)
        step(tokens)
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "step", slow)
        generation.run()
    assert len(held) > 1 and not any(held)


def test_lookup_by_itself_gives_the_same_text(starter_model: Loaded) -> None:
    for sampling in SOME:
        plain, _ = starter_model.answer(None, sampling)
        for _ in range(2):
            text, _ = starter_model.answer(starter_model.speculation.drafter(lookup=True), sampling)
            assert text == plain
    assert starter_model.speculation.drafter(lookup=False) is None


# --- draft models -------------------------------------------------------------------------------


def test_a_draft_model_gives_the_same_text(starter: Path, q8: Path) -> None:
    loaded = Loaded(starter, draft=str(q8), threads=2)
    assert loaded.speculation.draft.startswith("llama")
    assert loaded.speculation.draft_refused == ""
    drafted = accepted = 0
    loaded.answer(Scripted(lambda tokens: [5, 5, 5]))  # So many rows are alike: that is known now.
    for sampling in SOME:
        plain, _ = loaded.answer(None, sampling)
        text, finished = loaded.answer(loaded.speculation.drafter(lookup=False), sampling)
        assert text == plain
        drafted += finished.drafted
        accepted += finished.accepted
    # How often it was asked is a matter of the clock, but it was tried.
    assert drafted > 0
    assert accepted > 0
    loaded.close()


def test_guesses_are_the_likeliest_tokens(q8: Path) -> None:
    """A model that guesses for itself is always right, also after it was led astray."""
    loaded = Loaded(q8)
    plain = Scripted(lambda tokens: [])
    loaded.answer(plain)
    said, start = plain.said, len(loaded.prompt())
    draft = DraftModel(str(q8), loaded.model, log(), loaded.cancel)
    draft.begin(said[:start])
    for at in (start, start + 9, start + 10, start + 30, start + 2):
        guesses = list(islice(draft.guess(said[:at]), 8))
        # The token that ends the answer was not said.
        assert [token for token, _ in guesses][: len(said) - at] == said[at : at + 8]
        assert all(0.1 <= sure <= 1 for _, sure in guesses)
    draft.begin([*said[:start], 1000, 1001])
    list(islice(draft.guess([*said[:start], 1000, 1001, 1002]), 3))
    assert [token for token, _ in islice(draft.guess(said[:start]), 8)] == said[start : start + 8]
    loaded.cancel.set()
    assert list(draft.guess(said[: start + 20])) == []
    loaded.cancel.clear()
    assert [token for token, _ in islice(draft.guess(said[:start]), 8)] == said[start : start + 8]
    draft.close()
    draft.close()
    loaded.close()


def test_guesses_end_with_the_draft_model_s_window(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(40)]
    target = tiny_llama(tmp_path / "large.gguf", context=512, vocab=words, n_head=2)
    small = tiny_llama(tmp_path / "small.gguf", context=256, vocab=words, n_head=2)
    loaded = Loaded(target, draft=str(small), n_ctx=512)
    draft = DraftModel(str(small), loaded.model, log(), loaded.cancel)
    text = [1, *(259 + number % 40 for number in range(250))]
    guesses = list(draft.guess(text))
    assert 0 < len(guesses) <= 256 - len(text) + 1
    assert list(draft.guess([*text, *([261] * 6)])) == []
    assert [token for token, _ in draft.guess(text)] == [token for token, _ in guesses]
    draft.close()
    loaded.close()


def test_a_token_that_only_the_draft_model_has_is_no_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"w{number}" for number in range(40)]
    target = tiny_llama(tmp_path / "large.gguf", vocab=words, n_head=2)
    small = tiny_llama(tmp_path / "small.gguf", vocab=[*words, "more"], n_head=2)
    loaded = Loaded(target, draft=str(small), n_ctx=256)
    draft = DraftModel(str(small), loaded.model, log(), loaded.cancel)
    monkeypatch.setattr(draft, "_likeliest", lambda: (loaded.model.vocab.size, 1.0))
    assert list(draft.guess([1, 270, 271])) == []
    draft.close()
    loaded.close()


@pytest.mark.parametrize("cards", [True, False])
def test_a_step_is_over_when_the_device_is_done(
    starter_model: Loaded, monkeypatch: pytest.MonkeyPatch, cards: bool
) -> None:
    """A card computes on its own: without waiting for it every step would look equally short."""
    waited: list[object] = []
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_synchronize", waited.append)
    monkeypatch.setattr(starter_model.model.computing, "_asynchronous", cards)
    _, finished = starter_model.answer(None, max_tokens=3)
    assert finished.usage.completion_tokens == 3
    assert len(waited) >= 3 if cards else not waited
    assert set(map(id, waited)) <= {id(starter_model.model.context)}


def test_a_foreign_vocabulary_is_refused(starter: Path, tmp_path: Path) -> None:
    tiny = tiny_llama(tmp_path / "tiny.gguf", n_head=2)
    loaded = Loaded(starter, draft=str(tiny))
    assert loaded.speculation.draft == ""
    assert loaded.speculation.draft_refused == "it has another kind of tokenizer"
    assert loaded.speculation.drafter(lookup=True) is not None
    assert loaded.answer(loaded.speculation.drafter(lookup=True))[0]
    loaded.close()


@pytest.mark.parametrize(
    ("vocab", "reason"),
    [
        ([f"w{number}" for number in range(300)], "its vocabulary has 559 tokens, not 359"),
        ([f"w{number}" for number in range(1, 101)], "its token 259 is “w1”, not “w0”"),
        ([f"w{number}" for number in range(150)], ""),
    ],
)
def test_vocabularies_are_compared_as_llama_cpp_does(
    tmp_path: Path, vocab: list[str], reason: str
) -> None:
    words = [f"w{number}" for number in range(100)]
    loaded = Loaded(tiny_llama(tmp_path / "large.gguf", vocab=words, n_head=2), n_ctx=256)
    small = tiny_llama(tmp_path / "small.gguf", vocab=vocab, n_head=2)
    if reason:
        with pytest.raises(DraftRefused, match=reason):
            DraftModel(str(small), loaded.model, log(), loaded.cancel)
    else:
        DraftModel(str(small), loaded.model, log(), loaded.cancel).close()
    loaded.close()


async def test_a_load_goes_on_without_a_draft_model_that_cannot_be_used(
    engine: Engine, starter: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(starter.read_bytes()[:100_000])
    loaded = await load(engine, starter, draft=str(broken))
    assert loaded.draft == ""
    assert loaded.draft_refused.startswith("it cannot be loaded")
    text, _ = await answer(engine, await prompt(engine, ("What is the capital of France?", None)))
    assert "Paris" in text


async def test_a_draft_model_through_the_engine(engine: Engine, starter: Path, q8: Path) -> None:
    alone = await load(engine, starter)
    tokens = await prompt(engine, ("What is the capital of France?", None))
    plain, _ = await answer(engine, tokens, lookup=False)
    both = await load(engine, starter, draft=str(q8), exact=False)  # It need not be found out.
    assert both.draft.startswith("llama")
    # What the large model is says nothing of the small one, but its memory counts.
    assert (both.description, both.gpu_layers) == (alone.description, alone.gpu_layers)
    assert alone.memory is not None and both.memory is not None
    assert sum(both.memory.weights.values()) > 1.5 * sum(alone.memory.weights.values())
    text, finished = await answer(engine, tokens, lookup=False)
    assert text == plain
    assert finished.drafted > 0
