"""What builds packs: the flag sets, the check of machine code, and a whole build by a fake pip."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support.engine_packs import COMPILER, compiled
from tests.support.scripts import script

from corral.engine.packs import binding, building, checking, manifest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "packaging" / "engine"
SIX = {"GGML_SSE42", "GGML_AVX", "GGML_AVX2", "GGML_BMI2", "GGML_FMA", "GGML_F16C"}

needs_tools = pytest.mark.skipif(
    COMPILER is None or shutil.which("objdump") is None or platform.machine() != "x86_64",
    reason="it compiles for x86-64 and looks at that",
)


def module(name: str) -> ModuleType:
    return script(f"engine/{name}.py")


def flags() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "flags.toml").read_text())


def test_the_flag_sets_are_of_the_pinned_source() -> None:
    values = flags()
    pinned = re.search(r"==([0-9.]+)", (ROOT / "requirements" / "engine.txt").read_text())
    assert pinned is not None and values["binding"] == pinned[1] == binding.version()
    assert set(building.flagsets()) == {
        "cpu-avx2", "cpu-baseline", "cpu-native", "cuda", "metal", "vulkan",
    }  # fmt: skip


def test_every_portable_set_says_all_six_flags() -> None:
    """ggml drops those that are not said where SOURCE_DATE_EPOCH is set, and guesses elsewhere."""
    for name in ("cpu-avx2", "cpu-baseline", "cuda", "vulkan"):
        cmake = flags()[name]["cmake"]
        assert isinstance(cmake, dict) and cmake["GGML_NATIVE"] == "OFF"
        wanted = "OFF" if name == "cpu-baseline" else "ON"
        assert {cmake[flag] for flag in SIX} == {wanted}


CODE = """
#include <immintrin.h>
#include <nmmintrin.h>
long f(long a, long b) { return %s; }
"""


@needs_tools
@pytest.mark.parametrize(
    ("flag", "expression", "found"),
    [
        ("-msse2", "a + b", set()),
        ("-msse4.2", "_mm_crc32_u64(a, b)", {"sse4"}),
        ("-mavx", "_mm256_movemask_ps(_mm256_set1_ps(a))", {"avx"}),
        ("-mavx2", "_mm256_movemask_epi8(_mm256_add_epi8(_mm256_set1_epi8(a), "
         "_mm256_set1_epi8(b)))", {"avx", "avx2"}),
        ("-mbmi2", "_pdep_u64(a, b)", {"bmi"}),
        ("-mfma", "_mm_cvtss_f32(_mm_fmadd_ss(_mm_set1_ps(a), _mm_set1_ps(b), _mm_set1_ps(a)))",
         {"avx", "fma"}),
        ("-mf16c", "_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set1_ps(a), 0))", {"avx", "f16c"}),
        ("-mavx512f", "_mm512_reduce_add_epi32(_mm512_set1_epi32(a))", {"avx512"}),
    ],
)  # fmt: skip
def test_instructions_are_found_in_the_machine_code(
    tmp_path: Path, flag: str, expression: str, found: set[str]
) -> None:
    library = compiled(tmp_path / "lib.so", CODE % expression, flag, "-O1", "-nostdlib")
    instructions = module("instructions")
    used = instructions.used(library)
    assert found <= set(used) and ("avx512" in used) == ("avx512" in found)
    assert found or not used
    assert instructions.beyond([library], used) == []
    assert len(instructions.beyond([library], [])) == len(used)
    if "avx512" in found:
        (said,) = instructions.beyond([library], ["avx", "avx2", "fma", "bmi", "sse4"])
        assert said.startswith("lib.so uses avx512, which was not declared: v")


def test_only_the_locked_source_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache keeps that of the version before, which would be given the name of this one."""
    wheel = module("wheel")
    monkeypatch.setattr(wheel, "REQUIREMENTS", tmp_path / "engine.txt")
    digest = hashlib.sha256(b"new").hexdigest()
    wheel.REQUIREMENTS.write_text(f"llama-cpp-python==0.0.2 \\\n    --hash=sha256:{digest}\n")
    fetched = tmp_path / "llama_cpp_python-0.0.2.tar.gz"
    monkeypatch.setattr(wheel, "pip", lambda *_, tools: fetched.write_bytes(b"new"))
    (tmp_path / "llama_cpp_python-0.0.1.tar.gz").write_bytes(b"old")
    assert wheel.sdist(tmp_path) == fetched
    monkeypatch.setattr(wheel, "pip", None)
    assert wheel.sdist(tmp_path) == fetched


