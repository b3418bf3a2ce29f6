"""The engine on the real starter model: answers, reuse, stop, and agreement with llama.cpp."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.engine.conftest import load

from corral.chat.formats import CHATML, Turn, render
from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Finished, LoadSpec, Progress, Sampling
from corral.errors import EngineError

GREEDY = Sampling(temperature=0)


async def prompt(engine: Engine, *turns: tuple[str, str | None]) -> list[int]:
    dialogue = [Turn(user, answer, 1) for user, answer in turns]
    return list(await engine.tokenize(render(CHATML, "", dialogue)[0]))


async def answer(
    engine: Engine, tokens: Sequence[int], sampling: Sampling = GREEDY, **options: object
) -> tuple[str, Finished]:
    text, finished = "", None
    async for event in engine.generate(tokens, sampling, **options):  # type: ignore[arg-type]
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Finished):
            finished = event
    assert finished is not None
    return text, finished


async def test_a_real_answer(engine: Engine, starter: Path) -> None:
    loaded = await load(engine, starter)
    assert loaded.n_ctx == 1024
    assert loaded.layers == loaded.n_layer + 1 == 31
    text, finished = await answer(
        engine, await prompt(engine, ("What is the capital of France?", None))
    )
    assert "Paris" in text
    assert finished.stop_reason == "end"
    assert finished.usage.prompt_tokens == finished.usage.evaluated_tokens
    assert finished.timings.tokens_per_second > 1


async def test_the_next_turn_evaluates_only_what_is_new(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    first = await prompt(engine, ("What is the capital of France?", None))
    text, one = await answer(engine, first)
    second = await prompt(engine, ("What is the capital of France?", text), ("And of Italy?", None))
    _, two = await answer(engine, second)
    seen = one.usage.prompt_tokens + one.usage.completion_tokens
    assert two.usage.prompt_tokens == two.usage.reused_tokens + two.usage.evaluated_tokens
    assert two.usage.reused_tokens >= seen - 4


async def test_an_exact_hit_gives_the_same_answer(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Name a colour.", None))
    one, _ = await answer(engine, tokens, max_tokens=12)
    two, again = await answer(engine, tokens, max_tokens=12)
    assert one == two
    assert again.usage.evaluated_tokens == 1


PLAIN_LOOP = """
import sys, json, numpy
import llama_cpp.llama_cpp as L
log = L.llama_log_callback(lambda *a: None); L.llama_log_set(log, None)
path, count, ids = sys.argv[1].encode(), int(sys.argv[2]), json.loads(sys.argv[3])
model = L.llama_model_load_from_file(path, L.llama_model_default_params())
params = L.llama_context_default_params(); params.n_ctx = 1024
context = L.llama_init_from_model(model, params)
vocab = L.llama_model_get_vocab(model); size = L.llama_vocab_n_tokens(vocab)
out = []
while len(out) < count:
    array = (L.llama_token * len(ids))(*ids)
    assert L.llama_decode(context, L.llama_batch_get_one(array, len(ids))) == 0
    logits = numpy.ctypeslib.as_array(L.llama_get_logits(context), shape=(size,))
    token = int(logits.argmax())
    if L.llama_vocab_is_eog(vocab, token): break
    out.append(token); ids = [token]
data = b""
import ctypes
buffer = ctypes.create_string_buffer(256)
for token in out:
    n = L.llama_token_to_piece(vocab, token, buffer, 256, 0, False)
    data += buffer.raw[:n]
