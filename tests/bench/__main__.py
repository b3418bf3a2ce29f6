"""``make bench ARGS="contention startup"``: run subjects, print tables, keep JSON as well.

A figure here is a ratio of things measured in turn in one run: machines are shared and noisy.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
from pathlib import Path

from corral.paths import Paths

SUBJECTS = ("contention", "fit", "generation", "startup", "transfer")


def main() -> None:
    chosen = sys.argv[1:] or SUBJECTS
    folder = Paths.from_environment().data / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        subject = importlib.import_module(f"tests.bench.{name}")
        print(f"\n{name}: {(subject.__doc__ or '').splitlines()[0]}")
        result = subject.run()
        for row in result["rows"]:
            print("  " + "  ".join(f"{key} {value}" for key, value in row.items()))
        report = {
            "subject": name,
            "machine": f"{platform.machine()}, {platform.processor() or platform.system()}",
            "python": platform.python_version(),
            **result,
        }
        path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        path.write_text(json.dumps(report, indent=1))
        print(f"  kept in {Path(path)}")


if __name__ == "__main__":
    main()
