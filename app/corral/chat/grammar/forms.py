"""Texts with a form of their own, as grammar: dates, times, identifiers, and any JSON text."""

from __future__ import annotations

from corral.chat.grammar import spelling

_DAY = (
    '(("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | '
    '("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | '
    '"2" [0-8]))'
)
_DATE = f'[12] [0-9]{{3}} "-" {_DAY}'
_TIME = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"'
_HEX = "[0-9a-f]"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" [1-5] {_HEX}{{3}} "-" [89ab] {_HEX}{{3}} "-" '
    f"{_HEX}{{12}}",
}
CHAR = (
    f'{spelling.chars(spelling.PLAIN)} | "\\\\" ["\\\\/bfnrt] | "\\\\u" '
    "([0-9abcefABCEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2})"
)
"""One character of a JSON text; no half of a surrogate pair, which would be two in one."""
