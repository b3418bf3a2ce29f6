"""Whoever gets corral gets the licence texts of all that comes with it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from tests.support.scripts import PACKAGING, script
from tests.support.wheels import wheel

licences = script("licences.py")
wheelinfo = script("wheelinfo.py")


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_texts_come_from_every_place_wheels_have_put_them(tmp_path: Path) -> None:
    wheel(tmp_path, "new-one", files={"{info}/licenses/deep/LICENSE.MIT": "new"})
    wheel(tmp_path, "Old.One", files={"{info}/LICENCE": "old", "{info}/AUTHORS.rst": "names"})
    wheel(
        tmp_path,
        "listed",
        headers="License-File: GPL.txt\n",
        files={"{info}/GPL.txt": "listed", "{info}/RECORD": "listed,,"},
    )
    wheel(
        tmp_path,
        "vendored",
        files={
            "{info}/licenses/COPYING": "all",
            "vendored/part/LICENSE": "part",
            "vendored/copy/LICENSE": "all",
            "vendored/licenses.py": "code",
        },
    )
    licences.collect(tmp_path, tmp_path / "out")
    found = files(tmp_path / "out")
    told = found.pop("THIRD-PARTY.txt")
    assert found == {
        "new-one-1.0/deep/LICENSE.MIT": "new",
        "old-one-1.0/LICENCE": "old",
        "old-one-1.0/AUTHORS.rst": "names",
        "listed-1.0/GPL.txt": "listed",
        "vendored-1.0/COPYING": "all",
        "vendored-1.0/package/vendored/part/LICENSE": "part",
    }
    for path in found:
        assert f"  Text: {path}\n" in told


def test_the_list_names_licence_and_home(tmp_path: Path) -> None:
    wheel(
        tmp_path,
        "b",
        headers="License: Apache 2.0\nProject-URL: Changelog, https://b/changes\n"
        "Project-URL: Source Code, https://b/source\n",
    )
    wheel(tmp_path, "a", headers="Classifier: License :: OSI Approved :: BSD License\n")
    wheel(tmp_path, "c", headers="")
    licences.collect(tmp_path, tmp_path / "out")
    told = (tmp_path / "out" / "THIRD-PARTY.txt").read_text().split("\n\n")[1:]
    assert told[0] == "a 1.0\n  Licence: BSD License\n  Text: a-1.0/LICENSE"
    assert told[1].splitlines()[1:3] == ["  Licence: Apache-2.0", "  Home: https://b/source"]
    assert "  Licence: not said" in told[2]


def test_a_wheel_without_a_text_is_said_to_be_one_or_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "bare", files={"bare/__init__.py": ""})
    licences.collect(tmp_path, tmp_path / "out")
    assert "  Text: none comes with it" in (tmp_path / "out" / "THIRD-PARTY.txt").read_text()
    with pytest.raises(SystemExit, match=r"bare 1\.0"):
        licences.collect(tmp_path, tmp_path / "again", strict=True)


@pytest.mark.parametrize(
    "place", ["../../{info}/LICENSE", "/LICENSE", "{info}/licenses/../../../x"]
)
def test_nothing_is_written_outside(tmp_path: Path, place: str) -> None:
    wheel(tmp_path / "wheels", "evil", files={place: "gotcha"})
    with pytest.raises(SystemExit, match="outside"):
        licences.collect(tmp_path / "wheels", tmp_path / "a" / "b" / "c")
    assert not [path for path in tmp_path.rglob("*") if path.name in ("LICENSE", "x")]


def test_what_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SystemExit, match=r"broken-1\.0"):
        licences.collect(tmp_path, tmp_path / "out")


def test_the_engine_comes_with_the_notices_of_its_sources(tmp_path: Path) -> None:
    wheel(tmp_path, "llama_cpp_python", "0.3.36", tag="py3-none-linux_x86_64")
    licences.collect(tmp_path, tmp_path / "out", strict=True)
    found = files(tmp_path / "out" / "llama-cpp-python-0.3.36")
    assert "The ggml authors" in found["llama.cpp.txt"]
    assert "Mozilla Foundation" in found["llamafile-sgemm.txt"]
    assert "Jeffrey Quesnelle" in found["yarn.txt"]


def test_these_notices_are_those_of_the_pinned_source() -> None:
    cache = os.environ.get("CORRAL_ENGINE_CACHE", "~/.cache/corral/engine-wheels")
    archives = sorted(Path(cache).expanduser().glob("*/llama_cpp_python-*.tar.gz"))
    if not archives:
        pytest.skip("the source of the engine is not here; make test keeps it")
    wanted = "/vendor/llama.cpp/LICENSE"
    with tarfile.open(archives[0]) as archive:
        member = next(one for one in archive if one.name.endswith(wanted))
        file = archive.extractfile(member)
        assert file is not None
        text = file.read()
    assert text == (PACKAGING / "engine" / "licences" / "llama.cpp.txt").read_bytes()


@pytest.mark.parametrize(
    ("said", "meant"),
    [("mit", "MIT"), ("MPL-2.0 AND MIT", "MPL-2.0 AND MIT"), ("BSD", ""), ("", "")],
)
def test_only_what_means_one_licence_is_an_expression(said: str, meant: str) -> None:
    assert wheelinfo.spdx(said) == meant
