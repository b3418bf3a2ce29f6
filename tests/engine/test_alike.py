"""Rows of a step against the same tokens one by one, to the last bit."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as L
import pytest
from tests.support.gguf_files import tiny_llama
from tests.support.keeping import Maker
from tests.support.quantizing import quantize

from corral.engine.llama import by_row
from corral.engine.llama.alike import Alike
from corral.engine.llama.model import LlamaModel

LONG = 600
"""More tokens than a cache has whose attention llama.cpp does not divide among threads."""
GUESSES = [300 + 7 * number for number in range(32)]
X86 = platform.machine().lower() in ("x86_64", "amd64")

WAYS = [("f16", "f16"), ("q8_0", "q8_0"), ("f16", "q8_0"), ("f32", "f32")]


@pytest.fixture(scope="module")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By their type; wide enough for K-quants."""
    folder = tmp_path_factory.mktemp("alike")
    words = [f"w{number}" for number in range(600)]
    plain = tiny_llama(
        folder / "F16.gguf", n_embd=512, n_ff=768, n_head=8, context=1024, vocab=words, type="F16"
    )
    return {"F16": plain} | {
        quant: quantize(plain, folder / f"{quant}.gguf", quant) for quant in ("Q4_K_M", "Q6_K")
    }


def read(model: LlamaModel, length: int = LONG) -> None:
    """Evaluate a prompt of so many tokens."""
    model.begin([1, *(260 + number * 31 % 400 for number in range(length - 1))])
    model.evaluate(lambda _done, _total: None)


def row(model: LlamaModel, number: int) -> bytes:
    values = L.llama_get_logits_ith(model.context, number)
    return ctypes.string_at(values, 4 * model.vocab.size)


def one_by_one(model: LlamaModel, tokens: Sequence[int] = GUESSES) -> list[bytes]:
    """The row of each of them; they are forgotten afterwards."""
    rows = []
    for token in tokens:
        model.step_one(token)
        rows.append(row(model, 0))
    model.rewind(len(tokens))
    return rows


def differ(model: LlamaModel, alike: Alike, plain: list[bytes]) -> int:
    """Steps with all the room there is; gives how many rows were others than they are alone."""
    wrong = 0
    for _ in range(6):
        rows = alike.room()
        alike.step(GUESSES[:rows])
        assert model.tokens[-rows:] == GUESSES[:rows]
        wrong += sum(row(model, number) != plain[number] for number in range(rows))
        alike.rewind(rows)
        for token in (*GUESSES, 1):
            alike.step([token])
        alike.rewind(len(GUESSES) + 1)
    return wrong


@pytest.mark.parametrize(("type_k", "type_v"), WAYS)
@pytest.mark.parametrize("name", ["F16", "Q4_K_M", "Q6_K", "starter"])
def test_rows_are_what_they_are_alone(
    open_model: Maker,
    random_models: dict[str, Path],
    starter: Path,
    name: str,
    type_k: str,
    type_v: str,
) -> None:
    path = random_models.get(name, starter)
    model = open_model(path, n_ctx=1024, threads=2, type_k=type_k, type_v=type_v, flash_attn="on")
    read(model)
    alike = Alike(model)
    plain = one_by_one(model)
    assert differ(model, alike, plain) == 0
    # What was found out holds: nothing is tried any more, and still nothing differs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alike, "_row", lambda _alike, _row: pytest.fail("tried again"))
        assert differ(model, alike, plain) == 0
    if name == "starter" and X86:
        assert alike.room() == len(GUESSES)


@pytest.mark.skipif(not X86, reason="what a kernel rounds is known of x86-64")
def test_more_rows_than_are_alike_are_not_taken(
    open_model: Maker, random_models: dict[str, Path]
) -> None:
    model = open_model(random_models["F16"], n_ctx=1024)
    read(model, 20)
    alike = Alike(model)
    plain = one_by_one(model)
    said = model.tokens.copy()
    assert differ(model, alike, plain) == 0
    assert alike.room() == 1
    # What was tried in vain left nothing behind.
    assert model.tokens == said and one_by_one(model) == plain
    # Who does not mind the rounding takes them all.
    loose = open_model(random_models["F16"], n_ctx=1024, exact=False)
    read(loose, 20)
    assert differ(loose, Alike(loose), plain) > 0


