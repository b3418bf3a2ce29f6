"""Names that come from a hub: which of them can be trusted with a file, and what they say."""

from __future__ import annotations

import re
import unicodedata

from corral.reserved import is_reserved

_FORBIDDEN = frozenset('\\:*?"<>|\u2044\u2215\u29f8\uff0f\uff3c\ufe68\u29f5')
"""Not allowed by some file system, or only looking like a separator."""
_LONGEST = 200
"""Bytes of a part of a name; leaves room for ``.part`` where 255 are allowed."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,99}", re.ASCII)

_QUANT = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(I?Q[1-9](?:_[0-9A-Z]{1,3}){0,3}|TQ[12]_0|MXFP4|NVFP4|BF16|FP?16|FP?32)"
    r"(?![A-Za-z0-9])",
    re.I,
)


def safe_file(file: str) -> bool:
    """Whether a file of a repository can be listed, shown and written below a folder as it is."""
    return len(file) <= 400 and all(map(_safe_part, file.split("/")))


def _safe_part(part: str) -> bool:
    if not part or part[0] in "-. " or part[-1] in ". ":
        return False
    # Controls, formats such as bidirectional marks, surrogates, private use, line separators.
    if any(
        unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for sign in part
    ):
        return False
    if not _FORBIDDEN.isdisjoint(part) or is_reserved(part):
        return False
    return len(part.encode()) <= _LONGEST


def safe_repository(name: str) -> bool:
    """Whether it is an ``owner/name`` as the hub allows them."""
    return (
        bool(_REPOSITORY.fullmatch(name))
        and not any(part in name for part in ("..", "--", "./"))
        and name[-1] not in "-."
        and not name.endswith(".git")
    )


def is_commit(revision: str) -> bool:
    """Whether it names one state of a repository for ever."""
    return bool(_COMMIT.fullmatch(revision))


def safe_revision(revision: str) -> bool:
    return bool(_REVISION.fullmatch(revision)) and ".." not in revision


def quant_of(file: str) -> str:
    """The quantization that a file's name tells, as llama.cpp writes it; "" where it tells none."""
    found = _QUANT.findall(file)
    if not found:
        return ""
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32")
