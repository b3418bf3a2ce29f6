"""Kept states that are damaged, foreign, out of place or too large: nothing breaks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.keeping import (
    Maker,
    evaluate,
    forged,
    keeper_of,
    kept,
    never,
    words,
)
from tests.support.states import files_of

from corral.engine.states.files import read_payload, read_segment


@pytest.mark.parametrize("damage", ["payload", "header", "cut", "empty", "version", "junk"])
def test_a_damaged_file_is_removed_and_evaluated_again(
    open_model: Maker, tiny: Path, root: Path, damage: str
) -> None:
    prompt = kept(open_model, tiny, root)
    (file,) = files_of(root)
    data = bytearray(file.read_bytes())
    if damage == "payload":
        data[-100] ^= 1
    elif damage == "header":
        data[60] ^= 1
    elif damage == "version":
        data[8] += 1
    file.write_bytes(
        {"cut": bytes(data[:-1]), "empty": b"", "junk": b"\xff" * 500}.get(damage, bytes(data))
    )
    model = open_model(tiny)
    assert keeper_of(model, root).before(prompt, "7") == 0
    assert files_of(root) == []
    assert model.sequences.live() == []
    assert evaluate(model, prompt) == 0


def test_cells_of_another_layout_are_refused_without_harm(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    """A file whose checksums are right, and which is not what it says."""
    prompt = kept(open_model, tiny, root)
    (file,) = files_of(root)
    segment = read_segment(file, file.parent.parent.name, "7")
    state = bytearray(segment.payload)
    read_payload(segment, memoryview(state))
    model = open_model(tiny)
    for at, value in ((0, 0), (8, 2), (12, 149), (16, 5), (20, 2), (len(state) - 900, 255)):
        forged(segment, bytes([*state[:at], value, *state[at + 1 :]]))
        keeper_of(model, root).before(prompt, "7")
        assert evaluate(model, words(3, 20), "8") == 0
        for live in model.sequences.live():
            model.sequences.drop(live.id)
    forged(segment, bytes(state[:64]))
    assert keeper_of(model, root).before(prompt, "7") == 0
    assert files_of(root) == []


def test_cells_of_another_kind_are_refused_without_harm(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    prompt = kept(open_model, tiny, root, type_k="q8_0", type_v="q8_0")
    (quantized,) = files_of(root)
    segment = read_segment(quantized, quantized.parent.parent.name, "7")
    state = bytearray(segment.payload)
    read_payload(segment, memoryview(state))
    shutil.rmtree(root)
    kept(open_model, tiny, root)
    (file,) = files_of(root)
    forged(read_segment(file, file.parent.parent.name, "7"), bytes(state))
    model = open_model(tiny)
    assert keeper_of(model, root).before(prompt, "7") == 0
    assert files_of(root) == []
    assert evaluate(model, prompt) == 0


def test_another_model_under_the_same_name_starts_anew(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    prompt = kept(open_model, tiny, root)
    (file,) = files_of(root)
    tiny_llama(tiny, n_head=2, seed=5)
    model = open_model(tiny)
    assert keeper_of(model, root).before(prompt, "7") == 0
    assert not file.exists(), "no model will ever need it again"
    evaluate(model, prompt)
    keeper_of(model, root).idle(never)
    assert files_of(root)


def test_other_settings_have_other_states(open_model: Maker, tiny: Path, root: Path) -> None:
    prompt = kept(open_model, tiny, root)
    (file,) = files_of(root)
    for values in ({"type_k": "q8_0", "type_v": "q8_0"}, {"flash_attn": "off"}):
        assert keeper_of(open_model(tiny, **values), root).before(prompt, "7") == 0
    assert keeper_of(open_model(tiny, n_ctx=256, n_seq_max=2), root).before(prompt, "7") == 150
    assert file.exists()


def test_a_context_that_is_too_small_restores_nothing(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    prompt = kept(open_model, tiny, root, 400)
    small = open_model(tiny, n_ctx=256)
    assert keeper_of(small, root).before(prompt[:200], "7") == 0
    assert evaluate(small, prompt[:200]) == 0


def test_a_full_cache_makes_room_and_blames_no_file(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    prompt = kept(open_model, tiny, root, 200)
    other = open_model(tiny, n_ctx=256)
    for seed in (2, 3):
        evaluate(other, words(seed, 110), str(seed))
    # Half of the file is wanted, and all of it has to go through the cache.
    edited = [*prompt[:100], *words(4, 20)]
    assert keeper_of(other, root).before(edited, "7") == 100
    assert evaluate(other, edited) == 100
    assert files_of(root)
    # What is live by now leaves no room for the way.
    tight = open_model(tiny, n_ctx=256, n_seq_max=1)
    evaluate(tight, [*prompt[:30], *words(5, 90)], "9")
    assert keeper_of(tight, root).before(edited, "7") == 0
    assert evaluate(tight, edited) == 30
    assert files_of(root)


def test_a_folder_that_is_none_is_quietly_off(
    open_model: Maker, tiny: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root.write_text("in the way")
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    prompt = words(1, 100)
    assert keeper.before(prompt, "7") == 0
    evaluate(model, prompt)
    capfd.readouterr()
    for _ in range(3):
        keeper.idle(never)
        keeper.shutdown(1.0)
    lines = [line for line in capfd.readouterr().err.splitlines() if "kept prompts" in line]
    assert len(lines) == 1
    assert root.read_text() == "in the way"
    assert evaluate(model, [*prompt, 350]) == 100


def test_what_cannot_be_read_is_left_alone(open_model: Maker, tiny: Path, root: Path) -> None:
    prompt = kept(open_model, tiny, root)
    (file,) = files_of(root)
    data = file.read_bytes()
    for make in (file.mkdir, lambda: file.symlink_to(file), lambda: file.symlink_to("nowhere")):
        file.unlink()
        make()
        model = open_model(tiny)
        assert keeper_of(model, root).before(prompt, "7") == 0
        evaluate(model, prompt)
        keeper_of(model, root).idle(never)
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
            file.touch()
    file.unlink(missing_ok=True)
    file.write_bytes(data)
    assert keeper_of(open_model(tiny), root).before(prompt, "7") == len(prompt)


def test_a_model_that_is_gone_keeps_nothing(open_model: Maker, tiny: Path, root: Path) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    evaluate(model, words(1, 100))
    tiny.unlink()
    keeper.idle(never)
    assert files_of(root) == []


def test_a_model_whose_file_was_replaced_writes_nothing_for_the_new_one(
    open_model: Maker, tiny: Path, root: Path
) -> None:
    model = open_model(tiny)
    keeper = keeper_of(model, root)
    evaluate(model, words(1, 100))
    tiny_llama(tiny.with_name("new"), n_head=2, seed=5).replace(tiny)
    keeper.idle(never)
    assert keeper.before(words(1, 120), "7") == 0
    assert files_of(root) == []