@pytest.mark.parametrize(
    ("told", "native"),
    [("AVX2 = 1 | FMA = 1 | ", False), ("AVX2 = 1 | AVX_VNNI = 1 | ", True),
     ("AVX512 = 1 | ", True), ("AVX512_VNNI = 1 | AMX_INT8 = 1 | ", True)],
)  # fmt: skip
def test_an_engine_for_one_processor_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, native: bool
) -> None:
    guard = script("native.py")
    monkeypatch.setattr(guard, "_told", lambda engine: told)
    assert guard.is_native(tmp_path) is native
    if native:
        with pytest.raises(SystemExit, match="built for the processor of this machine"):
            guard.refuse(tmp_path)
    else:
        guard.refuse(tmp_path)


@needs_tools
def test_the_disassembler_of_llvm_is_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is macOS's, and writes other spaces; nothing of a wholly other one is let pass."""
    library = compiled(tmp_path / "lib.so", CODE % "_pdep_u64(a, b)", "-mbmi2", "-O1", "-nostdlib")
    instructions = module("instructions")
    fake = tmp_path / "objdump"
    line = "    1000:      \tpdepq\t%rsi, %rdi, %rax"
    fake.write_text(f"#!/bin/sh\necho '{line}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "bmi" in instructions.used(library)
    fake.write_text("#!/bin/sh\necho 'pdepq %rsi'\n")
    with pytest.raises(ValueError, match=r"about lib.so cannot be read"):
        instructions.used(library)


FAKE_PIP = """
import os, sys, zipfile
from pathlib import Path
arguments = sys.argv[1:]
assert "SOURCE_DATE_EPOCH" not in os.environ and "CMAKE_ARGS" not in os.environ
assert "--no-cache-dir" in arguments and "wheel" in arguments
out = Path(arguments[arguments.index("-w") + 1])
out.mkdir()
(out.parent.parent / "told").write_text("\\n".join(arguments))
libraries = Path({libraries!r})
with zipfile.ZipFile(out / "llama_cpp_python-0.3.36-py3-none-any.whl", "w") as wheel:
    for file in libraries.iterdir():
        wheel.write(file, f"llama_cpp/lib/{{file.name}}")
        wheel.write(file, f"lib/{{file.name}}")
"""


def test_a_build_becomes_a_checked_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the compiler, which a wheel of the built-in engine stands for."""
    libraries = binding.built_in()
    assert libraries is not None
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    (tmp_path / "pip" / "__main__.py").write_text(FAKE_PIP.format(libraries=str(libraries)))
    (tmp_path / "work").mkdir()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); " + building._RUN
    source = next(Path(os.environ.get("CORRAL_ENGINE_CACHE") or Path.home() / ".cache" / "corral" /
                       "engine-wheels").glob("*/llama_cpp_python-*.tar.gz"))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, str(building.script()), "cpu-native", "--zip",
         "--out", str(tmp_path / "out"), "--source", str(source),
         "--cache", str(tmp_path / "cache")],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path / "work"),
             "SOURCE_DATE_EPOCH": "1", "CMAKE_ARGS": "-DGGML_CUDA=ON"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pack = Path(done.stdout.strip())
    known, _ = checking.check(pack)
    assert known.flagset == "cpu-native" and known.flags == {"GGML_NATIVE": "ON"}
    assert known.llama_cpp == flags()["llama_cpp"]
    with zipfile.ZipFile(pack.with_suffix(pack.suffix + ".zip")) as archive:
        assert f"{pack.name}/{manifest.FILE}" in archive.namelist()
    told = (tmp_path / "work" / "told").read_text() if (tmp_path / "work" / "told").exists() else ""
    assert "cmake.define.GGML_NATIVE=ON" in told and "cmake.define.LLAVA_BUILD=OFF" in told
