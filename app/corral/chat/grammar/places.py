"""Where in a JSON text a value stands, so that a fault in it has a line."""

from __future__ import annotations

import json
from collections.abc import Sequence

Step = str | int


def line_of(text: str, path: Sequence[Step]) -> int:
    """The line of the value at a path, counted from 1; of the last one found on the way."""
    at = _space(text, 0)
    try:
        for step in path:
            found = _member(text, at, step)
            if found is None:
                break
            at = found
    except (ValueError, IndexError):
        pass
    return text.count("\n", 0, at) + 1


def _member(text: str, at: int, step: Step) -> int | None:
    """Where the value of a key or a number begins, inside of the value at ``at``."""
    opening, number = text[at], 0
    if opening not in "{[":
        return None
    decoder = json.JSONDecoder()
    at = _space(text, at + 1)
    while text[at] not in "}]":
        key: Step = number
        if opening == "{":
            key, at = decoder.raw_decode(text, at)
            at = _space(text, _space(text, at) + 1)
        if key == step:
            return at
        _, at = decoder.raw_decode(text, at)
        at = _space(text, at)
        number += 1
        if text[at] == ",":
            at = _space(text, at + 1)
    return None


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
