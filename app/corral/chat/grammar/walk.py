"""Follows a text through a grammar, character by character: what may come, and how it could end."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TypeAlias

from corral.chat.grammar import gbnf
from corral.chat.grammar.checks import length_of, shortest_of
from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.symbols import Chars, Grammar, Ref, Repeat, Symbol


class Node:
    """What is still to come, the next symbol first. The same rest is the same object, so that
    however deep a text nests, two of them are compared at once."""

    __slots__ = ("length", "rest", "symbol")

    def __init__(self, symbol: Symbol, rest: Stack, length: int) -> None:
        self.symbol = symbol
        self.rest = rest
        self.length = length
        """Characters of the shortest text of all of it."""


Stack: TypeAlias = Node | None
"""None is the end."""

MOST_NODES = 20_000
"""Before those of texts that were left again are forgotten."""

LONGEST_CLOSING = 1 << 20
"""Characters."""

MOST_STACKS = 4_000
"""Ways to read the same text; a grammar with more is too ambiguous to follow."""


class Walk:
    """A place in a grammar, at first before the first character."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._nodes: dict[tuple[Symbol, int], Node] = {}
        self._most_nodes = MOST_NODES
        self._stacks: frozenset[Stack] = self._settle([self._push(Ref(grammar.root), None)])

    @property
    def may_end(self) -> bool:
        """Whether the text so far is whole."""
        return None in self._stacks and not self._decoder.getstate()[0]

    @property
    def must_end(self) -> bool:
        """Whether nothing can follow any more."""
        return self.may_end and len(self._stacks) == 1

    def accepts(self, data: bytes) -> bool:
        """Whether these bytes may follow: UTF-8, of which the last character may be cut."""
        return self._after(data) is not None

    def take(self, data: bytes) -> bool:
        """Go on by some bytes; False, and nothing changes, where they may not follow."""
        after = self._after(data)
        if after is None:
            return False
        self._stacks = after
        self._decoder.decode(data)
        if len(self._nodes) > self._most_nodes:
            self._forget()
        return True

    def closing(self) -> str:
        """The shortest text that makes the text so far whole; half a character does not count.

        Empty where that has more than :data:`LONGEST_CLOSING` characters.
        """
        self._decoder.reset()
        least = min(_length(stack) for stack in self._stacks)
        if least > LONGEST_CLOSING:
            return ""
        return min(self._rest(stack) for stack in self._stacks if _length(stack) == least)

    def next_chars(self) -> list[Chars]:
        """The sets of which the next character is one."""
        return sorted(
            stack.symbol
            for stack in self._stacks
            if stack is not None and isinstance(stack.symbol, Chars)
        )

    # --- stepping ---------------------------------------------------------------------------------

    def _after(self, data: bytes) -> frozenset[Stack] | None:
        state = self._decoder.getstate()
        try:
            text = self._decoder.decode(data)
            rest = self._decoder.getstate()[0]
        except UnicodeDecodeError:
            return None
        finally:
            self._decoder.setstate(state)
        stacks = self._stacks
        for char in text:
            stacks = self._step(stacks, ord(char))
            if not stacks:
                return None
        if rest and not any(self._may_begin(stack, rest) for stack in stacks):
            return None
        return stacks

    def _step(self, stacks: Iterable[Stack], code: int) -> frozenset[Stack]:
        return self._settle(
            [
                stack.rest
                for stack in stacks
                if stack is not None
                and isinstance(stack.symbol, Chars)
                and stack.symbol.matches(code)
            ]
        )

    @staticmethod
    def _may_begin(stack: Stack, data: bytes) -> bool:
        """Whether a character that begins with these bytes may come next."""
        if stack is None or not isinstance(stack.symbol, Chars):
            return False
        size = 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
        bits = data[0] & (0xFF >> (size + 1))
        for byte in data[1:]:
            bits = bits << 6 | byte & 0x3F
        missing = 6 * (size - len(data))
        low, high = bits << missing, (bits + 1 << missing) - 1
        chars = stack.symbol
        if chars.negated:
            return not any(a <= low and high <= b for a, b in chars.ranges)
        return any(a <= high and low <= b for a, b in chars.ranges)

    def _settle(self, stacks: list[Stack]) -> frozenset[Stack]:
        """Open rules until a character is next everywhere.

        Raises:
            GrammarError: there are too many ways.
        """
        found: set[Stack] = set()
        seen: set[Stack] = set()
        while stacks:
            stack = stacks.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if len(seen) > MOST_STACKS:
                raise GrammarError("It can be read in too many ways at once")
            if stack is None or isinstance(stack.symbol, Chars):
                found.add(stack)
                continue
            symbol, rest = stack.symbol, stack.rest
            if isinstance(symbol, Ref):
                for sequence in self._grammar.rules[symbol.rule]:
                    opened = rest
                    for one in reversed(sequence):
                        opened = self._push(one, opened)
                    stacks.append(opened)
            elif isinstance(symbol, Repeat):
                inner, least, most = symbol
                if least == 0:
                    stacks.append(rest)
                if most == 1:
                    stacks.append(self._push(inner, rest))
                elif most:
                    again = Repeat(inner, max(0, least - 1), most if most < 0 else most - 1)
                    stacks.append(self._push(inner, self._push(again, rest)))
        return frozenset(found)

    def _push(self, symbol: Symbol, rest: Stack) -> Node:
        key = (symbol, id(rest))
        if key not in self._nodes:
            length = length_of(symbol, self._grammar.shortest) + _length(rest)
            self._nodes[key] = Node(symbol, rest, length)
        return self._nodes[key]

    def _forget(self) -> None:
        """Keep only the nodes that can still be come to."""
        kept: dict[tuple[Symbol, int], Node] = {}
        for stack in self._stacks:
            while stack is not None and (key := (stack.symbol, id(stack.rest))) not in kept:
                kept[key] = stack
                stack = stack.rest
        self._nodes = kept
        self._most_nodes = MOST_NODES + 2 * len(kept)

    def _rest(self, stack: Stack) -> str:
        symbols: list[Symbol] = []
        while stack is not None:
            symbols.append(stack.symbol)
            stack = stack.rest
        return shortest_of(symbols, self._grammar.shortest)


def _length(stack: Stack) -> int:
    return 0 if stack is None else stack.length


def begin(text: str) -> Walk:
    """Read a grammar, check all of it, and stand before the first character.

    Raises:
        GrammarError: it cannot be used.
    """
    return Walk(gbnf.read(text))


def matches(grammar: Grammar, text: str) -> bool:
    """Whether a whole text is one that the grammar means."""
    walk = Walk(grammar)
    return walk.take(text.encode()) and walk.may_end
