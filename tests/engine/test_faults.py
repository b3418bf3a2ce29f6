"""What goes wrong with a worker becomes one error with a cause, and the next request works."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.engine.conftest import load

from corral.engine import process, protocol, worker
from corral.engine.engine import Engine
from corral.engine.protocol import Delta, Finished, LoadSpec, Sampling
from corral.errors import CorralError, EngineDied, EngineError, EngineHung

posix = pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")


def misbehaving(body: str) -> tuple[str, ...]:
    """A command that runs ``body`` in place of a worker, as a process of its own."""
    program = "import sys, time, os, json\nsend = lambda **m: (sys.stdout.write(json.dumps(m)"
    program += " + '\\n'), sys.stdout.flush())\n" + textwrap.dedent(body)
    return (sys.executable, "-c", program)


READY = "send(type='ready', pid=1, binding='0', system_info='', gpu_offload=False)\n"


@posix
@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (signal.SIGKILL, "memory ran out"),
        (signal.SIGSEGV, "crashed"),
        (signal.SIGABRT, "llama.cpp stopped itself"),
        (signal.SIGBUS, "model file changed"),
        (signal.SIGFPE, "crashed over a number"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_death_in_the_middle_of_an_answer(
    engine: Engine, starter: Path, number: signal.Signals, cause: str
) -> None:
    await load(engine, starter)
    text = ""
    killed = 0.0
    with pytest.raises(EngineDied, match=cause):
        async for event in engine.generate([1, 2, 3, 4], Sampling(seed=1)):
            if isinstance(event, Delta):
                text += event.text
                if not killed and event.tokens > 3 and engine.pid:
                    killed = time.monotonic()
                    os.kill(engine.pid, number)
    assert time.monotonic() - killed < 15
    assert text
    # The next one gets a new worker.
    await load(engine, starter)
    async for event in engine.generate([1, 2, 3], Sampling(seed=1), max_tokens=2):
        last = event
    assert isinstance(last, Finished)


@posix
async def test_a_frozen_worker_is_noticed(
    engine: Engine, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEARTBEAT_LIMIT", 2.0)
    await load(engine, starter)
    with pytest.raises(EngineHung):
        async for event in engine.generate([1, 2, 3], Sampling(seed=1)):
            if isinstance(event, Delta) and event.tokens > 2 and engine.pid:
                os.kill(engine.pid, signal.SIGSTOP)
    await load(engine, starter)


@posix
async def test_a_worker_that_does_not_stop_is_killed(engine: Engine, starter: Path) -> None:
    await load(engine, starter)
    stopped = 0.0
    with pytest.raises(EngineDied, match="in time"):
        async for event in engine.generate([1, 2, 3], Sampling(seed=1)):
            if isinstance(event, Delta) and not stopped and engine.pid:
                stopped = time.monotonic()
                os.kill(engine.pid, signal.SIGSTOP)
                engine.stop()
    assert time.monotonic() - stopped < 15


async def test_a_worker_that_hangs_before_it_is_ready_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "READY_LIMIT", 1.5)
    command = misbehaving("time.sleep(60)")
    engine = Engine(tmp_path / "engine.log", command=lambda: command)
    with pytest.raises(EngineHung):
        await engine.spare_bytes()
    await engine.close()


async def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = Engine(tmp_path / "file" / "engine.log")
    with pytest.raises(EngineDied, match="log"):
        await engine.ready()


def test_a_fault_while_something_is_kept_does_not_end_the_answers() -> None:
    inference = object.__new__(worker.Inference)  # Without the native library.
    inference.requests = queue.Queue()
    inference._unsaved, inference._idle_seconds = True, 0.0
    request = protocol.Describe(id=1)

    class Broken:
        def idle(self, interrupted: Callable[[], bool]) -> None:
            inference.requests.put(request)
            raise ValueError("a fault")

    inference._keeper = Broken()
    assert inference._next() is request and inference._keeper is None


def test_what_cannot_be_sent_is_made_sendable() -> None:
    line = protocol.encode(protocol.Tokenize(id=1, segments=(("text", "a\ud800b"),)))
    command = protocol.parse_command(line)
    assert isinstance(command, protocol.Tokenize) and command.segments == (("text", "a?b"),)


@pytest.mark.parametrize(
    "body",
    [
        "sys.stdout.write('hello\\n')",
        "sys.stdout.buffer.write(b'\\xff\\xfe\\x00\\n')",
        READY + "send(type='delta', id='x', text=3)",
        READY + "send(type='unheard of')",
        READY + "sys.stdout.write('x' * (9 * 1024 * 1024) + '\\n')",
        READY + "print('[]')",
    ],
    ids=["text", "bytes", "wrong types", "unknown", "huge", "not an object"],
)
async def test_garbage_on_the_pipe_ends_the_worker(tmp_path: Path, body: str) -> None:
    command = misbehaving(body + "\nsys.stdout.flush()\ntime.sleep(30)")
    engine = Engine(tmp_path / "engine.log", command=lambda: command)
    with pytest.raises(EngineError, match="makes no sense"):
        await collect(engine)
    await engine.close()


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise SystemExit(3)", "code 3"),
        ("os.abort()", "stopped itself"),
        (READY + "time.sleep(0.2); raise SystemExit(0)", "code 0"),
        ("send(type='error', id=None, code='internal', message='no libgomp')", "no libgomp"),
    ],
)
async def test_a_worker_that_cannot_start_says_why(tmp_path: Path, body: str, cause: str) -> None:
    command = misbehaving(body)
    engine = Engine(tmp_path / "engine.log", command=lambda: command)
    with pytest.raises(EngineError, match=cause):
        await collect(engine)
    await engine.close()


async def test_a_missing_interpreter_is_told(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine.log", command=lambda: (str(tmp_path / "nothing"),))
    with pytest.raises(EngineDied, match="could not be started"):
        await collect(engine)


async def collect(engine: Engine) -> None:
    async for _ in engine.load(LoadSpec(path="/nowhere.gguf", n_ctx=256)):
        pass


async def test_a_file_that_is_no_model_is_refused_and_the_engine_goes_on(
    engine: Engine, starter: Path, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + os.urandom(4096))
    with pytest.raises(CorralError) as caught:
        await load(engine, junk)
    assert caught.value.title == "Not loaded"
    await load(engine, starter)


PARENT = """
import asyncio, sys
from pathlib import Path
from corral.engine.engine import Engine
from corral.engine.protocol import LoadSpec, Sampling
async def main():
    engine = Engine(Path(sys.argv[1]))
    async for event in engine.load(LoadSpec(path=sys.argv[2], n_ctx=2048)): pass
    async for event in engine.generate([1, 2, 3], Sampling(seed=1)):
        if event.type == "delta":
            print(engine.pid, flush=True)
