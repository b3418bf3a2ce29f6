"""Cleaning of foreign text before it reaches a terminal, a widget or the clipboard.

Textual passes ESC, C1, bidi and tag characters through nearly every widget, so whatever comes from
people, models, files and errors is cleaned here. The function works per code point and keeps no
state: an escape sequence split over two stream chunks cannot survive, and chunking never changes
the result. The database keeps the raw text; only what is shown or copied is cleaned.
"""

from __future__ import annotations

_REPLACEMENT = 0xFFFD


def _table() -> dict[int, int | str]:
    table: dict[int, int | str] = {code: 0x2400 + code for code in range(0x20)}
    table[0x7F] = 0x2421
    table.update(dict.fromkeys(range(0x80, 0xA0), _REPLACEMENT))
    table.update(dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT))
    # Bidirectional controls, line and paragraph separators, invisible joiners, the byte-order mark.
    for first, last in (
        (0x202A, 0x202E),
        (0x2066, 0x2069),
        (0x200E, 0x200F),
        (0x061C, 0x061C),
        (0x2028, 0x2029),
        (0x2060, 0x2060),
        (0x180E, 0x180E),
        (0xFEFF, 0xFEFF),
        (0xE0000, 0xE007F),
    ):
        table.update(dict.fromkeys(range(first, last + 1), _REPLACEMENT))
    return table


_MULTILINE: dict[int, int | str] = _table() | {0x0A: 0x0A, 0x09: "    "}
_SINGLE: dict[int, int | str] = _table() | {0x0A: " ", 0x09: " "}


def clean(text: str) -> str:
    """Text of several lines without anything a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_MULTILINE)


def clean_line(text: str) -> str:
    """The same on one line: line breaks and tabs become spaces."""
    return text.replace("\r\n", "\n").translate(_SINGLE)


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters of one cleaned line, with an ellipsis where it was cut."""
    line = " ".join(clean_line(text).split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
