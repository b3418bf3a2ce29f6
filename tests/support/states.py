"""Kept states on disk as the tests write them: cells that follow from their tokens."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from corral.engine.states import files
from corral.engine.states.files import Header, Segment, chain

KEY = "0123456789abcdef" * 2
OTHER_KEY = "f" * 32


def payload_of(tokens: Sequence[int]) -> bytes:
    return b"".join(struct.pack("<QQ", token, ~token & 0xFF) for token in tokens)


def write(
    root: Path,
    tokens: Sequence[int],
    start: int = 0,
    *,
    conversation: str = "7",
    key: str = KEY,
) -> Segment:
    """A file of ``tokens[start:]``, with eight bytes a token that follow from it."""
    header = Header(
        model=key,
        conversation=conversation,
        start=start,
        before=chain(tokens[:start]),
        token_seconds=0.01,
    )
    payload = memoryview(payload_of(tokens[start:]))
    folder = root / key / conversation
    return files.write_segment(folder, header, tokens[:start], tokens[start:], payload)


def files_of(root: Path) -> list[Path]:
    return sorted(root.rglob("*.kv"))
