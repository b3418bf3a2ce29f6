"""LoRA adapters in the real engine: on, scaled, off; two at once; and what may be reused of it all.

The adapters are random and belong to a tiny model with random weights; the strict test is that a
model whose weights were changed in its file says the same as the model with the adapter.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from tests.engine.conftest import load
from tests.engine.test_engine import GREEDY, answer
from tests.support.gguf_files import tiny_llama
from tests.support.lora_files import lora, shapes
from tests.support.states import files_of

from corral.engine.engine import Engine
from corral.engine.llama import adapters as native
from corral.engine.llama.adapters import AdapterError
from corral.engine.llama.model import LlamaModel
from corral.engine.llama.sequences import Sequences
from corral.engine.llama.states import Keeper
from corral.engine.params import Adapter, LoadSpec, States
from corral.engine.protocol import Sampling
from corral.engine.states.keys import Maker, adapter_set
from corral.errors import EngineError
from corral.models.gguf.adapter import check_numbers, mismatch, read_adapter
from corral.models.gguf.header import read_header, read_tensors

Open = Callable[..., LlamaModel]
PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
PROMPT = [1, *range(300, 340)]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "tiny.gguf")


def adapter(path: Path, scale: float = 1.0) -> Adapter:
    """As the rest of corral hands it to the engine: read and hashed."""
    sha256, status = check_numbers(read_adapter(path))
    return Adapter(
        path=str(path),
        sha256=sha256,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        scale=scale,
        name=path.stem,
    )


def logits(model: LlamaModel, *adapters: Adapter, prompt: Sequence[int] = PROMPT) -> np.ndarray:
    """Behind a prompt that is evaluated as a whole, from nothing."""
    import llama_cpp.llama_cpp as L

    model.use_adapters(adapters)
    for live in model.sequences.live():
        model.sequences.drop(live.id)
    assert model.begin(prompt) == 0
    model.evaluate(lambda done, total: None)
    row = L.llama_get_logits_ith(model.context, -1)
    return np.ctypeslib.as_array(row, (model.vocab.size,)).copy()


def reused(model: LlamaModel, *adapters: Adapter, conversation: str = "") -> int:
    model.use_adapters(adapters)
    found = model.begin(PROMPT, conversation)
    model.evaluate(lambda done, total: None)
    return found


# --- what it says -------------------------------------------------------------------------------


def test_on_scaled_and_off_changes_and_returns_exactly(
    open_model: Open, tiny: Path, tmp_path: Path
) -> None:
    model = open_model(tiny)
    cats = lora(tmp_path / "cats.gguf", shapes(parts=PARTS))
    plain = logits(model)
    full, half = logits(model, adapter(cats)), logits(model, adapter(cats, 0.5))
    assert len({int(row.argmax()) for row in (plain, full, half)}) > 1
    for one, other in ((plain, full), (full, half), (half, plain)):
        assert np.abs(one - other).max() > 0.05
    assert np.array_equal(logits(model), plain)
    assert np.array_equal(logits(model, adapter(cats)), full)
    assert np.array_equal(logits(model, adapter(cats, 0.5)), half)
    assert np.array_equal(logits(model, adapter(cats, 0.0)), plain)
    assert np.array_equal(logits(model), plain)


def test_two_at_once_in_any_order(open_model: Open, tiny: Path, tmp_path: Path) -> None:
    model = open_model(tiny)
    cats = adapter(lora(tmp_path / "cats.gguf", seed=1))
    dogs = adapter(lora(tmp_path / "dogs.gguf", seed=2), -0.7)
    plain, first, second = logits(model), logits(model, cats), logits(model, dogs)
    both = logits(model, cats, dogs)
    for other in (plain, first, second):
        assert np.abs(both - other).max() > 0.05
    assert np.array_equal(logits(model, dogs, cats), both)
    assert np.array_equal(logits(model, dogs), second)
    assert np.array_equal(logits(model), plain)


@pytest.mark.parametrize("type", ["F32", "F16", "BF16", "Q8_0"])
def test_says_what_a_model_with_changed_weights_says(
    open_model: Open, tiny: Path, tmp_path: Path, type: str
) -> None:
    targets = shapes(parts=PARTS)
    arrays: dict[str, np.ndarray] = {}
    path = lora(
        tmp_path / "cats.gguf", targets, rank=32, alpha=16.0, strength=0.1, type=type,
        change=arrays.update,
    )  # fmt: skip
    changed = merged(tiny, tmp_path / "merged.gguf", arrays, 0.8 * 16 / 32)
    with_adapter = logits(open_model(tiny), adapter(path, 0.8))
    without = logits(open_model(changed))
    plain = logits(open_model(tiny))
    distance = np.abs(with_adapter - without).max()
    assert distance < 0.05 * np.abs(plain - without).max()
    if type == "F32":
        assert np.allclose(with_adapter, without, atol=1e-3, rtol=1e-3)


def merged(model: Path, target: Path, arrays: dict[str, np.ndarray], factor: float) -> Path:
    """The model with ``factor · B·A`` added to its matrices."""
    shutil.copy2(model, target)
    reader = gguf.GGUFReader(target, "r+")
    for tensor in reader.tensors:
        if f"{tensor.name}.lora_a" in arrays:
            a, b = arrays[f"{tensor.name}.lora_a"], arrays[f"{tensor.name}.lora_b"]
            tensor.data[...] += factor * (b @ a)
    reader.data.flush()
    return target


def test_embeddings_and_output_can_be_changed(open_model: Open, tiny: Path, tmp_path: Path) -> None:
    model = open_model(tiny)
    targets = shapes(parts=("token_embd", "output"), n_vocab=model.vocab.size)
    path = lora(tmp_path / "words.gguf", targets)
    assert not mismatch(read_adapter(path), read_header(tiny).architecture, read_tensors(tiny))
    plain = logits(model)
    assert np.abs(logits(model, adapter(path)) - plain).max() > 0.05
    assert np.array_equal(logits(model), plain)


def test_quantized_models_take_them(open_model: Open, tmp_path: Path) -> None:
    model = open_model(tiny_llama(tmp_path / "tiny.gguf", type="Q8_0"))
    plain, path = logits(model), lora(tmp_path / "cats.gguf", shapes(parts=PARTS))
    assert np.abs(logits(model, adapter(path)) - plain).max() > 0.05
    assert np.array_equal(logits(model), plain)


async def test_guessing_ahead_changes_nothing(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    await load(engine, tiny)
    cats = adapter(lora(tmp_path / "cats.gguf"))
    sampling = Sampling(temperature=0.7, seed=4)
    texts = {
        lookup: await answer(
            engine, PROMPT, sampling, max_tokens=120, lookup=lookup, adapters=[cats]
        )
        for lookup in (False, True)
    }
    assert texts[False][0] == texts[True][0]


# --- what is reused -----------------------------------------------------------------------------


def test_what_was_evaluated_with_others_is_not_used(
    open_model: Open, tiny: Path, tmp_path: Path
) -> None:
    model = open_model(tiny)
    cats = lora(tmp_path / "cats.gguf", seed=1)
    dogs = adapter(lora(tmp_path / "dogs.gguf", seed=2))
    whole = len(PROMPT) - 1
    assert reused(model) == 0
    assert reused(model, adapter(cats)) == 0
    assert reused(model, adapter(cats, 0.5)) == 0
    assert reused(model, adapter(cats), dogs) == 0
    # Each of them is still there, and none of another.
    assert reused(model) == whole
    assert reused(model, adapter(cats, 0.5)) == whole
    assert reused(model, dogs, adapter(cats)) == whole
    assert reused(model, adapter(cats)) == whole
    assert reused(model, adapter(cats, 0.0)) == whole
    # The file is what counts, not its name.
    copy = Path(shutil.copy2(cats, tmp_path / "other.gguf"))
    assert reused(model, adapter(copy)) == whole


def test_sequences_of_other_adapters_are_no_beginning() -> None:
    class Memory:
        def copy(self, source: int, target: int, length: int) -> None: ...

        def trim(self, id: int, length: int) -> bool:
            return True

    sequences = Sequences(Memory(), 4, 100, lambda token: None)
    plain = sequences.place([1, 2, 3, 4])
    plain.live.tokens.extend(plain.rest)
    sequences.adapters = "cats"
    adapted = sequences.place([1, 2, 3, 4, 5])
    assert adapted.live is not plain.live and adapted.rest == [1, 2, 3, 4, 5]
    adapted.live.tokens.extend(adapted.rest)
    assert sequences.usable() == [adapted.live] and len(sequences.live()) == 2
    sequences.adapters = ""
    again = sequences.place([1, 2, 3, 4, 5])
    assert again.live is plain.live and again.rest == [5]


def test_what_is_kept_on_disk_belongs_to_its_adapters(
    open_model: Open, tiny: Path, tmp_path: Path
) -> None:
    cats, root = adapter(lora(tmp_path / "cats.gguf")), tmp_path / "kv"

    def keeper_of(model: LlamaModel) -> Keeper:
        keeper = Keeper(model, States(folder=str(root), limit=1 << 30))
        keeper.note_evaluated(1000, 10.0)
        return keeper

    model = open_model(tiny)
    expected = logits(model, cats)
    reused(model, cats, conversation="7")
    keeper_of(model).idle(lambda: False)
    [with_cats] = files_of(root)

    other = open_model(tiny)
    keeper = keeper_of(other)
    assert keeper.before(PROMPT, "7") == 0
    assert reused(other, conversation="7") == 0
    keeper.idle(lambda: False)
    folders = {path.parent.parent for path in files_of(root)}
    assert len(folders) == 2 and with_cats.parent.parent in folders

    third = open_model(tiny)
    keeper = keeper_of(third)
    third.use_adapters([cats])
    assert keeper.before(PROMPT, "7") == len(PROMPT)
    assert reused(third, cats) == len(PROMPT) - 1
    assert np.array_equal(logits(third, cats), expected)
    # In one worker both are brought back, each for its own.
    third.use_adapters([])
    assert keeper.before(PROMPT, "7") == len(PROMPT)
    assert reused(third) == len(PROMPT) - 1


def test_a_set_has_one_name_whatever_its_order(tiny: Path, tmp_path: Path) -> None:
    cats = adapter(lora(tmp_path / "cats.gguf", seed=1))
    dogs = adapter(lora(tmp_path / "dogs.gguf", seed=2), 0.5)
    off = dogs.model_copy(update={"scale": 0.0})
    assert adapter_set([]) == adapter_set([off]) == ""
    assert adapter_set([cats, dogs]) == adapter_set([dogs, cats]) != adapter_set([cats])
    spec = LoadSpec(path=str(tiny))
    keys = {
        Maker.of(spec, "f", n_layer=2, engine="1", adapters=adapter_set(some)).key
        for some in ([], [cats], [cats, dogs], [dogs])
    }
    assert len(keys) == 4


# --- what goes wrong ----------------------------------------------------------------------------


async def test_a_file_that_changed_or_went_is_an_error_and_no_more(
    engine: Engine, tiny: Path, tmp_path: Path
) -> None:
    await load(engine, tiny)
    path = lora(tmp_path / "cats.gguf")
    cats = adapter(path)
    text, _ = await answer(engine, PROMPT, max_tokens=8)
    os.utime(path, ns=(1, 1))
    with pytest.raises(EngineError, match="The file of the adapter cats was changed") as changed:
        await answer(engine, PROMPT, max_tokens=8, adapters=[cats])
    assert changed.value.title == "Adapter not loaded"
    path.unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        await answer(engine, PROMPT, max_tokens=8, adapters=[cats])
    pid = engine.pid
    assert (await answer(engine, PROMPT, max_tokens=8))[0] == text
    assert engine.pid == pid, "the worker went on"


def test_what_llama_cpp_refuses_leaves_the_ones_before(
    open_model: Open, tiny: Path, tmp_path: Path
) -> None:
    """Nobody checked it against the model: then llama.cpp does, and says why."""
    model = open_model(tiny)
    cats = adapter(lora(tmp_path / "cats.gguf"))
    large = adapter(lora(tmp_path / "large.gguf", {"blk.0.attn_q.weight": (128, 128)}))
    before = logits(model, cats)
    with pytest.raises(AdapterError, match="incorrect shape"):
        model.use_adapters([cats, large])
    assert model.sequences.adapters == adapter_set([cats])
    assert np.array_equal(logits(model, cats), before)


async def test_a_new_worker_is_given_them_again(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    await load(engine, tiny)
    cats = adapter(lora(tmp_path / "cats.gguf"))
    text, _ = await answer(engine, PROMPT, GREEDY, max_tokens=8, adapters=[cats])
    await engine.close()
    await load(engine, tiny)
    assert (await answer(engine, PROMPT, GREEDY, max_tokens=8, adapters=[cats]))[0] == text


def test_those_not_used_for_long_are_freed(
    open_model: Open, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(tiny)
    many = [adapter(lora(tmp_path / f"{number}.gguf", seed=number)) for number in range(5)]
    monkeypatch.setattr(native, "SPARE_BYTES", 2 * many[0].size)
    first = [logits(model, one) for one in many]
    assert model._adapters is not None
    assert len(model._adapters._loaded) == 3
    for _ in range(3):
        for one, expected in zip(many, first, strict=True):
            assert np.array_equal(logits(model, one), expected)
    plain = logits(model)
    assert len(model._adapters._loaded) == 2
    assert np.array_equal(logits(open_model(tiny)), plain)


def test_one_larger_than_memory_is_refused(
    open_model: Open, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        available = 10

    model = open_model(tiny)
    cats = adapter(lora(tmp_path / "cats.gguf"))
    monkeypatch.setattr("psutil.virtual_memory", Full)
    with pytest.raises(AdapterError, match=r"needs .* of memory"):
        model.use_adapters([cats])
