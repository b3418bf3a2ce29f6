"""The models that the tests make are real: llama.cpp loads them and generates with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.gguf_files import spm_vocabulary, tiny_llama

RUN = """
import ctypes, json, os, sys
out = os.dup(1)
os.dup2(2, 1)
import llama_cpp as engine

parameters = engine.llama_model_default_params()
parameters.n_gpu_layers = 0
model = engine.llama_model_load_from_file(sys.argv[1].encode(), parameters)
vocabulary = engine.llama_model_get_vocab(model)
text = "hello llama é".encode()
ids = (ctypes.c_int32 * 64)()
count = engine.llama_tokenize(vocabulary, text, len(text), ids, 64, True, False)
prompt = list(ids[:count])
options = engine.llama_context_default_params()
options.n_ctx = 256
options.n_threads = options.n_threads_batch = 1
context = engine.llama_init_from_model(model, options)
step, answer = prompt, []
for _ in range(8):
    ids = (ctypes.c_int32 * len(step))(*step)
    assert engine.llama_decode(context, engine.llama_batch_get_one(ids, len(step))) == 0
    logits = engine.llama_get_logits_ith(context, -1)
    step = [max(range(engine.llama_vocab_n_tokens(vocabulary)), key=lambda id: logits[id])]
    answer += step
os.write(out, json.dumps([prompt, answer]).encode())
"""


def _run(path: Path) -> tuple[list[int], list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    prompt, answer = json.loads(done.stdout)
    return prompt, answer


@pytest.mark.parametrize("type", ["F32", "F16", "Q8_0"])
def test_a_tiny_model_generates(tmp_path: Path, type: str) -> None:
    prompt, answer = _run(tiny_llama(tmp_path / "tiny.gguf", type=type))
    pieces = [token[0] for token in spm_vocabulary()]
    assert [pieces[id] for id in prompt] == [
        "<s>", "▁hello", "▁llama", "▁", "<0xC3>", "<0xA9>",
    ]  # fmt: skip
    assert len(answer) == 8
    assert len(set(answer)) > 1


def test_the_seed_decides_what_it_says(tmp_path: Path) -> None:
    one = tiny_llama(tmp_path / "one.gguf", seed=1)
    assert one.read_bytes() == tiny_llama(tmp_path / "same.gguf", seed=1).read_bytes()
    assert _run(one)[1] != _run(tiny_llama(tmp_path / "two.gguf", seed=2))[1]
