"""Kept states in the life of the program: closed, killed, on a full and on a read-only disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.states import files_of

from corral.engine.engine import Engine
from corral.engine.process import worker_command
from corral.engine.protocol import Delta, Finished, Loaded, LoadSpec, Sampling, States
from corral.engine.states.shelf import Shelf

TEXT = (
    "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve. " * 8 + "One, two,"
)
SMALL_FILES = '{"write": 4000000}'
"""With a disk that slow, some 40 tokens are one file."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, mounts and limits of POSIX")


@contextlib.asynccontextmanager
async def started(
    tmp_path: Path, model: Path, root: Path, command: tuple[str, ...] | None = None
) -> AsyncIterator[Engine]:
    """The program from its start to its end, with the model loaded."""
    engine = Engine(
        tmp_path / "logs" / "engine.log",
        command=lambda: command or worker_command(),
        states=States(folder=str(root), limit=1 << 30, idle_seconds=0.05),
    )
    try:
        spec = LoadSpec(path=str(model), n_ctx=1024, threads=1)
        events = [event async for event in engine.load(spec)]
        assert isinstance(events[-1], Loaded)
        yield engine
    finally:
        await engine.close()


async def answer(engine: Engine, conversation: str = "7") -> tuple[str, Finished]:
    tokens = await engine.tokenize([("text", TEXT)])
    text, finished = "", None
    async for event in engine.generate(
        tokens, Sampling(temperature=0), max_tokens=12, conversation=conversation
    ):
        if isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Finished):
            finished = event
    assert finished is not None
    return text, finished


async def until_kept(root: Path, count: int) -> None:
    end = time.monotonic() + 60
    while len(files_of(root)) < count:
        assert time.monotonic() < end, "nothing was written"
        await asyncio.sleep(0.005)


async def test_what_was_evaluated_yesterday_is_not_evaluated_again(
    tmp_path: Path, starter: Path
) -> None:
    root = tmp_path / "kv"
    async with started(tmp_path, starter, root) as engine:
        _, first = await answer(engine)
        expected, _ = await answer(engine)
    assert first.usage.evaluated_tokens == first.usage.prompt_tokens > 150
    (entry,) = Shelf(root).entries()
    assert entry.conversation == "7" and entry.tokens >= first.usage.prompt_tokens
    async with started(tmp_path, starter, root) as engine:
        text, again = await answer(engine)
    assert text == expected
    assert again.usage.evaluated_tokens == 1
    assert again.usage.reused_tokens == first.usage.prompt_tokens - 1


async def test_killed_in_the_middle_of_writing(tmp_path: Path, starter: Path) -> None:
    root = tmp_path / "kv"
    root.mkdir()
    (root / "rates.json").write_text(SMALL_FILES)
    async with started(tmp_path, starter, root) as engine:
        expected, first = await answer(engine)
        await until_kept(root, 2)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
    written = len(files_of(root))
    (files_of(root)[0].parent / "99999999-0a1b2c3d.tmp").write_bytes(b"half")
    async with started(tmp_path, starter, root) as engine:
        text, again = await answer(engine)
    assert text == expected
    assert 0 < again.usage.reused_tokens <= first.usage.prompt_tokens
    assert not list(root.rglob("*.tmp"))
    assert len(files_of(root)) >= written
    assert {path.stat().st_mode & 0o077 for path in root.rglob("*.kv")} == {0}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, which is some 80 tokens."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs more rights")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_only_means_that_less_is_kept(
    tmp_path: Path, starter: Path, small_disk: Path
) -> None:
    root = small_disk / "kv"
    async with started(tmp_path, starter, root) as engine:
        expected, _ = await answer(engine)
    assert not list(root.rglob("*.tmp"))
    (small_disk / "filler").write_bytes(b"x" * (1 << 20))
    async with started(tmp_path, starter, root) as engine:
        text, _ = await answer(engine)
    assert text == expected


async def test_a_disk_that_became_read_only_is_still_read(
    tmp_path: Path, starter: Path, small_disk: Path
) -> None:
    root = small_disk / "kv"
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    async with started(tmp_path, starter, root) as engine:
        await answer(engine)
        expected, _ = await answer(engine)
    kept = files_of(root)
    assert kept
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    async with started(tmp_path, starter, root) as engine:
        text, again = await answer(engine)
        assert text == expected
        assert again.usage.evaluated_tokens == 1
        Shelf(root).clear()
        await answer(engine, "8")
    assert files_of(root) == kept


async def test_files_that_may_not_become_that_large(tmp_path: Path, starter: Path) -> None:
    """As a quota: every write behind 1 MiB fails."""
    program = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "runpy.run_module('corral.engine.worker', run_name='__main__')"
    )
    root = tmp_path / "kv"
    command = (worker_command()[0], "-P", "-c", program)
    async with started(tmp_path, starter, root, command) as engine:
        expected, _ = await answer(engine)
        text, again = await answer(engine)
    assert text == expected
    assert again.usage.evaluated_tokens == 1
    assert not [path for path in root.rglob("*") if path.suffix in (".kv", ".tmp")]
    log = (tmp_path / "logs" / "engine.log").read_text(errors="replace")
    assert log.count("kept prompts: nothing is kept for now") == 1
    assert "One, two" not in log
