"""Real processes with real and broken libraries: whatever happens there is a sentence here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.support.engine_packs import (
    COMPILER,
    CRASHING,
    EMPTY,
    HANGING,
    ILLEGAL,
    compiled,
    fake_pack,
    prober,
    real_pack,
)

from corral.engine.packs.shelf import Pack, Shelf
from corral.engine.process import cause_of, worker_environment
from corral.errors import EngineDied

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
posix = pytest.mark.skipif(os.name != "posix", reason="shared objects of Linux and their like")


def taken(shelf: Shelf, pack: Path) -> Pack:
    return shelf.add(pack)


async def test_a_copy_of_the_engine_works_and_says_what_it_is(
    shelf: Shelf, copy: Path, tmp_path: Path
) -> None:
    verdict = await prober(tmp_path).probe(taken(shelf, copy))
    assert verdict.ok and verdict.reason == ""
    assert "CPU :" in verdict.system_info
    assert [device.kind for device in verdict.devices] == ["cpu"] and verdict.cards == ()
    assert verdict.commit.startswith("0c1e570") and verdict.ggml == "0.25.3"


async def test_its_own_libraries_go_before_those_of_the_environment(
    shelf: Shelf, copy: Path, tmp_path: Path
) -> None:
    """Another program's libggml, or a folder that depends on where somebody stands."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("libggml.so.0", "libggml-base.so.0", "libggml-cpu.so.0"):
        (other / name).write_bytes(b"not a library")
    environment = {**os.environ, "LD_LIBRARY_PATH": f":{other}:relative"}
    verdict = await prober(tmp_path, environment=environment).probe(taken(shelf, copy))
    assert verdict.ok, verdict.reason
    made = worker_environment(environment, Path("/packs/one"))
    assert made["LD_LIBRARY_PATH"] == f"/packs/one:{other}"
    assert made["LLAMA_CPP_LIB_PATH"] == "/packs/one"
    bare = worker_environment({"LD_LIBRARY_PATH": ":relative", "LLAMA_CPP_LIB_PATH": "/x"})
    assert not {"LD_LIBRARY_PATH", "LLAMA_CPP_LIB_PATH"} & bare.keys()


@posix
@needs_compiler
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (ILLEGAL, "it was built for another kind of processor"),
        (CRASHING, "it crashed"),
        (EMPTY, "it is of another version, or only part of one: llama_"),
    ],
    ids=["SIGILL", "SIGSEGV", "missing symbol"],
)
async def test_a_library_that_ends_the_process(
    shelf: Shelf, tmp_path: Path, source: str, reason: str
) -> None:
    pack = taken(shelf, fake_pack(tmp_path / "made", "broken", source))
    verdict = await prober(tmp_path).probe(pack)
    assert not verdict.ok and verdict.lasting
    assert verdict.reason.startswith(reason)


@posix
@needs_compiler
async def test_a_library_that_hangs(shelf: Shelf, tmp_path: Path) -> None:
    pack = taken(shelf, fake_pack(tmp_path / "made", "hanging", HANGING))
    verdict = await prober(tmp_path, seconds=2.0).probe(pack)
    assert not verdict.ok and verdict.lasting, "nobody waits for it at every start"
    assert verdict.reason == "it gave no answer within 2 seconds"


@posix
@needs_compiler
@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("libcuda.so.1", "the NVIDIA driver is not installed: libcuda.so.1 is missing"),
        ("libodd.so.7", "libodd.so.7 is missing, which it needs"),
    ],
)
async def test_a_library_without_its_driver(
    shelf: Shelf, tmp_path: Path, library: str, reason: str
) -> None:
    elsewhere = compiled(tmp_path / "there.so", EMPTY, f"-Wl,-soname,{library}")
    flags = ("-Wl,--no-as-needed", str(elsewhere))
    pack = taken(shelf, fake_pack(tmp_path / "made", "cuda", EMPTY, *flags, backend="cuda"))
    verdict = await prober(tmp_path).probe(pack)
    assert (verdict.ok, verdict.reason) == (False, reason)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"<html>login</html>" * 100])
async def test_bytes_that_are_no_library(shelf: Shelf, tmp_path: Path, data: bytes) -> None:
    pack = taken(shelf, fake_pack(tmp_path / "made", "bytes", data))
    verdict = await prober(tmp_path).probe(pack)
    assert (verdict.ok, verdict.reason) == (False, "its library is damaged, or none at all")


async def test_a_manifest_that_lies_about_the_version(shelf: Shelf, tmp_path: Path) -> None:
    pack = taken(shelf, real_pack(tmp_path / "made", "lie", llama_cpp="deadbee"))
    verdict = await prober(tmp_path).probe(pack)
    assert not verdict.ok
    assert verdict.reason.startswith("its manifest says llama.cpp deadbee, and it is 0c1e570")


async def test_a_pack_for_cards_that_finds_none(shelf: Shelf, tmp_path: Path) -> None:
    pack = taken(shelf, real_pack(tmp_path / "made", "vulkan", backend="vulkan"))
    verdict = await prober(tmp_path).probe(pack)
    assert not verdict.ok
    assert verdict.reason == "it found no graphics processor with a Vulkan driver"


async def test_no_process_at_all(shelf: Shelf, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineDied):
        nobody = prober(tmp_path, command=lambda: (str(tmp_path / "no such program"),))
        await nobody.probe(taken(shelf, copy))


@posix
def test_ends_have_names() -> None:
    assert cause_of(-signal.SIGILL) == "it was built for another kind of processor"
    assert cause_of(3) == "it ended with code 3"
    assert cause_of(-60) == "it was ended by signal 60"
