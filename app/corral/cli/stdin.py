"""The prompt of a command: its argument, and what stands on stdin."""

from __future__ import annotations

import codecs
import os
import sys

from corral.errors import UsageError

LIMIT = 4 * 1024 * 1024
"""Bytes read from stdin at the most: far more than any window holds."""


def prompt_text(prompt: str | None, command: str = "ask", *, needed: bool = True) -> str:
    """The argument, and what stands on stdin where that is not a terminal.

    Raises:
        UsageError: nothing to ask, though something is needed; or stdin is not text.
    """
    parts = [prompt] if prompt else []
    if sys.stdin is not None and not sys.stdin.isatty() and (piped := _read(command)):
        parts.append(piped)
    text = "\n\n".join(parts)
    if needed and not text.strip():
        raise UsageError(
            "The prompt is empty",
            title="Nothing to ask",
            hint=f'Try corral {command} "Why is the sky blue?"',
        )
    return text


def _read(command: str) -> str:
    """What stands on stdin, as it would stand in the box: no BOM, and line ends without CR."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pieces: list[str] = []
    size = 0
    hint = f"corral {command} reads plain text, for example cat notes.txt | corral ask Summarise."
    while True:
        data = os.read(0, 64 * 1024)
        size += len(data)
        try:
            pieces.append(decoder.decode(data, final=not data))
        except UnicodeDecodeError:
            raise UsageError(
                "Standard input is not UTF-8 text", title="Not text", hint=hint
            ) from None
        if "\0" in pieces[-1]:
            raise UsageError("Standard input holds NUL bytes", title="Not text", hint=hint)
        if size > LIMIT:
            raise UsageError(
                f"Standard input has more than {LIMIT // 1024 // 1024} MB",
                title="Too much text",
                hint="No context window holds that; send a part of it.",
            )
        if not data:
            return "".join(pieces).replace("\r\n", "\n")
