"""The index that finds where the last tokens stood before, against a slow search."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from corral.engine.lookup import LONGEST, PLACES, Lookup

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def ends_alike(tokens: list[int], place: int) -> int:
    """How many tokens before ``place`` are the same as at the end."""
    length = 0
    while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
        length += 1
    return length


def best_place(tokens: list[int]) -> tuple[int, int]:
    """The place that fits best and how well, by looking at all of them: last comes first."""
    places = [p for p in range(len(tokens) - 1, 2, -1) if ends_alike(tokens, p) >= 3][:PLACES]
    lengths = [min(ends_alike(tokens, place), LONGEST) for place in places]
    if not lengths:
        return -1, 0
    return places[lengths.index(max(lengths))], max(lengths)


@given(TOKENS)
def test_the_prompt_s_end_is_found_where_a_slow_search_finds_it(tokens: list[int]) -> None:
    lookup = Lookup()
    lookup.begin(tokens)
    place, _ = best_place(tokens)
    assert lookup.found == (place >= 0)
    if place >= 0:
        assert lookup.guess(1) == [tokens[place]]


@given(TOKENS, TOKENS, st.integers(1, 9))
def test_following_step_by_step_or_at_once_is_the_same(
    prompt: list[int], answer: list[int], stride: int
) -> None:
    one, other = Lookup(), Lookup()
    one.begin(prompt)
    other.begin(prompt)
    text = list(prompt)
    for start in range(0, len(answer), stride):
        piece = answer[start : start + stride]
        for token in piece:
            text.append(token)
            one.follow(text)
        other.follow(text)
        assert one.found == other.found
        if one.found:
            assert one.guess(8) == other.guess(8)


@given(TOKENS, st.integers(1, 80))
@settings(max_examples=50)
def test_as_many_guesses_as_asked_for(tokens: list[int], count: int) -> None:
    lookup = Lookup()
    lookup.begin(tokens)
    if lookup.found:
        assert len(lookup.guess(count)) == count


def test_a_period_goes_round() -> None:
    lookup = Lookup()
    lookup.begin([7, 8, 9] * 4)
    assert lookup.guess(7) == [7, 8, 9, 7, 8, 9, 7]


def test_a_copy_is_followed_to_its_end_and_goes_on_behind_a_change() -> None:
    source = list(range(100, 140))
    lookup = Lookup()
    lookup.begin([*source, 1, 2, 3])
    copy = [*source[:20], 5, *source[21:30]]
    text = [*source, 1, 2, 3]
    wrong = []
    for index, token in enumerate(copy):
        if not lookup.found or lookup.guess(1) != [token]:
            wrong.append(index)
        text.append(token)
        lookup.follow(text)
    # The first two tokens give no triple or pair yet, and nobody could know the change.
    assert wrong == [0, 1, 20]
    assert lookup.guess(3) == source[30:33]


def test_what_is_right_is_trusted_and_what_is_wrong_is_not() -> None:
    draw = random.Random(1)
    source = [draw.randrange(1000) for _ in range(300)]
    right, wrong = Lookup(), Lookup()
    right.begin(source)
    text = list(source)
    for token in source:
        text.append(token)
        right.follow(text)
    assert right.chance(0) > 0.98
    # A text in which each triple is followed by another token each time.
    wrong.begin([])
    text = []
    for number in range(150):
        text += [1, 2, 3, 1000 + number]
        wrong.follow(text)
    wrong.follow([*text, 1, 2, 3])
    assert wrong.found
    assert wrong.chance(0) < 0.1


def test_an_empty_text_has_nothing_to_guess() -> None:
    lookup = Lookup()
    lookup.begin([])
    assert not lookup.found
    lookup.follow([1])
    assert not lookup.found
