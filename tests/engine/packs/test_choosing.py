"""Which engine a worker gets; and that an answer comes whatever the others do."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest
from tests.engine.conftest import load
from tests.support.engine_packs import (
    COMPILER,
    ILLEGAL,
    chooser,
    fake_pack,
    prober,
    real_pack,
)

from corral.engine.engine import Engine
from corral.engine.packs.choosing import Chooser
from corral.engine.packs.notes import Notes
from corral.engine.packs.shelf import BUILT_IN, Shelf
from corral.engine.process import worker_command
from corral.engine.protocol import Finished, Sampling
from corral.errors import EngineDied, EngineError

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


async def answers(engine: Engine, starter: Path) -> None:
    """The chat works."""
    await load(engine, starter)
    last = None
    async for event in engine.generate([1, 2, 3], Sampling(seed=1), max_tokens=3):
        last = event
    assert isinstance(last, Finished) and last.usage.completion_tokens == 3


def library_of(engine: Engine) -> str:
    """The folder of the library that the worker really has mapped."""
    assert engine.pid is not None
    maps = psutil.Process(engine.pid).memory_maps(grouped=True)
    (found,) = {os.path.dirname(one.path) for one in maps if "libllama" in one.path}
    return found


async def test_without_packs_nothing_is_tried(tmp_path: Path) -> None:
    packs = chooser(tmp_path, command=lambda: pytest.fail("tried"))
    engine = Engine(tmp_path / "engine.log", packs=packs)
    await engine.ready()
    assert packs.used == BUILT_IN and not (tmp_path / "engines.json").exists()
    await engine.close()


async def test_one_is_used_and_another_one_after_that(
    tmp_path: Path, copy: Path, starter: Path
) -> None:
    packs = chooser(tmp_path, "copy")
    pack = packs.shelf.add(copy)
    engine = Engine(tmp_path / "engine.log", packs=packs)
    await answers(engine, starter)
    assert packs.used == pack.name and library_of(engine) == str(pack.folder)
    engine.change_pack(BUILT_IN)
    assert library_of(engine) == str(pack.folder), "what is loaded stays as it is"
    spec = engine.loaded_spec
    assert spec is not None
    await engine.discard(spec)
    await answers(engine, starter)
    assert packs.used == BUILT_IN and library_of(engine) != str(pack.folder)
    assert packs.new_notices() == []
    await engine.close()


async def test_the_one_that_came_along_goes_before_its_equal(tmp_path: Path, copy: Path) -> None:
    packs = chooser(tmp_path)
    packs.shelf.add(copy)
    found = await packs.look()
    assert [one.pack.name for one in packs.order(found)] == [BUILT_IN, copy.name]
    assert packs.why(found) == "the best that works here"
    packs.wanted = copy.name
    assert packs.order(found)[0].pack.name == copy.name and packs.why(found) == "you chose it"


@needs_compiler
async def test_a_broken_choice_is_left_out_and_the_chat_works(
    tmp_path: Path, starter: Path
) -> None:
    packs = chooser(tmp_path, "broken")
    packs.shelf.add(fake_pack(tmp_path / "made", "broken", ILLEGAL))
    engine = Engine(tmp_path / "engine.log", packs=packs)
    await answers(engine, starter)
    assert packs.used == BUILT_IN
    (notice,) = engine.notices()
    assert "it was built for another kind of processor; built-in is used instead" in notice
    assert engine.notices() == []
    await engine.close()


async def test_a_verdict_is_remembered_until_something_changes(tmp_path: Path, copy: Path) -> None:
    tries: list[str] = []
    here = "a driver"

    def command() -> tuple[str, ...]:
        tries.append("x")
        return worker_command()

    def fresh() -> Chooser:
        return Chooser(
            Shelf(tmp_path / "engines"),
            tmp_path / "engines.json",
            prober(tmp_path, command=command),
            fingerprint=lambda: here,
        )

    fresh().shelf.add(copy)
    assert all(one.ok for one in await fresh().look()) and len(tries) == 2
    assert all(one.ok for one in await fresh().look()) and len(tries) == 2
    assert all(one.ok for one in fresh().known())
    here = "another driver"
    assert [one.said for one in fresh().known()] == ["was not tried yet"] * 2
    await fresh().look()
    assert len(tries) == 4
    pack = tmp_path / "engines" / copy.name
    library = next(pack.glob("libllama*"))
    library.write_bytes(library.read_bytes() + b"x")
    await fresh().look()
    assert len(tries) == 4, "what was changed is not run at all"


DIES_WITH_A_PACK = """
import os, signal, sys
if "LLAMA_CPP_LIB_PATH" in os.environ:
    os.kill(os.getpid(), signal.SIGILL)
