"""Kill -9 at random moments while an answer streams: nothing committed is lost, nothing breaks.

``CORRAL_KILLS`` sets how often each victim is killed; 50 takes some minutes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import psutil
import pytest

CORRAL = (sys.executable, "-P", "-m", "corral")
KILLS = int(os.environ.get("CORRAL_KILLS", "4"))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is a POSIX matter")

# A small program on the real parts that tells on stdout what a screen would have shown by when.
PROGRAM = """
import asyncio, json, sys, time
from corral.chatting import Finished, Sent, Started, Words
from corral.parts import build
from corral.paths import Paths
async def main():
    parts = build(Paths.from_environment())
    conversation = parts.store.create_conversation()
    def tell(**what): print(json.dumps(what | {"at": time.monotonic()}), flush=True)
    for number in range(1000):
        turn = parts.chatting.send(conversation.id, f"Write a long story, number {number}.")
        async for event in turn:
            if isinstance(event, Sent): tell(sent=event.message.id, text=event.message.text)
            elif isinstance(event, Started): tell(answer=event.message.id)
            elif isinstance(event, Words):
                tell(words=turn.answer.id, text=turn.text, worker=parts.engine.pid)
            elif isinstance(event, Finished):
                tell(finished=event.message.id, status=event.message.status)
asyncio.run(main())
"""


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)


def read_until_words(process: subprocess.Popen[bytes], told: list[dict[str, object]]) -> int:
    """Read until the answer streams; gives the worker's process id."""
    assert process.stdout is not None
    for line in process.stdout:
        told.append(json.loads(line))
        if worker := told[-1].get("worker"):
            assert isinstance(worker, int)
            return worker
    raise AssertionError("the program ended early")


def check(database: Path, told: list[dict[str, object]], died: float) -> None:
    """Everything told more than a second before the death is in the database, and whose it is."""
    with apsw.Connection(str(database)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        rows = dict(connection.execute("select id, text from message"))
        models = dict(connection.execute("select id, model from message where text <> ''"))
    for event in told:
        if "sent" in event:
            assert rows[event["sent"]] == event["text"]
        if "words" in event and float(str(event["at"])) < died - 1.0:
            assert str(rows[event["words"]]).startswith(str(event["text"]))
            assert "smollm2" in str(models[event["words"]])


def next_start_works() -> None:
    done = subprocess.run(
        [*CORRAL, "history", "list", "--json"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for conversation in json.loads(done.stdout):
        shown = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "corral",
                "history",
                "show",
                str(conversation["id"]),
                "--json",
            ],
            capture_output=True,
            timeout=60,
        )
        statuses = [message["status"] for message in json.loads(shown.stdout)["messages"]]
        assert "streaming" not in statuses


@pytest.mark.parametrize("attempt", range(KILLS))
def test_the_app_is_killed(private_home: Path, attempt: int) -> None:
    told: list[dict[str, object]] = []
    with start() as process:
        worker = read_until_words(process, told)
        time.sleep(random.Random(attempt).uniform(0.0, 2.5))
        process.kill()
        died = time.monotonic()
        assert process.stdout is not None
        told += [json.loads(line) for line in process.stdout if line.endswith(b"}\n")]
    check(private_home / "data" / "corral.db", told, died)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != "zombie":
        assert time.monotonic() < deadline, "the worker outlived the app"
        time.sleep(0.02)
    next_start_works()


@pytest.mark.parametrize("attempt", range(KILLS))
def test_the_worker_is_killed(private_home: Path, attempt: int) -> None:
    told: list[dict[str, object]] = []
    with start() as process:
        worker = read_until_words(process, told)
        time.sleep(random.Random(attempt).uniform(0.0, 1.5))
        os.kill(worker, signal.SIGKILL)
        # One failed answer, and the next turn streams from a new worker.
        assert process.stdout is not None
        failed = False
        for line in process.stdout:
            told.append(json.loads(line))
            failed |= told[-1].get("status") == "failed"
            if failed and told[-1].get("worker") not in (None, worker):
                break
        process.kill()
        died = time.monotonic()
    assert failed
    check(private_home / "data" / "corral.db", told, died)
    next_start_works()
