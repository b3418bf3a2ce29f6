"""What a try said about a pack: what it can compute on, or in plain words why it is of no use."""

from __future__ import annotations

import re

from corral.engine.figures import Device, Model

_GPU_KINDS = ("gpu", "integrated")

_PLAIN = (
    (r"(libcuda\.so[.\d]*|nvcuda\.dll)", "the NVIDIA driver is not installed: {0} is missing"),
    (r"(lib(?:cudart|cublas)[A-Za-z]*\.so[.\d]*)", "the CUDA runtime is missing: {0}"),
    (r"(libvulkan\.so[.\d]*|vulkan-1\.dll)", "no Vulkan driver is installed: {0} is missing"),
    (r"(libgomp\.so[.\d]*)", "GNU OpenMP is not installed: {0} is missing"),
    (r"([\w.+-]+\.(?:so|dylib)[.\d]*)", "{0} is missing, which it needs"),
    (
        r"((?:lib)?(?:llama|ggml[\w-]*)\.dll)",
        "something that {0} needs is missing, such as a driver: Windows does not say what",
    ),
)
_MISSING = re.compile(
    r"([\w.+-]+): cannot open shared object file|Library not loaded: (\S+)|"
    r"Could not find module '([^']+)'"
)
_OTHER = (
    (r"version [`']([\w.]+)' not found", "this system is too old for it: it needs {0}"),
    (r"(?:undefined symbol|symbol not found|Symbol not found)[^:]*: (\w+)",
     "it is of another version, or only part of one: {0} is missing"),
    (r"function '(\w+)' not found",
     "it is of another version, or only part of one: {0} is missing"),
    (r"base name '(\w+)' not found", "lib{0} is missing"),
    (r"file too short|invalid ELF header|cannot read file data|ELF load command|"
     r"ELF file's phentsize|not a valid Win32|no suitable image|not a mach-o",
     "its library is damaged, or none at all"),
    (r"wrong ELF class|Exec format|incompatible architecture|is not a valid Win32 application",
     "it is for another kind of processor"),
    (r"cannot enable executable stack|failed to map segment|Permission denied|"
     r"code signature|disallowed by system policy",
     "the system does not let its library be loaded"),
)  # fmt: skip


class Verdict(Model):
    """The end of one try.

    Attributes:
        ok: it loads, and computes what it should on every device it found.
        reason: where not ok, why, in a sentence without full stop.
        lasting: whether another try on the same machine would say the same.
    """

    ok: bool
    reason: str = ""
    lasting: bool = True
    system_info: str = ""
    gpu_offload: bool = False
    commit: str = ""
    """Of llama.cpp, as the library itself says; "" where it does not."""
    ggml: str = ""
    devices: tuple[Device, ...] = ()

    @property
    def cards(self) -> tuple[Device, ...]:
        """The graphics processors it computes on."""
        return tuple(device for device in self.devices if device.kind in _GPU_KINDS)


def in_words(message: str) -> str:
    """Why a library could not be loaded, out of what the system's loader said."""
    if missing := _MISSING.search(message):
        name = next(filter(None, missing.groups())).replace("\\", "/").rpartition("/")[2]
        for pattern, words in _PLAIN:
            if found := re.fullmatch(pattern, name):
                return words.format(found[1])
        return f"{name} is missing, which it needs"
    for pattern, words in _OTHER:
        if found := re.search(pattern, message, re.IGNORECASE):
            return words.format(*found.groups())
    return " ".join(message.split())[:300]


def same_commit(one: str, other: str) -> bool:
    """Whether two commits can be the same; one may be shorter, or say ``-dirty``, or nothing."""
    one, other = (commit.partition("-")[0] for commit in (one, other))
    length = min(len(one), len(other))
    return one[:length] == other[:length]


_BACKENDS = (("CUDA", 1), ("ROCm", 1), ("MTL", 0), ("Metal", 0), ("Vulkan", 2))
"""By the beginning of ggml's device names, which goes first where several work."""
_FEATURES = ("AVX", "AVX2", "F16C", "FMA", "BMI2", "NEON", "ARM_FMA", "DOTPROD", "MATMUL_INT8")
"""Instruction sets that make a difference of some factor. AVX-512 made none where it was measured,
so who wants that build chooses it."""


def rank(verdict: Verdict, *, built_in: bool, name: str) -> tuple[int, int, bool, str]:
    """Sorts what works: Apple's Metal, CUDA, Vulkan, processors; there by instruction sets, and
    what came with the binding first."""
    kind = min(
        (
            next((n for begin, n in _BACKENDS if card.name.startswith(begin)), 3)
            for card in verdict.cards
        ),
        default=4,
    )
    features = sum(
        bool(re.search(rf"\b{feature} = 1", verdict.system_info)) for feature in _FEATURES
    )
    return kind, -features, not built_in, name