sys.argv = ["worker"]
from corral.engine.worker import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are a POSIX matter")
async def test_one_that_dies_before_it_is_ready_is_followed_by_the_next(
    tmp_path: Path, copy: Path, starter: Path
) -> None:
    """The try went well, and the worker does not: a driver was taken away meanwhile."""
    packs = chooser(tmp_path, copy.name)
    packs.shelf.add(copy)
    assert all(one.ok for one in await packs.look())
    command = (sys.executable, "-P", "-c", DIES_WITH_A_PACK)
    engine = Engine(tmp_path / "engine.log", command=lambda: command, packs=packs)
    await answers(engine, starter)
    assert packs.used == BUILT_IN
    assert any("ended before it was ready" in notice for notice in engine.notices())
    await engine.close()
    again = chooser(tmp_path, copy.name)
    (_, second) = again.known()
    assert second.reason == "it was built for another kind of processor"
    assert (await again.tried(copy.name)).ok, "asked for by name, it is tried again"


async def test_none_works(tmp_path: Path, copy: Path) -> None:
    packs = chooser(tmp_path, command=lambda: (sys.executable, "-c", "raise SystemExit(3)"))
    packs.shelf.add(copy)
    engine = Engine(tmp_path / "engine.log", packs=packs)
    with pytest.raises(
        EngineDied, match=r"No engine works on this machine: .*it ended with code 3"
    ):
        await engine.ready()
    await engine.close()


async def test_whoever_does_not_wait_any_longer_leaves_no_process(
    tmp_path: Path, copy: Path
) -> None:
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    packs = chooser(tmp_path, copy.name)
    packs.shelf.add(copy)
    await packs.look()
    engine = Engine(tmp_path / "engine.log", command=lambda: sleeper, packs=packs)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await engine.ready()
    await engine.close()
    children = psutil.Process().children(recursive=True)
    assert not [one for one in children if "time.sleep(60)" in " ".join(one.cmdline())]


async def test_a_choice_that_is_gone_is_told(tmp_path: Path, copy: Path) -> None:
    packs = chooser(tmp_path, "copy")
    packs.shelf.add(copy)
    engine = Engine(tmp_path / "engine.log", packs=packs)
    await engine.ready()
    await engine.close()
    shutil.rmtree(packs.shelf.folder)
    packs = chooser(tmp_path, "copy")
    engine = Engine(tmp_path / "engine.log", packs=packs)
    await engine.ready()
    assert packs.used == BUILT_IN
    assert engine.notices() == [
        "The engine copy is not used: it is not here any more; built-in is used instead"
    ]
    await engine.close()
    assert Notes(tmp_path / "engines.json").used == BUILT_IN


async def test_packs_of_another_version_lie_there_and_do_no_harm(tmp_path: Path) -> None:
    packs = chooser(tmp_path, command=lambda: pytest.fail("tried"))
    old = real_pack(tmp_path / "engines", "old", binding="0.3.35")
    found = {one.pack.name: one for one in packs.known()}
    assert found[old.name].reason.startswith("it is for llama-cpp-python 0.3.35")


async def test_an_unwritable_log_is_no_fault_of_a_pack(tmp_path: Path, copy: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    packs = chooser(tmp_path, log=tmp_path / "file" / "engine.log")
    packs.shelf.add(copy)
    found = await packs.look()
    assert not any(one.ok for one in found)
    assert not any(one.verdict and one.verdict.lasting for one in found)
    engine = Engine(tmp_path / "engine.log", packs=packs)
    with pytest.raises(EngineError, match="log"):
        await engine.ready()
    await engine.close()
