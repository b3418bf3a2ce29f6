"""Forms: how many answers parse and satisfy their schema, and what following a grammar costs.

``CORRAL_FORM_RUNS`` is how often each preset is asked, else 200 times.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.engines import starter
from tests.support.gguf_files import tiny_llama
from tests.support.json_schema import satisfies

from corral.chat.formats import FORMATS, Turn, render
from corral.chat.presets import Preset
from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Finished, Loaded, LoadSpec, Sampling
from corral.presets import Presets

RUNS = int(os.environ.get("CORRAL_FORM_RUNS", "200"))
TEXTS = (
    "Maria Quispe sold 12 llamas in Cusco on 3 May 2021. She was delighted.",
    "The parcel never came, and nobody at Andes Wool answers my letters!",
    "It is what it is.",
)


def run() -> dict[str, Any]:
    with TemporaryDirectory(prefix="corral-bench-") as name:
        return {"rows": asyncio.run(_run(Path(name))), "runs": RUNS}


async def _run(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for title, path, format in (
        ("random weights", tiny_llama(folder / "random.gguf", context=2048), "llama-2"),
        ("SmolLM2 135M", starter(), "chatml"),
    ):
        engine = Engine(folder / "engine.log")
        async for event in engine.load(LoadSpec(path=str(path), n_ctx=2048)):
            assert not isinstance(event, Loaded) or event.n_ctx == 2048
        presets = [Presets().get(one) for one in ("sentiment", "entities", "extract")]
        presets.insert(1, Presets().get("classify").with_labels(["trade", "complaint", "other"]))
        for preset in presets:
            rows.append({"model": title} | await _preset(engine, preset, format))
        await engine.close()
    return rows


async def _preset(engine: Engine, preset: Preset, format: str) -> dict[str, Any]:
    most = int(preset.parameters["max_tokens"])
    grammar = preset.form(most)[0]
    good = closed = tokens = 0
    started = time.perf_counter()
    for seed in range(RUNS):
        dialogue = preset.framed([Turn(TEXTS[seed % len(TEXTS)], None, 1)])
        prompt = await engine.tokenize(render(FORMATS[format], "", dialogue)[0])
        # Hot, so that what is improbable is met, too.
        sampling = Sampling(temperature=1.0, top_p=1.0, seed=seed, grammar=grammar)
        text = ""
        async for event in engine.generate(prompt, sampling, max_tokens=most):
            if isinstance(event, Delta):
                text += event.text
            elif isinstance(event, Finished):
                closed += event.stop_reason == "length"
                tokens += event.usage.completion_tokens
        good += _is_good(preset, text)
    seconds = time.perf_counter() - started
    return {
        "preset": preset.name,
        "good": f"{good} of {RUNS}",
        "closed": closed,
        "tokens": tokens,
        "tok/s": round(tokens / seconds, 1),
    }


def _is_good(preset: Preset, text: str) -> bool:
    if not preset.schema:
        return text in preset.labels
    try:
        return satisfies(json.loads(text), json.loads(preset.schema))
    except ValueError:
        return False
