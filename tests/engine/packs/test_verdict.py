"""What loaders say, in plain words; and which engine goes before which."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.engine.figures import Device
from corral.engine.packs import facts
from corral.engine.packs.notes import MOST, Notes
from corral.engine.packs.verdict import Verdict, in_words, rank, same_commit

AVX2 = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | "


def device(name: str, kind: str = "gpu") -> Device:
    return Device.model_validate(
        {"name": name, "description": "A card", "kind": kind, "memory_free": 1, "memory_total": 1}
    )


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("libcuda.so.1: cannot open shared object file: No such file or directory",
         "the NVIDIA driver is not installed: libcuda.so.1 is missing"),
        ("Failed to load shared library '/x/libllama.so': libcudart.so.12: cannot open shared "
         "object file: No such file", "the CUDA runtime is missing: libcudart.so.12"),
        ("libvulkan.so.1: cannot open shared object file", "no Vulkan driver is installed: "
         "libvulkan.so.1 is missing"),
        ("libgomp.so.1: cannot open shared object file", "GNU OpenMP is not installed: "
         "libgomp.so.1 is missing"),
        ("libggml-base.so.0: cannot open shared object file",
         "libggml-base.so.0 is missing, which it needs"),
        ("/lib/libm.so.6: version `GLIBC_2.38' not found (required by /x/libllama.so)",
         "this system is too old for it: it needs GLIBC_2.38"),
        ("/x/libllama.so: undefined symbol: llama_model_meta_key_str",
         "it is of another version, or only part of one: llama_model_meta_key_str is missing"),
        ("/x/libllama.so: file too short", "its library is damaged, or none at all"),
        ("/x/libllama.so: wrong ELF class: ELFCLASS32", "it is for another kind of processor"),
        ("dlopen(/x/libllama.dylib, 0x6): Library not loaded: @rpath/libggml.0.dylib",
         "libggml.0.dylib is missing, which it needs"),
        ("Could not find module 'C:\\packs\\nvcuda.dll' (or one of its dependencies)",
         "the NVIDIA driver is not installed: nvcuda.dll is missing"),
        ("Failed to load shared library 'C:\\packs\\llama.dll': Could not find module 'C:\\packs"
         "\\llama.dll' (or one of its dependencies). Try using the full path with constructor "
         "syntax.", "something that llama.dll needs is missing, such as a driver: Windows does "
         "not say what"),
        ("dlopen(/x/libllama.dylib, 0x6): tried: '/x/libllama.dylib' (code signature in <1> not "
         "valid for use in process)", "the system does not let its library be loaded"),
        ("Shared library with base name 'llama' not found", "libllama is missing"),
        ("something\nelse", "something else"),
    ],
)  # fmt: skip
def test_in_words(said: str, plain: str) -> None:
    assert in_words(said) == plain


def test_the_best_goes_first() -> None:
    def of(name: str, *devices: Device, info: str = AVX2) -> tuple[object, ...]:
        verdict = Verdict(ok=True, system_info=info, devices=(device("CPU", "cpu"), *devices))
        return rank(verdict, built_in=name == "built-in", name=name)

    order = [
        of("metal", device("MTL0")),
        of("cuda", device("CUDA0")),
        of("vulkan", device("Vulkan0", "integrated")),
        of("odd", device("SYCL0")),
        of("built-in"),
        of("cpu-avx2"),
        of("cpu-native", info=AVX2 + "AVX512 = 1 | "),
        of("cpu-baseline", info="CPU : SSE3 = 1 | "),
    ]
    assert sorted(order) == order
    assert of("cpu-avx2") < of("built-in", info="CPU : SSE3 = 1 | "), "a slow built-in one is last"


def test_commits() -> None:
    assert same_commit("0c1e570-dirty", "0c1e57098") and same_commit("", "0c1e570")
    assert not same_commit("0c1e571", "0c1e57098")


def test_facts_change_with_drivers_only(tmp_path: Path) -> None:
    for place in ("proc/driver/nvidia", "usr/lib/x86_64-linux-gnu", "usr/share/vulkan/icd.d"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("model name : A\nflags : avx avx2\ncpu MHz : 1\n")
    seen = [facts.fingerprint(tmp_path)]
    (tmp_path / "proc/cpuinfo").write_text("model name : A\nflags : avx avx2\ncpu MHz : 2\n")
    assert facts.fingerprint(tmp_path) == seen[0], "its clock is no fact"
    for place, text in (
        ("proc/driver/nvidia/version", "550"),
        ("proc/driver/nvidia/version", "560"),
        ("usr/lib/x86_64-linux-gnu/libvulkan.so.1", "x"),
        ("usr/lib/x86_64-linux-gnu/libgomp.so.1", "x"),
        ("usr/share/vulkan/icd.d/a.json", "{}"),
        ("proc/cpuinfo", "model name : A\nflags : avx\n"),
    ):
        (tmp_path / place).write_text(text)
        seen.append(facts.fingerprint(tmp_path))
    assert len(set(seen)) == len(seen)


def test_notes_are_kept_and_never_needed(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "engines.json"
    notes = Notes(path)
    notes.note("a", Verdict(ok=True, system_info="x"))
    notes.note("b", Verdict(ok=False, reason="it hung", lasting=False))
    notes.note_used("engine-x")
    again = Notes(path)
    assert again.verdict("a") == Verdict(ok=True, system_info="x") and again.used == "engine-x"
    assert notes.verdict("b") is not None and again.verdict("b") is None, "of one start only"
    for number in range(MOST + 5):
        again.note(f"n{number}", Verdict(ok=True))
    assert Notes(path).verdict("a") is None
    for data in (b"", b"[]", b"\xff", b'{"verdicts": 3}'):
        path.write_bytes(data)
        assert Notes(path).used == ""
    blocked = Notes(tmp_path / "engines.json" / "below")
    (tmp_path / "engines.json").write_text("in the way")
    blocked.note("a", Verdict(ok=True))
    assert blocked.verdict("a") is not None
