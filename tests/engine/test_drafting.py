"""Guessing ahead on simulated machines and texts: no clock, no native code."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import pytest

from corral.engine.drafting import COUNTS, MOST_GUESSES, Costs, Speculator

PLAIN = 0.01
"""Seconds of a step with one row."""

Machine = Callable[[int], float]
"""Seconds of a step by its rows."""


def machine(more: float) -> Machine:
    """Each row beyond the first costs this part of a plain step."""
    return lambda rows: PLAIN * (1 + more * (rows - 1))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answer(
    speculator: Speculator,
    prompt: Sequence[int],
    text: Sequence[int],
    cost: Machine,
    clock: Clock | None = None,
) -> float:
    """Give an answer that sampling would give anyway; how much faster it was than plain."""
    clock = clock or Clock()
    start = clock.now
    speculator.begin(prompt)
    said = [*prompt, text[0]]
    at = 1
    while at < len(text):
        guesses = speculator.draft(said, len(text) - at)
        assert len(guesses) <= min(len(text) - at, MOST_GUESSES)
        right = 0
        while right < len(guesses) and guesses[right] == text[at + right]:
            right += 1
        seconds = cost(1 + len(guesses))
        clock.now += seconds
        more = text[at : at + right + 1]
        said += more
        at += len(more)
        speculator.note(len(guesses), right, seconds)
    speculator.close()
    return (len(text) - 1) * PLAIN / (clock.now - start)


def prose(count: int, seed: int) -> list[int]:
    """Tokens as uneven as words, so that pairs and triples come again by chance."""
    draw = random.Random(seed)
    return [int(5000 * draw.random() ** 4) for _ in range(count)]


def edited(text: list[int], every: int) -> list[int]:
    return [token if at % every else 9000 + at for at, token in enumerate(text, start=1)]


SOURCE = prose(300, 1)


@pytest.mark.parametrize(("more", "least"), [(0.02, 5.0), (0.2, 2.5), (0.4, 1.7), (0.5, 1.45)])
def test_an_edited_text_is_faster(more: float, least: float) -> None:
    assert answer(Speculator(), SOURCE, edited(SOURCE, 20), machine(more)) > least


def test_an_edit_of_every_fourth_word_does_no_harm() -> None:
    assert answer(Speculator(), SOURCE, edited(SOURCE, 4), machine(0.5)) > 0.98
    assert answer(Speculator(), SOURCE, edited(SOURCE, 4), machine(0.05)) > 1.5


@pytest.mark.parametrize("more", [0.05, 0.4, 0.8, 1.5])
@pytest.mark.parametrize("seed", range(5))
def test_free_text_is_never_slower(more: float, seed: int) -> None:
    speculator = Speculator()
    for turn in range(4):
        turned = answer(
            speculator, prose(200, seed), prose(300, 100 + 10 * seed + turn), machine(more)
        )
        assert turned > 0.975


@pytest.mark.parametrize("more", [0.4, 0.8])
def test_a_chat_after_an_edit_is_never_slower(more: float) -> None:
    """What was learned from a text that repeats itself does not hold for the next one."""
    speculator = Speculator()
    for turn in range(4):
        answer(speculator, SOURCE, edited(SOURCE, 20), machine(more))
        assert answer(speculator, prose(100, 7), prose(250, 50 + turn), machine(more)) > 0.97
        after = answer(speculator, SOURCE, edited(SOURCE, 20), machine(0.4))
        assert after > 1.7 or more == 0.8


def test_an_answer_that_tempts_again_and_again() -> None:
    """Beginnings of the prompt that always go on in another way."""
    text: list[int] = []
    for number in range(40):
        start = 7 * number % 290
        text += [*SOURCE[start : start + 6], 9000 + number]
    assert answer(Speculator(), SOURCE, text, machine(1.0)) > 0.97


def test_a_machine_with_hiccups() -> None:
    draw = random.Random(3)

    def shaky(rows: int) -> float:
        return PLAIN * (1 + 0.4 * (rows - 1)) * (1 if draw.random() > 0.05 else 5)

    def plain(_rows: int) -> float:
        return shaky(1)

    def whole(cost: Machine) -> float:
        clock = Clock()
        for seed in range(6):
            answer(Speculator(), SOURCE, edited(SOURCE, 20 + seed), cost, clock)
        return clock.now

    class Silent(Speculator):
        def draft(self, tokens: list[int], room: int) -> list[int]:
            return []

    speculated = whole(shaky)
    clock = Clock()
    for seed in range(6):
        answer(Silent(), SOURCE, edited(SOURCE, 20 + seed), plain, clock)
    assert clock.now / speculated > 1.4


def test_the_first_step_is_plain_and_room_is_kept() -> None:
    speculator = Speculator()
    speculator.begin(SOURCE)
    said = [*SOURCE, *SOURCE[:12]]
    assert speculator.draft(said, 10) == []  # Nothing is known of this machine yet.
    speculator.note(0, 0, PLAIN)
    said += SOURCE[12:13]
    assert speculator.draft(said, 0) == []
    guesses = speculator.draft(said, 2)
    assert guesses == SOURCE[13:15]


def test_what_was_guessed_is_counted_per_answer() -> None:
    speculator = Speculator()
    answer(speculator, SOURCE, edited(SOURCE, 20), machine(0.2))
    assert speculator.drafted > speculator.accepted > 200
    speculator.begin([1, 2, 3])
    assert (speculator.drafted, speculator.accepted) == (0, 0)


def test_without_lookup_nothing_is_guessed() -> None:
    speculator = Speculator()
    speculator.lookup = False
    answer(speculator, SOURCE, SOURCE, machine(0.1))
    assert speculator.drafted == 0


def test_costs_of_sizes_never_tried_are_those_of_the_nearest() -> None:
    costs = Costs()
    costs.note(1, PLAIN)
    for _ in range(40):
        costs.note(4, machine(0.1)(4))
    assert costs.of(4) == pytest.approx(1.3, rel=0.02)
    assert costs.of(8) == pytest.approx(1.7, rel=0.02)
    for _ in range(40):
        costs.note(32, machine(0.9)(32))
    assert costs.of(4) == pytest.approx(1.3, rel=0.02)
    assert costs.of(32) == pytest.approx(1 + 31 * 0.9, rel=0.02)


def test_a_cost_that_was_a_neighbour_s_doing_is_forgotten() -> None:
    costs = Costs()
    costs.note(1, PLAIN)
    for _ in range(10):
        costs.note(8, 10 * machine(0.5)(8))
    assert costs.of(8) > 10
    for _ in range(4000):
        costs.note(1, PLAIN)
    assert costs.of(8) < 6


# --- draft models -------------------------------------------------------------------------------


class Simulated:
    """A draft model that is right as often as it says.

    Args:
        text: what will be said.
        right: how often it is right.
        each: seconds of one guess.
    """

    def __init__(self, text: list[int], clock: Clock, *, right: float, each: float) -> None:
        self._text = text
        self._clock = clock
        self._right = right
        self._each = each
        self._draw = random.Random(5)
        self._prompt = 0
        self.asked = 0

    def begin(self, tokens: Sequence[int]) -> None:
        self._prompt = len(tokens)

    def guess(self, tokens: list[int]) -> Iterator[tuple[int, float]]:
        for at in range(len(tokens) - self._prompt, len(self._text) + 50):
            self.asked += 1
            self._clock.now += self._each
            right = at < len(self._text) and self._draw.random() < self._right
            yield (self._text[at] if right else -1), self._right

    def close(self) -> None: ...


@pytest.mark.parametrize(("right", "least"), [(0.9, 2.2), (0.75, 1.5), (0.6, 1.2)])
def test_a_good_draft_model_on_a_graphics_card(right: float, least: float) -> None:
    clock, text = Clock(), prose(300, 2)
    drafts = Simulated(text, clock, right=right, each=0.1 * PLAIN)
    speculator = Speculator(guesser=drafts, clock=clock)
    assert answer(speculator, prose(50, 3), text, machine(0.03), clock) > least
    assert answer(speculator, prose(50, 3), text, machine(0.03), clock) > least


@pytest.mark.parametrize(("right", "each"), [(0.1, 0.1), (0.6, 0.5), (0.95, 1.0)])
def test_a_draft_model_that_does_not_pay_is_left_alone(right: float, each: float) -> None:
    clock, text = Clock(), prose(400, 2)
    drafts = Simulated(text, clock, right=right, each=each * PLAIN)
    speculator = Speculator(guesser=drafts, clock=clock)
    whole = [answer(speculator, prose(50, 3), text, machine(0.5), clock) for _ in range(12)]
    assert min(whole) > 0.94
    assert sum(whole) / len(whole) > 0.98


def test_a_prompt_that_the_draft_model_evaluates_first_is_not_held_against_it() -> None:
    clock, text = Clock(), prose(300, 2)

    class Behind(Simulated):
        def guess(self, tokens: list[int]) -> Iterator[tuple[int, float]]:
            if len(tokens) - self._prompt < 3:
                clock.now += 100 * PLAIN
            return super().guess(tokens)

    drafts = Behind(text, clock, right=0.9, each=0.1 * PLAIN)
    speculator = Speculator(guesser=drafts, clock=clock)
    answer(speculator, prose(50, 3), text, machine(0.03), clock)
    assert speculator.accepted > 150


def test_the_text_is_asked_first_where_it_knows_better() -> None:
    clock = Clock()
    drafts = Simulated(SOURCE, clock, right=0.6, each=0.3 * PLAIN)
    speculator = Speculator(guesser=drafts, clock=clock)
    assert answer(speculator, SOURCE, SOURCE, machine(0.1), clock) > 3
    assert drafts.asked < 60


def test_counts_suit_the_kernels() -> None:
    assert all((count + 1).bit_count() == 1 for count in COUNTS)
