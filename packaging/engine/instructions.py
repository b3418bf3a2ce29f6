"""Which instruction sets the machine code of x86-64 libraries really uses, out of its disassembly.

A flag that was meant is not one that held: a library for every laptop must not have one instruction
that some of them do not know. Needs ``objdump`` of binutils.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

# What older processors run as something harmless (tzcnt is bsf to them) is not looked for.
_RULES = (
    ("avx512", re.compile(r"%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])\b")),
    ("amx", re.compile(r"%tmm|^(ldtilecfg|tile|tdp)")),
    ("avx-vnni", re.compile(r"^vpdp[bw]")),
    ("fma", re.compile(r"^vfn?m(add|sub)")),
    ("f16c", re.compile(r"^vcvt(ph2ps|ps2ph)")),
    ("bmi", re.compile(r"^(mulx|pdep|pext|rorx|sarx|shlx|shrx|bzhi|andn|blsr|blsi)[lq]? ")),
    ("avx2", re.compile(r"^(vp[a-z]+[0-9a-z]*|vbroadcasti128|v(insert|extract)i128) .*%ymm")),
    ("avx", re.compile(r"^v[a-z0-9]+ .*%[xy]mm|^vzero")),
    ("sse4", re.compile(r"^(pcmp[ei]str|pcmpgtq|crc32|popcnt|pblend|p(min|max)(sb|uw|[su]d)|pmulld|"
                        r"pmov[sz]x|pinsr[bdq]|pextr[bdq]|round[ps][sd]|dpp[sd]|ptest|pshufb|phadd|"
                        r"pmaddubsw|palignr|pabs)")),
)  # fmt: skip
_LINE = re.compile(r"^\s*[0-9a-f]+:\s*\t(.*)$")
"""LLVM's, which is macOS's, puts spaces before the tab, and a tab before the operands."""


def used(library: Path) -> dict[str, str]:
    """The sets beyond SSE2, each with the first instruction that was found of it.

    Raises:
        OSError, subprocess.CalledProcessError: there is no objdump, or the file is no library.
        ValueError: not one instruction could be read: then none was looked at.
    """
    found: dict[str, str] = {}
    any_read = False
    process = subprocess.Popen(
        ["objdump", "-d", "--no-show-raw-insn", str(library)],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if (match := _LINE.match(line)) is None:
                continue
            any_read = True
            code = " ".join(match[1].split("#")[0].split())
            for name, pattern in _RULES:
                if pattern.search(code):
                    found.setdefault(name, code)
                    break
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, "objdump")
    if not any_read:
        raise ValueError(f"objdump's words about {library.name} cannot be read")
    return found


def beyond(libraries: Iterable[Path], declared: Iterable[str]) -> list[str]:
    """One sentence for each set that is used and was not declared; empty where all is well."""
    allowed = set(declared)
    return [
        f"{library.name} uses {name}, which was not declared: {example}"
        for library in libraries
        for name, example in used(library).items()
        if name not in allowed
    ]