def test_more_is_tried_when_all_room_was_wanted(open_model: Maker, starter: Path) -> None:
    model = open_model(starter)
    read(model, 20)
    alike = Alike(model)
    alike.begin()
    found = []
    for number in (0, 1, 2, 3, 4, 5, 6, 7):
        alike.step([GUESSES[number]])
        found.append(alike.room())
    alike.step(GUESSES[8:11])  # Not all of it.
    alike.step(GUESSES[11:14])
    found.append(alike.room())
    alike.step(GUESSES[14:18])
    alike.rewind(1)  # It was wrong, and says nothing.
    alike.step(GUESSES[18:22])
    found.append(alike.room())
    alike.step(GUESSES[22:23])
    found.append(alike.room())
    alike.step(GUESSES[23:24])
    found.append(alike.room())
    expected = [1, 1, 1, 1, 4, 4, 4, 4, 4, 4, 4, 8]
    assert found == expected if X86 else found[:4] == expected[:4]


def test_rows_of_another_answer_say_nothing(open_model: Maker, starter: Path) -> None:
    model = open_model(starter)
    read(model, 20)
    alike = Alike(model)
    for token in GUESSES[:3]:
        alike.step([token])
    alike.begin()
    alike.step(GUESSES[3:4])
    alike.step(GUESSES[4:5])
    assert alike.room() == 1


@pytest.mark.parametrize("name", ["Q4_K_M", "starter"])
def test_the_number_of_threads_changes_nothing(
    open_model: Maker, random_models: dict[str, Path], starter: Path, name: str
) -> None:
    found = []
    for threads in (1, 2, 3):
        model = open_model(
            random_models.get(name, starter), n_ctx=1024, threads=threads, flash_attn="on"
        )
        read(model)
        found.append(one_by_one(model, GUESSES[:12]))
    assert found[0] == found[1] == found[2]


def test_a_prompt_is_read_as_ever(open_model: Maker, starter: Path) -> None:
    """The switch is for answers: prompts are faster without it."""
    model = open_model(starter, n_ctx=1024, threads=2, flash_attn="on")
    seen: list[tuple[str, bool]] = []
    switch = model.computing._by_row
    assert switch is not None

    decode = L.llama_decode

    def noted(context: Any, batch: Any) -> int:
        seen.append(("step" if batch.n_tokens == 1 else "prompt", switch._on))
        return int(decode(context, batch))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L, "llama_decode", noted)
        for _ in range(2):
            read(model, 40)
            one_by_one(model, GUESSES[:2])
            for live in model.sequences.live():
                model.sequences.drop(live.id)
    assert seen == [("prompt", False), ("step", True), ("step", True)] * 2


def test_what_is_not_as_it_is_known_is_left_alone(
    open_model: Maker, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, switch = by_row._processor()
    assert device and switch
    table = (ctypes.c_void_p * 16).from_address(device)
    before = list(table)
    open_model(starter)
    assert list(table) == before
    monkeypatch.setattr(by_row, "_VERSION", 99)
    assert by_row._processor() == (None, None)
    model = open_model(starter)
    assert list(table) == before
    read(model, 30)
    assert len(set(one_by_one(model))) == len(GUESSES)


def test_a_context_that_is_refused_leaves_the_device_as_it_was(
    open_model: Maker, starter: Path
) -> None:
    device, _ = by_row._processor()
    assert device
    table = (ctypes.c_void_p * 16).from_address(device)
    before = list(table)
    switch = by_row.ByRow()
    with pytest.raises(RuntimeError), switch.noting():
        assert list(table) != before
        raise RuntimeError
    assert list(table) == before
    switch.set(True)  # There is none to set.
    assert open_model(starter).n_ctx == 512
