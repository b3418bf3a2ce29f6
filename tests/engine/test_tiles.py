"""Rows that nobody looks at fill a step up to whole tiles, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import llama_cpp.llama_cpp as L
import numpy as np
import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.native import log
from tests.support.quantizing import quantize

from corral.engine.llama.cancel import CancelFlag, Cancelled
from corral.engine.llama.model import CHUNK_LEAST, TILE, LlamaModel
from corral.engine.protocol import LoadSpec

WINDOW = 256


@pytest.fixture(scope="module")
def cancel() -> CancelFlag:
    return CancelFlag()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, cancel: CancelFlag) -> Iterator[LlamaModel]:
    folder = tmp_path_factory.mktemp("tiles")
    plain = tiny_llama(folder / "plain.gguf", n_embd=256, n_ff=512, type="F16")
    path = quantize(plain, folder / "repacked.gguf", "Q4_0")
    spec = LoadSpec(path=str(path), n_ctx=WINDOW, threads=1, n_seq_max=2)
    model = LlamaModel(spec, log(), lambda _: None, cancel)
    yield model
    model.close()


def evaluate(model: LlamaModel, prompt: list[int], *, tiled: bool) -> np.ndarray:
    """The logits behind a prompt, evaluated from its first token on."""
    for live in model.sequences.live():
        model.sequences.drop(live.id)
    model._tiled = tiled
    model.begin(prompt)
    model.evaluate(lambda _done, _total: None)
    logits = L.llama_get_logits_ith(model.context, -1)
    return np.ctypeslib.as_array(logits, (model.vocab.size,)).copy()


def positions(model: LlamaModel) -> int:
    """How many positions llama.cpp has of the current sequence."""
    assert model._live is not None
    return int(L.llama_memory_seq_pos_max(model.memory, model._live.id)) + 1


@pytest.mark.parametrize("count", [TILE - 1, 2 * TILE - 3, 5])
def test_a_prompt_filled_up_says_the_same_and_leaves_nothing(model: LlamaModel, count: int) -> None:
    prompt = [1, *range(40, 39 + count)]
    plain = evaluate(model, prompt, tiled=False)
    filled = evaluate(model, prompt, tiled=True)
    np.testing.assert_allclose(filled, plain, atol=0.02 * float(np.ptp(plain)))
    assert filled.argmax() == plain.argmax()
    assert model.tokens == prompt
    assert positions(model) == count
    # What follows goes on where the prompt ends.
    model.step([50])
    assert positions(model) == count + 1


def test_where_the_window_has_no_cell_to_spare_nothing_is_filled_up(model: LlamaModel) -> None:
    prompt = [1, *range(40, 40 + WINDOW - TILE - 2)]
    evaluate(model, prompt, tiled=True)
    rows = [60] * (TILE - 1)
    assert model._idle_rows(len(rows)) == 1
    model.step(rows)
    assert positions(model) == len(prompt) + len(rows) == WINDOW - 2
    model._tiled = True
    model.step([61])
    assert model._idle_rows(TILE - 1) == 0


def test_a_full_window_takes_guesses_up_to_its_last_cell(model: LlamaModel) -> None:
    prompt = [1, *range(40, 40 + WINDOW - TILE)]
    evaluate(model, prompt, tiled=True)
    other = model.sequences.live()
    model.step([60] * (TILE - 1))
    assert positions(model) == WINDOW
    assert model.sequences.live() == other


def test_a_step_that_is_cancelled_leaves_no_row_of_the_filling(
    model: LlamaModel, cancel: CancelFlag
) -> None:
    prompt = [1, *range(40, 60)]
    evaluate(model, prompt, tiled=True)
    cancel.set()
    try:
        with pytest.raises(Cancelled):
            model.step([60] * (TILE - 1))
    finally:
        cancel.clear()
    assert positions(model) == len(model.tokens) <= len(prompt) + 1


def test_pieces_of_a_long_prompt_are_whole_tiles(model: LlamaModel) -> None:
    assert model.n_batch == WINDOW  # So that only halves are cut.
    for left in range(CHUNK_LEAST["cpu"] + 1, 4 * WINDOW, 7):
        piece = model._chunk(left)
        assert piece % TILE == 0
        assert 0 < piece <= WINDOW
