"""Generation while a real terminal is painted, against the same answers without painting.

The whole program runs in a pseudo-terminal with the starter and answers the same question greedily,
in turn with the answer on the screen and with the answer's widget stopped. Divided by what
``generation`` measures against llama-bench, this is what a person gets of llama.cpp's speed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

PAIRS = 6
TOKENS = 256


def run() -> dict[str, Any]:
    from tests.bench.screen import Terminal

    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        report = Path(folder) / "report.json"
        terminal = Terminal([sys.executable, "-m", "tests.bench.painting", folder])
        try:
            while not report.exists():
                terminal.read(0.5)
                if terminal.process.poll() is not None:
                    raise RuntimeError(terminal.output[-2000:].decode("utf-8", "replace"))
        finally:
            terminal.close()
        pairs = json.loads(report.read_text())[1:]  # The first one loads the model.
    ratios = [pair["painted"]["speed"] / pair["plain"]["speed"] for pair in pairs]
    return {
        "rows": [
            {
                "answers": kind,
                "tok/s": round(median(pair[kind]["speed"] for pair in pairs), 1),
                "CPU of the screen's process, of a core": round(
                    median(pair[kind]["share"] for pair in pairs), 3
                ),
            }
            for kind in ("plain", "painted")
        ]
        + [{"painted of plain": round(median(ratios), 3), "pairs": len(pairs)}]
    }


async def _answer(app: Any, *, painted: bool) -> dict[str, float]:
    live = await app.chat.conversing.send("Tell me a long story about a llama in the mountains.")
    live.before = None
    app.chat.tell()
    began = 0.0
    cpu = 0.0
    while app.turns.live:
        if live.tokens and not began:
            began, cpu = time.perf_counter(), time.process_time()
            if not painted:
                for view in app.chat.transcript._views.values():
                    if getattr(view, "_timer", None) is not None:
                        view._timer.pause()
        await asyncio.sleep(0.1)
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    answer = live.answer
    return {"speed": answer.timings["tokens_per_second"], "share": share}


async def _measure(app: Any, report: Path) -> None:
    while not (app.furnished and app.chat.ready):
        await asyncio.sleep(0.1)
    pairs = []
    for _ in range(PAIRS + 1):
        pair = {}
        for kind in ("plain", "painted"):
            await app.chat.open_conversation(None)
            pair[kind] = await _answer(app, painted=kind == "painted")
            await asyncio.sleep(0.3)
        pairs.append(pair)
    report.with_suffix(".part").write_text(json.dumps(pairs))
    report.with_suffix(".part").replace(report)


def _program(folder: Path) -> None:
    from corral.parts import build
    from corral.paths import Paths
    from corral.tui import app

    paths = Paths(folder / "config", folder / "data", folder / "cache", folder / "logs")
    paths.make()
    paths.settings_file.write_text(
        f"[sampling]\ntemperature = 0.0\nmax_tokens = {TOKENS}\n[engine]\nlookup = false\n"
    )

    class Measured(app.CorralApp):
        CSS_PATH = Path(app.__file__).with_name("app.tcss")  # type: ignore[assignment]

        def on_ready(self) -> None:
            self.run_worker(_measure(self, folder / "report.json"), exit_on_error=True)

    Measured(lambda: build(paths), paths).run()


if __name__ == "__main__":
    _program(Path(sys.argv[1]))
