"""The simple part of regular expressions, as grammar of a JSON string.

Known: characters and their escapes, ``.``, sets, ``\\d \\w \\s``, groups, ``|``, ``? * +`` and
``{m,n}``, and ``^ $`` around the whole. What repeats without a limit does so at most
:data:`MOST` times. A pattern without anchors means any text that holds it; the texts made here are
nothing but it.
"""

from __future__ import annotations

import re

from corral.chat.grammar import spelling
from corral.chat.grammar.spelling import Range

MOST = 24
"""Repetitions of what has no limit."""

_CLASSES: dict[str, list[Range]] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(0x20, 0x20)],
}
_SPACES: list[Range] = [
    *((code, code) for code in (0x20, 0xA0, 0x1680, 0x202F, 0x205F, 0x3000, 0xFEFF)),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
]
"""What no ``\\S`` is; the one that is written for ``\\s`` is enough."""
_NUMBER = re.compile("[0-9]{1,9}")
_LITERAL = frozenset("\\^$.|?*+()[]{}/-\"'#&~!@%=:;,<>_` ")


def grammar(pattern: str) -> str:
    """GBNF of what is between the quotes.

    Raises:
        ValueError: the pattern is not as simple as that; the text says what is in the way.
    """
    reader = _Reader(pattern.removeprefix("^"))
    if reader.text.endswith("$") and not reader.text.endswith("\\$"):
        reader.text = reader.text[:-1]
    found = reader.alternates(0)
    if reader.at < len(reader.text):
        raise ValueError("a ) has no ( before it")
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self, size: int = 1) -> str:
        return self.text[self.at : self.at + size]

    def alternates(self, depth: int) -> str:
        if depth > 30:
            raise ValueError("groups are more than 30 deep")
        found = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            found.append(self.sequence(depth))
        return " | ".join(found)

    def sequence(self, depth: int) -> str:
        found: list[str] = []
        while (char := self.peek()) and char not in "|)":
            found.append(self.item(char, depth) + self.times())
        return " ".join(found) or '""'

    def item(self, char: str, depth: int) -> str:
        self.at += 1
        if char == "(":
            if self.peek() == "?":
                if self.peek(2) != "?:":
                    raise ValueError(f"({self.peek(2)} is not supported")
                self.at += 2
            found = self.alternates(depth + 1)
            if self.peek() != ")":
                raise ValueError("a ( is not closed")
            self.at += 1
            return f"({found})"
        if char == "[":
            return spelling.in_json(self.set())
        if char == ".":
            return spelling.in_json(spelling.others([]))
        if char == "\\":
            return spelling.in_json(self.escape())
        if char in "^$":
            raise ValueError(f"{char} is supported at the ends only")
        if char in "?*+{":
            raise ValueError(f"there is nothing before {char} that could repeat")
        return spelling.in_json([(ord(char), ord(char))])

    def times(self) -> str:
        char = self.peek()
        if not char or char not in "?*+{":
            return ""
        self.at += 1
        least, most = {"?": (0, 1), "*": (0, MOST), "+": (1, MOST)}.get(char, (0, 0))
        if char == "{":
            end = self.text.find("}", self.at)
            first, comma, last = self.text[self.at : max(end, self.at)].partition(",")
            if end < 0 or not _NUMBER.fullmatch(first) or (last and not _NUMBER.fullmatch(last)):
                raise ValueError("a { does not begin a repetition such as {2,5}")
            self.at = end + 1
            least = int(first)
            most = int(last) if last else max(MOST, least) if comma else least
            if most < least:
                raise ValueError(f"{{{least},{most}}} runs backwards")
        if self.peek() and self.peek() in "?*+":
            raise ValueError("lazy and possessive repetitions are not supported")
        return f"{{{least},{most}}}"

    def set(self) -> list[Range]:
        negated = self.peek() == "^"
        self.at += negated
        found: list[Range] = []
        while (char := self.peek()) != "]":
            if not char:
                raise ValueError("a [ is not closed")
            self.at += 1
            first = self.escape(negated) if char == "\\" else [(ord(char), ord(char))]
            if self.peek() == "-" and self.peek(2) not in ("-", "-]"):
                self.at += 1
                char = self.peek()
                self.at += 1
                last = self.escape() if char == "\\" else [(ord(char), ord(char))]
                (low, top), (bottom, high) = first[0], last[-1]
                if low != top or bottom != high or low > high:
                    raise ValueError("a range goes from a character to a later one")
                first = [(low, high)]
            found += first
        self.at += 1
        return spelling.others(found) if negated else found

    def escape(self, negated: bool = False) -> list[Range]:
        char = self.peek()
        self.at += 1
        if char == "S":
            return spelling.others(_SPACES)
        if char == "s" and negated:
            return _SPACES
        if char in _CLASSES:
            return _CLASSES[char]
        if char in ("D", "W"):
            return spelling.others(_CLASSES[char.lower()])
        if char in _LITERAL and char:
            return [(ord(char), ord(char))]
        if char in ("n", "t"):
            code = {"n": 10, "t": 9}[char]
            return [(code, code)]
        raise ValueError(f"\\{char} is not supported")
