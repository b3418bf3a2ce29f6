"""Who stays evaluated: the policy alone, over a memory that is a table of cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from corral.engine.llama.sequences import BRANCHES, IN_PLACE, Live, NoRoom, Sequences

COUNT, CELLS = 4, 48


class Cells:
    """A pool of cells as llama.cpp has it: each belongs to a set of sequences and has a token."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: dict[int, list[int]] = {}
        """Cells of each sequence, by position."""
        self.tokens: dict[int, int] = {}
        self._next = itertools.count()

    @property
    def used(self) -> int:
        return len(set().union(*self.rows.values())) if self.rows else 0

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.rows.get(target), "the target has to be empty"
        self.rows[target] = self.rows[source][:length]

    def trim(self, id: int, length: int) -> bool:
        self.rows[id] = self.rows.get(id, [])[:length]
        return True

    def decode(self, id: int, tokens: Sequence[int]) -> bool:
        """False without a free cell, and then nothing changes."""
        if self.used + len(tokens) > self.size:
            return False
        for token in tokens:
            cell = next(self._next)
            self.tokens[cell] = token
            self.rows.setdefault(id, []).append(cell)
        return True

    def content(self, id: int) -> list[int]:
        return [self.tokens[cell] for cell in self.rows.get(id, [])]


def spell(token: int) -> bytes | None:
    """Tokens 10 and above are two of the others in one."""
    return (
        None if token == 0 else bytes([token]) if token < 10 else bytes([token % 10, token // 10])
    )


def make(count: int = COUNT, cells: int = CELLS) -> tuple[Sequences, Cells]:
    memory, ticks = Cells(cells), itertools.count()
    return Sequences(memory, count, cells, spell, lambda: float(next(ticks))), memory


def evaluate(
    sequences: Sequences,
    memory: Cells,
    prompt: Sequence[int],
    answer: Sequence[int] = (),
    conversation: str = "",
) -> tuple[Live, int]:
    """A prompt and its answer, as the engine does it; gives how many tokens were evaluated."""
    live, rest = sequences.place(prompt, conversation)
    for token in [*rest, *answer]:
        while not memory.decode(live.id, [token]):
            assert sequences.evict({live.id}), "there is room for one of them"
        live.tokens.append(token)
    return live, len(rest)


def test_a_following_turn_goes_on_in_place() -> None:
    sequences, memory = make()
    first, _ = evaluate(sequences, memory, [0, 1, 2], [3, 4], "1")
    second, evaluated = evaluate(sequences, memory, [0, 1, 2, 3, 4, 5, 6], conversation="1")
    assert second is first and evaluated == 2
    assert len(sequences.live()) == 1


def test_an_exact_hit_replays_one_token_where_it_is() -> None:
    sequences, memory = make()
    first, _ = evaluate(sequences, memory, [0, 1, 2])
    second, evaluated = evaluate(sequences, memory, [0, 1, 2])
    assert second is first and evaluated == 1 and first.tokens == [0, 1, 2]


def test_a_regenerate_keeps_the_answer_before_warm_and_switching_back_costs_nothing() -> None:
    sequences, memory = make()
    question = [0, 1, 2, 3]
    one = [4, 5, 6, 7, 8]
    other = [5, 5, 5, 5, 5]
    evaluate(sequences, memory, question, one, "1")
    _, evaluated = evaluate(sequences, memory, question, other, "1")
    assert evaluated == 1
    for answer in (one, other, one, other):
        _, evaluated = evaluate(sequences, memory, [*question, *answer, 0, 9], [1, 1, 1], "1")
        assert evaluated <= 2


def test_a_new_conversation_shares_the_system_prompt() -> None:
    sequences, memory = make()
    system = [0, 1, 2, 3, 4, 5]
    evaluate(sequences, memory, [*system, 6, 6, 6], [7], "1")
    _, evaluated = evaluate(sequences, memory, [*system, 8, 8], [7], "2")
    assert evaluated == 2
    assert memory.used == sequences.used_cells == len(system) + 4 + 3
    assert len(sequences.live()) == 2


def test_the_ids_that_were_generated_stay() -> None:
    sequences, memory = make()
    evaluate(sequences, memory, [0, 1], [2, 3, 4], "1")
    live, evaluated = evaluate(sequences, memory, [0, 1, 32, 4, 0, 7], conversation="1")
    assert evaluated == 2
    assert live.tokens == [0, 1, 2, 3, 4, 0, 7]


@pytest.mark.parametrize(("cells", "expected"), [(CELLS, 1), (10, 4)])
def test_longer_spellings_leave_the_answer_its_room(cells: int, expected: int) -> None:
    sequences, memory = make(cells=cells)
    evaluate(sequences, memory, [0], [1, 2, 3, 4, 5, 6], "1")
    _, evaluated = evaluate(sequences, memory, [0, 21, 43, 65, 7], conversation="1")
    assert evaluated == expected


def test_the_least_recently_used_goes_first() -> None:
    sequences, memory = make()
    for chat in range(COUNT):
        evaluate(sequences, memory, [0, chat + 1, chat + 1], [5] * 3, str(chat))
    evaluate(sequences, memory, [0, 1, 1, 5, 5, 5, 6], conversation="0")
    evaluate(sequences, memory, [0, 9, 9], conversation="new")
    assert {live.conversation for live in sequences.live()} == {"0", "2", "3", "new"}


def test_answering_again_and_again_does_not_push_out_the_others() -> None:
    sequences, memory = make(count=6, cells=400)
    evaluate(sequences, memory, [0, 9, 9, 9], [8] * 3, "old")
    for number in range(12):
        evaluate(sequences, memory, [0, 1, 1, 1], [2 + number % 7] * 4, "busy")
    names = [live.conversation for live in sequences.live()]
    assert names.count("old") == 1
    assert names.count("busy") >= BRANCHES


def test_cells_that_run_out_are_taken_from_the_least_recently_used() -> None:
    sequences, memory = make()
    evaluate(sequences, memory, [0] + [1] * 19, conversation="1")
    evaluate(sequences, memory, [0] + [2] * 19, conversation="2")
    evaluate(sequences, memory, [0] + [3] * 19, conversation="3")
    assert [live.conversation for live in sequences.live()] == ["3", "2"]


def test_one_sequence_alone_is_enough() -> None:
    sequences, memory = make(count=1)
    evaluate(sequences, memory, [0, 1, 2], [3] * 5, "1")
    live, evaluated = evaluate(sequences, memory, [0, 1, 2], [4] * 5, "1")
    assert evaluated == 1 and live.tokens == [0, 1, 2, 4, 4, 4, 4, 4]
    live, evaluated = evaluate(sequences, memory, [5, 6], conversation="2")
    assert evaluated == 2 and live.tokens == [5, 6]


def test_a_restore_gets_its_room() -> None:
    sequences, memory = make()
    shared, _ = evaluate(sequences, memory, [0] + [1] * 9, conversation="1")
    evaluate(sequences, memory, [0] + [2] * 29, conversation="2")
    id = sequences.begin_restore(shared.id, 5, 20)
    assert memory.content(id) == shared.tokens[:5]
    assert memory.decode(id, [7] * 20), "there is room now"
    sequences.adopt(id, [0, 1, 1, 1, 1] + [7] * 20, "1")
    assert memory.used == sequences.used_cells
    assert "2" not in {live.conversation for live in sequences.live()}


def test_a_restore_keeps_of_its_source_what_there_is_room_for() -> None:
    sequences, memory = make()
    source, _ = evaluate(sequences, memory, [0] + [1] * 39, conversation="1")
    id = sequences.begin_restore(source.id, 10, 30)
    assert memory.content(id) == [0] + [1] * 9
    assert memory.decode(id, [7] * 30)
    assert sequences.get(source.id) is None


def test_a_restore_that_cannot_fit_takes_nothing_away() -> None:
    sequences, memory = make()
    live, _ = evaluate(sequences, memory, [0] + [1] * 9, conversation="1")
    with pytest.raises(NoRoom):
        sequences.begin_restore(live.id, 10, CELLS - 9)
    with pytest.raises(NoRoom):
        sequences.begin_restore(None, 0, CELLS + 1)
    assert sequences.live() == [live]


class Conversations(RuleBasedStateMachine):
    """Turns, branches and restores in any order."""

    @initialize(count=st.integers(1, COUNT))
    def start(self, count: int) -> None:
        self.sequences, self.memory = make(count)
        self.past: list[list[int]] = [[0]]

    @rule(
        at=st.integers(0, 30),
        cut=st.integers(0, 20),
        new=st.lists(st.sampled_from([0, 1, 2, 3, 12, 21]), min_size=1, max_size=6),
        answer=st.lists(st.sampled_from([1, 2, 3, 21]), max_size=6),
        chat=st.sampled_from(["", "1", "2", "3"]),
    )
    def turn(self, at: int, cut: int, new: list[int], answer: list[int], chat: str) -> None:
        before = self.past[at % len(self.past)]
        prompt = (before[: max(0, len(before) - cut)] + new)[: CELLS - 8]
        warm = [(live, list(live.tokens)) for live in self.sequences.live()]
        live, rest = self.sequences.place(prompt, chat)
        assert rest, "at least one token gives the logits"
        assert say(live.tokens + rest) == say(prompt)
        gone = [old for old, _ in warm if self.sequences.get(old.id) is not old]
        assert len(gone) <= 1, "at most one makes way for a prompt"
        for old, tokens in warm:
            if old is live and self.sequences.scratch > 1:
                assert len(tokens) - len(live.tokens) <= IN_PLACE + 1
            elif old is not live and old not in gone:
                assert old.tokens == tokens
        for token in rest + answer:
            while not self.memory.decode(live.id, [token]):
                assert self.sequences.evict({live.id})
            live.tokens.append(token)
        self.past.append(list(live.tokens))

    @rule(
        at=st.integers(0, 9), length=st.integers(0, 12), need=st.integers(1, 30), good=st.booleans()
    )
    def restore(self, at: int, length: int, need: int, good: bool) -> None:
        lives = self.sequences.live()
        source = lives[at % len(lives)] if lives and at else None
        length = min(length, len(source.tokens)) if source else 0
        before = len(lives)
        try:
            id = self.sequences.begin_restore(source.id if source else None, length, need)
        except NoRoom:
            assert len(self.sequences.live()) == before
            return
        tokens = self.memory.content(id) + [3] * need
        assert self.memory.decode(id, [3] * need)
        if good:
            self.sequences.adopt(id, tokens, "1")
            self.past.append(tokens)
        else:
            self.sequences.drop(id)

    @invariant()
    def the_lists_are_the_truth(self) -> None:
        if not hasattr(self, "sequences"):
            return
        for id in range(self.sequences.scratch + 1):
            live = self.sequences.get(id)
            assert self.memory.content(id) == (live.tokens if live else [])
        assert self.sequences.used_cells == self.memory.used <= CELLS


def say(tokens: Sequence[int]) -> list[bytes | int]:
    out: list[bytes | int] = []
    for token in tokens:
        piece = spell(token)
        if piece is None:
            out.append(token)
        elif out and isinstance(out[-1], bytes):
            out[-1] += piece
        else:
            out.append(piece)
    return out


Conversations.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_conversations = Conversations.TestCase