sys.stdout.buffer.write(data)
"""


async def test_greedy_text_equals_llama_cpp(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Explain how rain forms, in three sentences.", None))
    text, _ = await answer(engine, tokens, max_tokens=60)
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN_LOOP, str(starter), "60", str(tokens)],
        capture_output=True,
        check=True,
    )
    assert text == plain.stdout.decode("utf-8", "replace")


async def test_the_same_seed_says_the_same(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Tell me a story.", None))
    sampling = Sampling(temperature=1.2, top_p=0.95, seed=7)
    one, _ = await answer(engine, tokens, sampling, max_tokens=24)
    two, _ = await answer(engine, tokens, sampling, max_tokens=24)
    other, _ = await answer(engine, tokens, sampling.model_copy(update={"seed": 8}), max_tokens=24)
    assert one == two != other


async def test_every_sampler_works(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Name three animals.", None))
    for sampling in (
        Sampling(temperature=0.8, dynatemp_range=0.3, seed=1),
        Sampling(top_k=5, seed=1),
        Sampling(min_p=0.1, seed=1),
        Sampling(typical_p=0.7, seed=1),
        Sampling(top_n_sigma=1.0, seed=1),
        Sampling(xtc_probability=0.5, seed=1),
        Sampling(dry_multiplier=0.8, seed=1),
        Sampling(mirostat=1, seed=1),
        Sampling(mirostat=2, seed=1),
        Sampling(repeat_penalty=1.2, frequency_penalty=0.2, presence_penalty=0.2, seed=1),
        Sampling(temperature=0, repeat_penalty=1.3, penalty_last_n=-1),
        Sampling(samplers=("top_k", "temperature"), top_k=3, seed=1),
    ):
        text, finished = await answer(engine, tokens, sampling, max_tokens=8)
        assert text.strip(), sampling
        assert finished.usage.completion_tokens <= 8, sampling


async def test_logit_bias_forbids_a_token(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("What is the capital of France?", None))
    paris = (await engine.tokenize([("text", " Paris")]))[0]
    text, _ = await answer(
        engine, tokens, Sampling(temperature=0, logit_bias={paris: -1000.0}), max_tokens=20
    )
    assert " Paris" not in text


async def test_a_penalty_changes_what_greedy_says(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Write the word 'ha' twenty times.", None))
    plain, _ = await answer(engine, tokens, max_tokens=40)
    punished, _ = await answer(
        engine, tokens, Sampling(temperature=0, repeat_penalty=1.5), max_tokens=40
    )
    assert plain != punished


async def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(
    engine: Engine, starter: Path
) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("What is the capital of France?", None))
    text, finished = await answer(engine, tokens, stop=("Paris",))
    assert text.endswith("is ")
    assert finished.stop_reason == "end"


async def test_stop_in_generation_keeps_the_text(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Write a very long story about the sea.", None))
    text, finished = "", None
    async for event in engine.generate(tokens, Sampling(seed=3)):
        if isinstance(event, Delta):
            text += event.text
            if event.tokens >= 10:
                engine.stop()
        elif isinstance(event, Finished):
            finished = event
    assert finished is not None and finished.stop_reason == "stopped"
    assert text
    # The same worker answers the next request.
    pid = engine.pid
    assert (await answer(engine, tokens, max_tokens=2))[1].stop_reason == "length"
    assert engine.pid == pid


async def test_stop_in_prompt_evaluation_is_quick(engine: Engine, starter: Path) -> None:
    await load(engine, starter, n_ctx=8192)
    tokens = [5000 + n % 3000 for n in range(8000)]
    started = stopped = 0.0
    async for event in engine.generate(tokens, GREEDY):
        if isinstance(event, Progress) and event.done and not started:
            started = time.monotonic()
            engine.stop()
        elif isinstance(event, Finished):
            stopped = time.monotonic()
            assert event.stop_reason == "stopped"
            assert event.usage.completion_tokens == 0
            assert event.usage.prompt_tokens < 4000
    assert 0 < stopped - started < 1.0
    # What was evaluated is still there.
    _, again = await answer(engine, tokens[:64], max_tokens=1)
    assert again.usage.reused_tokens >= 32


async def test_stop_while_loading(engine: Engine, starter: Path) -> None:
    spec = LoadSpec(path=str(starter), n_ctx=1024, load_mode="read", check_tensors=True)
    with pytest.raises(EngineError) as caught:
        async for event in engine.load(spec):
            assert isinstance(event, Progress), "the load was not stopped"
            engine.stop()
    assert caught.value.title == "Stopped"
    await load(engine, starter)


async def test_leaving_the_stream_stops_the_worker(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    tokens = await prompt(engine, ("Write a very long story.", None))
    stream = engine.generate(tokens, GREEDY)
    async for event in stream:
        if isinstance(event, Delta):
            break
    await stream.aclose()
    text, _ = await answer(engine, await prompt(engine, ("Say hi.", None)), max_tokens=3)
    assert text


async def test_a_prompt_that_fills_the_window_is_refused(engine: Engine, starter: Path) -> None:
    await load(engine, starter, n_ctx=256)
    with pytest.raises(EngineError, match="256"):
        await answer(engine, [1] * 256)
    _, finished = await answer(engine, [1] * 250, max_tokens=50)
    assert finished.stop_reason in ("length", "end")
    assert finished.usage.completion_tokens <= 6


@pytest.mark.parametrize("kv", ["q8_0", "q4_0"])
async def test_a_quantized_cache_answers(engine: Engine, starter: Path, kv: str) -> None:
    await load(engine, starter, type_k=kv, type_v=kv)
    text, _ = await answer(
        engine, await prompt(engine, ("What is the capital of France?", None)), max_tokens=10
    )
    assert text


async def test_a_refused_combination_is_told_and_the_engine_goes_on(
    engine: Engine, starter: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        await load(engine, starter, type_v="q8_0", flash_attn="off")
    assert caught.value.title == "Not loaded"
    await load(engine, starter)


async def test_devices_are_listed(engine: Engine) -> None:
    devices = await engine.devices()
    assert [d for d in devices if d.kind == "cpu" and d.memory_total > 1 << 28]


async def test_another_model_gets_another_worker(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    first = engine.pid
    await load(engine, starter)
    assert engine.pid == first, "the same again is not loaded again"
    await load(engine, starter, n_ctx=512)
    assert engine.pid != first


async def test_the_worker_is_kept_off_the_terminal_and_the_current_directory(
    engine: Engine, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("llama_cpp", "pydantic", "json"):
        (trap / f"{name}.py").write_text("raise SystemExit('loaded from the current directory')")
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", str(trap))
    await load(engine, starter)
    if sys.platform == "linux":
        links = [Path(f"/proc/{engine.pid}/fd/{n}").resolve() for n in (0, 1, 2)]
        assert links[0] == Path("/dev/null")
        assert links[1] == links[2] == (tmp_path / "logs" / "engine.log")


async def test_requests_wait_for_nothing_but_their_turn(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    counts = await asyncio.gather(*(engine.tokenize([("text", f"hello {n}")]) for n in range(20)))
    assert all(len(ids) >= 2 for ids in counts)


async def test_the_log_has_what_a_person_may_ask_for_and_no_more(
    engine: Engine, starter: Path, tmp_path: Path
) -> None:
    """llama.cpp has thousands of lines of debugging for each load, and each takes time."""
    await load(engine, starter)
    log = (tmp_path / "logs" / "engine.log").read_text(encoding="utf-8")
    assert "CPU_Mapped model buffer size" in log and "KV buffer size" in log
    assert "create_tensor" not in log and len(log.splitlines()) < 400