asyncio.run(main())
"""


@posix
async def test_the_worker_dies_with_its_parent(starter: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "engine.log"), str(starter)],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        await asyncio.sleep(0.05)


SLEEPER = """
import asyncio, sys
from pathlib import Path
from corral.engine import process
from corral.engine.engine import Engine
from corral.engine.protocol import LoadSpec, Sampling
process.HEARTBEAT_LIMIT = 2.0
async def main():
    engine = Engine(Path(sys.argv[1]))
    async for event in engine.load(LoadSpec(path=sys.argv[2], n_ctx=1024)): pass
    bias = {token: -1000.0 for token in (0, 2)}
    sampling = Sampling(temperature=0, logit_bias=bias)
    async for event in engine.generate([1, 2, 3], sampling, max_tokens=100, lookup=False):
        if event.type == "delta":
            print(engine.pid, flush=True)
    print(event.stop_reason, event.usage.completion_tokens, flush=True)
    await engine.close()
asyncio.run(main())
"""


@posix
async def test_an_answer_goes_on_after_the_machine_was_suspended(
    starter: Path, tmp_path: Path
) -> None:
    """Stopped for longer than a worker may be silent: app and worker wake up together."""
    parent = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path / "engine.log"), str(starter)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in (parent.pid, worker):
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            await asyncio.sleep(5.0)
    output, _ = await asyncio.to_thread(parent.communicate, timeout=120)
    assert output.splitlines()[-1] == "length 100"
    assert parent.returncode == 0


@posix
async def test_no_zombies_and_no_open_descriptors_are_left(tmp_path: Path, starter: Path) -> None:
    me = psutil.Process()
    engine = Engine(tmp_path / "engine.log")
    before = 0
    for attempt in range(6):
        await engine.ready()
        await engine.close()
        if attempt == 1:
            before = me.num_fds()
    assert me.num_fds() <= before
    assert [c for c in me.children() if c.status() == psutil.STATUS_ZOMBIE] == []


def test_nothing_in_the_environment_makes_a_worker_load_foreign_code() -> None:
    made = process.worker_environment(
        {"PYTHONPATH": ".", "LLAMA_CPP_LIB_PATH": "/x", "GGML_BACKEND_PATH": "/y", "HOME": "/h"}
    )
    assert made["HOME"] == "/h"
    assert not {"PYTHONPATH", "LLAMA_CPP_LIB_PATH", "GGML_BACKEND_PATH"} & made.keys()
    assert made["GGML_NO_BACKTRACE"] == "1"
