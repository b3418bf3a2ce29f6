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
from corral.engine.llama.cancel import Cancelled, LoadError
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


@pytest.fixture
def starter_alike(open_model: Maker, starter: Path) -> Alike:
    """Of the starter, with a short prompt evaluated."""
    model = open_model(starter)
    read(model, 20)
    return Alike(model)


def one_by_one(model: LlamaModel, tokens: Sequence[int] = GUESSES) -> list[bytes]:
    """The row of each of them; they are forgotten afterwards."""
    rows = []
    for token in tokens:
        model.step_one(token)
        rows.append(model.logits())
    model.rewind(len(tokens))
    return rows


def differ(model: LlamaModel, alike: Alike, plain: list[bytes]) -> int:
    """A step that wants all rows; how many of those decoded are others than they are alone."""
    rows, seconds = alike.step(GUESSES)
    assert seconds > 0 and model.tokens[-rows:] == GUESSES[:rows]
    wrong = sum(model.logits(number) != plain[number] for number in range(rows))
    alike.rewind(rows)
    return wrong


def teach(alike: Alike, plain: Sequence[bytes] | None = None) -> None:
    """Say so much alone that any number of rows can be tried, until nothing is left to try."""
    model = alike._model
    while alike._alike + 1 < alike._unlike:
        alike.step(GUESSES)  # Wants more, so that what follows is noted.
        before = alike._alike, alike._unlike
        said = 0
        while (alike._alike, alike._unlike) == before:
            alike.step([GUESSES[said]])
            said += 1
            assert said <= len(GUESSES) + 1
        alike.rewind(said + before[0])
        assert plain is None or differ(model, alike, list(plain)) == 0


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
    said, plain = model.tokens.copy(), one_by_one(model)
    teach(alike, plain)
    # What was found out holds, what was tried left nothing behind, and nothing is tried any more.
    assert model.tokens == said and one_by_one(model) == plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alike, "_try", lambda _alike: pytest.fail("tried again"))
        assert differ(model, alike, plain) == 0
    assert not alike._wanted and not alike._rows
    if name == "starter" and X86:
        assert alike.most == len(GUESSES) == alike.step(GUESSES)[0]


@pytest.mark.skipif(not X86, reason="what a kernel rounds is known of x86-64")
def test_more_rows_than_are_alike_are_not_taken(
    open_model: Maker, random_models: dict[str, Path]
) -> None:
    model = open_model(random_models["F16"], n_ctx=1024)
    read(model)
    alike = Alike(model)
    plain = one_by_one(model)
    teach(alike)
    assert alike.most == 1 and differ(model, alike, plain) == 0
    # Who does not mind the rounding takes them all, however full the cache is.
    loose = open_model(random_models["F16"], n_ctx=1024, exact=False)
    read(loose)
    assert differ(loose, Alike(loose), plain) > 0
    assert Alike(loose).step(GUESSES)[0] == len(GUESSES)


def test_it_is_tried_when_more_is_wanted(starter_alike: Alike) -> None:
    alike = starter_alike
    alike.begin()
    found = []
    # At first nobody wants more than one.
    for wanted in (1, 1, 2, 4, 1, 4, 8, 3, 8):
        found.append(alike.step(GUESSES[:wanted])[0])
    alike.step(GUESSES[:8])
    alike.rewind(3)  # They were wrong, and say nothing.
    found.append(alike.step(GUESSES[:4])[0])
    found.append(alike.step(GUESSES[:9])[0])
    assert found == [1, 1, 1, 1, 1, 1, 4, 3, 4, 4, 8] if X86 else found[:6] == [1] * 6


def test_rows_of_another_answer_say_nothing(starter_alike: Alike) -> None:
    alike = starter_alike
    for token in GUESSES[:3]:
        alike.step([token, 5])
    alike.begin()
    assert alike.step([7, 5])[0] == alike.step([7, 5])[0] == 1


def test_with_other_adapters_it_is_tried_again(starter_alike: Alike) -> None:
    alike, model = starter_alike, starter_alike._model
    alike.begin()
    teach(alike)
    known = alike._alike
    alike.begin()
    assert alike._alike == known
    model.sequences.adapters = "others"
    alike.begin()
    assert (alike._alike, alike.most) == (1, len(GUESSES))


def test_where_a_fuller_cache_has_other_kernels_it_is_tried_again(
    open_model: Maker, starter: Path
) -> None:
    model = open_model(starter, n_ctx=1024)
    model.varies_with_cells = True
    read(model, 100)
    alike = Alike(model)
    alike.begin()
    teach(alike)
    known = alike._alike
    assert alike.step(GUESSES)[0] == known
    read(model, 300)
    alike.begin()
    assert alike.step(GUESSES)[0] == 1
    read(model, 100)
    assert alike.step(GUESSES)[0] == 1


def test_a_stop_while_it_is_tried(starter_alike: Alike) -> None:
    alike, model = starter_alike, starter_alike._model
    for token in GUESSES[:4]:
        alike.step([token, 5])
    before = model.tokens.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L, "llama_decode", lambda *_: 2)
        with pytest.raises(Cancelled):
            alike.step([300, 5])
    assert model.tokens == before[: len(model.tokens)]
    alike.begin()
    assert alike.step([300, 5])[0] == 1
    assert model.tokens[-1] == 300


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
    device, address = by_row._processor()
    assert device and address
    table = (ctypes.c_void_p * 16).from_address(device)
    before = list(table)
    open_model(starter)
    assert list(table) == before
    monkeypatch.setattr(by_row, "_VERSION", 99)
    assert by_row._processor() == (None, None)
    model = open_model(starter)
    assert list(table) == before
    read(model, 30)
    switch = model.computing._by_row
    assert switch is not None and not switch.works and model.varies_with_cells
    assert one_by_one(model, GUESSES[:3])


def test_a_context_that_is_refused_leaves_the_device_as_it_was(
    open_model: Maker, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = by_row._processor()
    assert device
    table = (ctypes.c_void_p * 16).from_address(device)
    before, during = list(table), list[object]()
    with monkeypatch.context() as patch:
        patch.setattr(L, "llama_init_from_model", lambda *_: during.extend(table))
        with pytest.raises(LoadError):
            open_model(starter)
    assert during != before and list(table) == before
    assert open_model(starter).n_ctx == 512
