"""What a grammar is made of: one character out of ranges, another rule, or one of them repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

LAST_CODE = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)
"""Codes that are no characters."""


class Chars(NamedTuple):
    """One character: of the ranges, or where ``negated`` of none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def matches(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges) != self.negated


class Ref(NamedTuple):
    """Another rule."""

    rule: str


class Repeat(NamedTuple):
    """One of the others again and again; ``most`` is -1 for no limit."""

    symbol: Chars | Ref
    least: int
    most: int


Symbol: TypeAlias = Chars | Ref | Repeat
Sequence_: TypeAlias = tuple[Symbol, ...]


class Shortest(NamedTuple):
    """The shortest text of a rule."""

    length: int
    """In characters."""
    symbols: Sequence_
    """What it is made of, without what is empty in it."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar that was read and found good."""

    rules: dict[str, tuple[Sequence_, ...]]
    """Alternatives by rule; groups are rules of their own, whose names nobody can write."""
    shortest: dict[str, Shortest]
    """Of every rule."""
    root: str = "root"


ANY = Chars(((0, LAST_CODE),))
