"""``corral bench`` as a script sees it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.cli.conftest import Corral
from tests.support.calibrated import calibrate
from tests.support.gguf_files import tiny_llama

from corral.parts import build
from corral.paths import Paths

NAMES = ["load", "prompt", "generation", "reuse", "restore"]


@pytest.fixture
def known(private_home: Path) -> None:
    """The machine was measured before."""
    parts = build(Paths.from_environment())
    calibrate(parts)
    parts.close_stores()


def test_prints_one_object(corral: Corral, known: None, tmp_path: Path) -> None:
    tiny = tiny_llama(tmp_path / "tiny.gguf")
    run = corral("bench", "-m", str(tiny), "--json")
    assert run.code == 0, run.err
    assert list(run.json) == ["machine", "engine", "model", "results", "seconds"]
    assert list(run.json["results"]) == NAMES
    for result in run.json["results"].values():
        assert {"value", "unit", "reference", "ratio"} <= set(result)
    assert run.json["model"]["file"] == str(tiny)
    assert run.json["machine"]["cores"]
    # A file is known by its path and size: its speed is a measured one from now on.
    fit = corral("models", "fit", str(tiny), "--json").json
    assert fit["measured"] is True


def test_prints_a_table(corral: Corral, known: None, tmp_path: Path) -> None:
    run = corral("bench", "-m", str(tiny_llama(tmp_path / "tiny.gguf")))
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    assert "CPU" in lines[0]
    titles = [line.split("  ")[0] for line in lines[1:-1]]
    assert titles == ["Load", "Prompt", "Generation", "Next turn", "Reopened"]
    assert lines[-1].startswith("Measured in ")


def test_no_such_model_is_exit_code_3(corral: Corral) -> None:
    run = corral("bench", "-m", "nobody", "--json")
    assert run.code == 3
    assert run.json["type"] == "error" and run.json["hint"] is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_its_workers(
    starter: Path, private_home: Path, known: None, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "corral", "bench", "-m", str(starter), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        cache = private_home / "cache"
        end = time.monotonic() + 60
        while not list(cache.glob("bench-*")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert out == b"" and b"Traceback" not in err
    assert not list(cache.glob("bench-*"))
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
