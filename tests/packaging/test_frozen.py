"""A frozen program has no ``-m``: it starts itself by arguments; and how its archive is packed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.support.scripts import script

from corral import program
from corral.engine.process import worker_command


def test_the_program_is_the_engine_when_it_is_told_so(tmp_path: Path) -> None:
    """What a frozen program starts as its worker, started here with the interpreter."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "corral", program.WORKER],
        input=b'{"type":"shutdown"}\n',
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    ready = json.loads(done.stdout.splitlines()[0])
    assert ready["type"] == "ready" and ready["binding"] == "0.3.36"
    assert done.returncode == 0


def test_a_frozen_program_starts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_command()[1:] == ("-P", "-m", "corral.engine.worker")
    assert program.again("ask")[1:] == ["-P", "-m", "corral", "ask"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", "/opt/somewhere/corral")
    assert worker_command() == ("/opt/somewhere/corral", program.WORKER)
    assert program.again("--offline") == ["/opt/somewhere/corral", "--offline"]


def test_every_process_takes_over_how_the_interpreter_was_started() -> None:
    ask = "from corral import program; print(program.again(), program.worker())"
    for given, kept in ((["-I"], "'-I', '-m'"), (["-X", "utf8", "-P"], "'-X', 'utf8', '-P', '-m'")):
        done = subprocess.run(
            [sys.executable, *given, "-c", ask], capture_output=True, text=True, check=True
        )
        assert done.stdout.count(kept) == 2, done.stdout


def test_the_archive_does_not_depend_on_who_packed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795219200")
    pack = script("archive.py").pack
    digests = set()
    for number, mode in enumerate((0o755, 0o700)):
        folder = tmp_path / f"made {number}"
        (folder / "_internal").mkdir(parents=True, mode=mode)
        (folder / "corral").write_text("program")
        (folder / "corral").chmod(mode)
        (folder / "_internal" / "data").write_text("data")
        (folder / "_internal" / "link").symlink_to("data")
        os.utime(folder / "corral", (number, number))
        archive = tmp_path / str(number) / "corral-1-linux.tar.gz"
        pack(folder, archive)
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1
    with tarfile.open(archive) as packed:
        members = {member.name: member for member in packed}
    assert members["corral-1-linux/corral"].mode == 0o755
    assert members["corral-1-linux/_internal/link"].linkname == "data"
    assert {member.uid for member in members.values()} == {0}
