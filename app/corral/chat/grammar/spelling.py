"""Texts and characters as grammar, and as JSON strings spell them."""

from __future__ import annotations

from collections.abc import Iterable

Range = tuple[int, int]

PLAIN: tuple[Range, ...] = (
    (0x20, 0x21),
    (0x23, 0x5B),
    (0x5D, 0x7E),
    (0xA0, 0x2027),
    (0x202A, 0xD7FF),
    (0xE000, 0xFFFD),
    (0x10000, 0x10FFFF),
)
"""Characters that a JSON string holds as they are: no quote, backslash, control or surrogate."""


def literal(text: str) -> str:
    """GBNF of one text."""
    return '"' + "".join(_in_text(char) for char in text) + '"'


def _in_text(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else _escape(ord(char))


def _escape(code: int) -> str:
    if code < 0x80 and chr(code).isalnum():
        return chr(code)
    return (
        f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"
    )


def chars(ranges: Iterable[Range]) -> str:
    """GBNF of a set of characters."""
    return "[" + "".join(
        _escape(a) if a == b else f"{_escape(a)}-{_escape(b)}" for a, b in ranges
    ) + "]"  # fmt: skip


def in_json(ranges: Iterable[Range]) -> str:
    """GBNF of one character of a set, as a JSON string spells it.

    Raises:
        ValueError: there is none that can be in a text.
    """
    ranges = list(ranges)
    parts = [found] if (found := _plain(ranges)) else []
    for char, spelled in (('"', '\\"'), ("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t")):
        if any(low <= ord(char) <= high for low, high in ranges):
            parts.append(literal(spelled))
    if not parts:
        raise ValueError("a set of characters has none that can be in a text")
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _plain(ranges: Iterable[Range]) -> str:
    found = [
        (max(low, a), min(high, b))
        for low, high in ranges
        for a, b in PLAIN
        if max(low, a) <= min(high, b)
    ]
    return chars(found) if found else ""


def others(ranges: Iterable[Range]) -> list[Range]:
    """The printable characters that are in none of the ranges."""
    found: list[Range] = []
    start = 0x20
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    if start <= 0x10FFFF:
        found.append((start, 0x10FFFF))
    return found
