"""What a model evaluated, kept and brought back by the real engine; see tests.support.keeping."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from tests.support.keeping import (
    Maker,
    evaluate,
    keeper_of,
    kept,
    logits,
    never,
    replayed,
    words,
)
from tests.support.states import files_of

from corral.engine.llama.states import Keeper
from corral.engine.params import States
from corral.engine.states.files import read_segment
from corral.engine.states.rates import DiskRates
from corral.engine.states.shelf import Shelf

# --- it is the same -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cache_type",
    [
        {},
        {"type_k": "q8_0", "type_v": "q8_0"},
        {"type_k": "q4_0", "type_v": "q4_0"},
        {"flash_attn": "off"},
    ],
    ids=["f16", "q8_0", "q4_0", "no flash attention"],
)
def test_a_restored_prompt_gives_exactly_the_logits_it_gave(
    open_model: Maker, starter: Path, root: Path, cache_type: dict[str, str]
) -> None:
    model = open_model(starter, **cache_type)
    text = "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve. " * 5
    prompt = model.vocab.tokenize(text + "One, two, three, four,")
    evaluate(model, prompt)
    at_first = logits(model)
    keeper_of(model, root).idle(never)
    expected = replayed(model, prompt)

    other = open_model(starter, **cache_type)
    keeper = keeper_of(other, root)
    assert keeper.before(prompt, "7") == len(prompt)
    found = replayed(other, prompt)
    assert np.array_equal(found, expected)
    # Several rows at once are rounded in another way than one alone, no more than that.
    assert int(found.argmax()) == int(at_first.argmax())
    assert other.vocab.piece(int(found.argmax())) == b" five"

    again = open_model(starter, **cache_type)
    evaluate(again, prompt)
    assert int(logits(again).argmax()) == int(found.argmax())
    assert np.corrcoef(logits(again), found)[0, 1] > 0.999


def test_many_pieces_and_half_of_one_are_put_together(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    first, other = words(1, 100), words(2, 30)
    for turn in ([*first], [*first, *words(3, 130)], [*first, *words(3, 130), *words(4, 60)]):
        evaluate(model, turn)
        keeper.idle(never)
    assert len(files_of(root)) > 1
    expected = replayed(model, turn)

    fresh = open_model(tiny)
    assert keeper_of(fresh, root).before(turn, "7") == len(turn)
    assert np.array_equal(replayed(fresh, turn), expected)

    half = open_model(tiny)
    edited = [*turn[:150], *other]
    assert keeper_of(half, root).before(edited, "7") == 150
    assert evaluate(half, edited) == 150
    scratch = open_model(tiny)
    evaluate(scratch, edited)
    assert np.allclose(logits(half), logits(scratch), atol=0.05)


def test_others_in_the_cache_stay_what_they_are(open_model: Maker, tiny: Path, root: Path) -> None:
    prompt = kept(open_model, tiny, root, 120)

    other = open_model(tiny)
    keeper = keeper_of(other, root)
    neighbour = words(9, 80)
    evaluate(other, neighbour, "8")
    before = replayed(other, neighbour, "8")
    assert keeper.before(prompt, "7") == len(prompt)
    assert np.array_equal(replayed(other, neighbour, "8"), before)
    assert evaluate(other, prompt) == len(prompt) - 1


def test_what_is_warm_is_not_read_again(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    prompt = words(1, 200)
    evaluate(model, prompt)
    keeper.idle(never)
    assert keeper.before(prompt, "7") == 0
    assert keeper.before([*prompt, 400], "7") == 0

    other = open_model(tiny)
    evaluate(other, prompt[:120])
    assert keeper_of(other, root).before(prompt, "7") == 80
    assert [len(live.tokens) for live in other.sequences.live()] == [200]
    assert evaluate(other, prompt) == 199


def test_the_beginning_may_belong_to_another_conversation(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    prompt = kept(open_model, tiny, root, 200)
    other = open_model(tiny)
    evaluate(other, [*prompt[:60], *words(5, 40)], "8")
    assert keeper_of(other, root).before(prompt, "7") == 140
    assert sorted(len(live.tokens) for live in other.sequences.live()) == [100, 200]


# --- what is written ------------------------------------------------------------------------------


def test_a_following_turn_writes_what_is_new(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    prompt = words(1, 200)
    evaluate(model, prompt)
    keeper.idle(never)
    (first,) = files_of(root)
    written = first.stat()
    keeper.idle(never)
    evaluate(model, [*prompt, *words(2, 40)])
    keeper.idle(never)
    assert len(files_of(root)) == 2
    assert first.stat() == written
    assert min(path.stat().st_size for path in files_of(root)) < written.st_size / 3


def test_every_branch_is_kept(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    question = words(1, 150)
    branches = [[*question, *words(seed, 50)] for seed in (2, 3, 4)]
    for branch in branches:
        evaluate(model, branch)
    keeper.idle(never)
    total = sum(read_segment(p, p.parent.parent.name, "7").end for p in files_of(root))
    assert len(files_of(root)) == 3 and total == 3 * 200
    other = open_model(tiny)
    reader = keeper_of(other, root)
    for branch in branches:
        assert reader.before(branch, "7") >= 50
        assert evaluate(other, branch) == 199


def test_nothing_is_kept_without_a_conversation(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    evaluate(model, words(1, 100), "")
    keeper.idle(never)
    keeper.shutdown(5.0)
    assert files_of(root) == []
    assert keeper.before(words(1, 100), "") == 0


def test_what_a_person_cleared_does_not_come_back(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    prompt = words(1, 100)
    evaluate(model, prompt)
    keeper.idle(never)
    Shelf(root).forget("7")
    keeper.idle(never)
    keeper.shutdown(5.0)
    assert files_of(root) == []
    evaluate(model, [*prompt, *words(2, 30)])
    keeper.idle(never)
    assert len(files_of(root)) == 1, "the conversation went on"


def test_a_waiting_request_ends_the_writing(open_model: Maker, tiny: Path, root: Path) -> None:
    root.mkdir()
    (root / "rates.json").write_text('{"write": 100000}')  # Small files.
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    prompt = words(1, 300)
    evaluate(model, prompt)
    keeper.idle(lambda: bool(files_of(root)))
    (first,) = files_of(root)
    end = read_segment(first, first.parent.parent.name, "7").end
    assert 0 < end < 300
    other = open_model(tiny)
    assert keeper_of(other, root).before(prompt, "7") == end
    keeper.idle(never)
    assert keeper_of(open_model(tiny), root).before(prompt, "7") == 300


def test_the_end_of_the_program_has_its_limit(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    evaluate(model, words(1, 100))
    keeper.shutdown(0.0)
    assert files_of(root) == []
    keeper.shutdown(5.0)
    assert len(files_of(root)) == 1


def test_a_stop_ends_the_reading(open_model: Maker, tiny: Path, root: Path) -> None:
    root.mkdir()
    (root / "rates.json").write_text('{"write": 100000}')
    prompt = kept(open_model, tiny, root, 300)
    other = open_model(tiny)
    keeper = keeper_of(other, root)
    assert keeper.before(prompt, "7", lambda: True) == 0
    assert other.sequences.live() == []
    calls = iter([False, False, True])
    restored = keeper.before(prompt, "7", lambda: next(calls))
    assert 0 < restored < 300
    assert evaluate(other, prompt) == restored


def test_evaluating_is_preferred_where_it_is_faster(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    prompt = words(1, 200)
    evaluate(model, prompt)
    keeper = Keeper(model, States(folder=str(root), limit=1 << 30))
    keeper.note_evaluated(200, 0.001)
    keeper.idle(never)
    assert files_of(root) == [], "not worth the room"
    keeper_of(model, root).idle(never)
    fast = open_model(tiny)
    keeper = Keeper(fast, States(folder=str(root), limit=1 << 30))
    keeper.note_evaluated(200, 0.001)
    assert keeper.before(prompt, "7") == 0
    assert files_of(root)


def test_the_list_tells_what_was_kept(open_model: Maker, starter: Path, root: Path) -> None:
    model = open_model(starter)
    prompt = model.vocab.tokenize("The llama walks up the hill and looks at the valley. " * 8)
    before = time.time()
    evaluate(model, prompt)
    keeper_of(model, root).idle(never)
    assert DiskRates(root).now.write != DiskRates(root / "none").now.write
    (entry,) = Shelf(root).entries()
    assert (entry.tokens, entry.conversation, entry.model) == (len(prompt), "7", starter.stem)
    assert before - 1 <= entry.used <= time.time() + 1


# --- room -----------------------------------------------------------------------------------------


def test_the_limit_holds_and_the_longest_unused_goes(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    for number in (0, 1):
        evaluate(model, words(number, 200), str(number))
    keeper_of(model, root).idle(never)
    limit = int(1.25 * Shelf(root).total())
    for entry in Shelf(root).entries():
        os.utime(entry.folder, (0, int(entry.conversation)))
    keeper = keeper_of(open_model(tiny), root, limit)
    assert keeper.before(words(0, 200), "0") == 200, "now it is not the longest unused any more"
    evaluate(model, words(2, 200), "2")
    keeper_of(model, root, limit).idle(never)
    assert Shelf(root).total() <= limit
    assert {entry.conversation for entry in Shelf(root).entries()} == {"0", "2"}


def test_one_that_is_larger_than_the_limit_is_not_kept(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    evaluate(model, words(1, 200))
    keeper_of(model, root, 1000).idle(never)
    assert files_of(root) == []


def test_a_conversation_does_not_grow_for_ever(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny, n_ctx=256)
    keeper = keeper_of(model, root)
    for seed in range(8):
        evaluate(model, words(seed, 200))
        keeper.idle(never)
    assert (
        sum(len(read_segment(p, p.parent.parent.name, "7").tokens) for p in files_of(root)) <= 512
    )
    assert keeper_of(open_model(tiny), root).before(words(7, 200), "7") == 200
