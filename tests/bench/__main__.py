"""``make bench ARGS="generation prompt"``: run subjects, print tables, keep JSON as well.

A figure here is a ratio of things measured in turn in one run: machines are shared and noisy.
``LLAMA_BENCH=path`` names the llama-bench that subjects are measured against; those that need it
are left out without it, unless they are asked for by name.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.bench.figures import machine

from corral.paths import Paths

SUBJECTS = (
    "generation",
    "prompt",
    "contention",
    "reuse",
    "restore",
    "speculation",
    "swap",
    "startup",
    "screen",
    "painting",
    "search",
    "transfer",
    "fit",
    "forms",
)
"""What ``make bench`` runs; ``kernels``, which takes long and decides nothing, only by name."""
NEEDS_REFERENCE = {"generation", "prompt", "swap"}


def main() -> None:
    chosen = sys.argv[1:]
    reference = bool(os.environ.get("LLAMA_BENCH"))
    if not chosen:
        chosen = [name for name in SUBJECTS if reference or name not in NEEDS_REFERENCE]
        for name in sorted(set(SUBJECTS) - set(chosen)):
            print(f"{name} is left out: LLAMA_BENCH names no llama-bench")
    folder = Paths.from_environment().data / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in chosen:
        try:
            _subject(name, folder)
        except Exception:
            # What one subject cannot do is no reason to lose the figures of the others.
            traceback.print_exc()
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _subject(name: str, folder: Path) -> None:
    subject = importlib.import_module(f"tests.bench.{name}")
    print(f"\n{name}: {(subject.__doc__ or '').splitlines()[0]}", flush=True)
    before = machine()
    started = time.monotonic()
    result = subject.run()
    for rows in _tables(result["rows"]):
        _print(rows)
    report = {
        "subject": name,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "seconds": round(time.monotonic() - started),
        **before,
        "load after": machine()["load"],
        **result,
    }
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(report, indent=1))
    versions = f"llama-cpp-python {before['llama-cpp-python']}, Python {before['python']}"
    built = f", llama.cpp {result['llama.cpp']}" if "llama.cpp" in result else ""
    load = f"load {before['load'][0]} before, {report['load after'][0]} after"
    print(f"  {before['processor']}, {before['cores']} cores; {versions}{built}; {load}")
    print(f"  kept in {path}", flush=True)


def _tables(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows with the same columns belong together."""
    found: list[list[dict[str, Any]]] = []
    for row in rows:
        if found and list(found[-1][0]) == list(row):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _print(rows: list[dict[str, Any]]) -> None:
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
