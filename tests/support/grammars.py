"""Texts drawn from a grammar by chance, as a model with random weights writes them."""

from __future__ import annotations

import random

from corral.chat.grammar.symbols import Chars
from corral.chat.grammar.walk import begin


def draw(grammar: str, chance: random.Random, most: int = 200, *, cut: bool = False) -> str:
    """One text of a grammar.

    Args:
        most: characters after which it is closed, as an answer is that ran out of tokens.
        cut: leave half a character at the end before it is closed.
    """
    walk = begin(grammar)
    text = ""
    while len(text) < most and not walk.must_end and not (walk.may_end and chance.random() < 0.1):
        char = _char(chance.choice(walk.next_chars()), chance)
        assert walk.take(char.encode()), (text, char)
        text += char
    if cut and walk.accepts("é".encode()[:1]):
        walk.take("é".encode()[:1])
    return text + walk.closing()


def _char(chars: Chars, chance: random.Random) -> str:
    while True:
        low, high = (0x20, 0x17F) if chars.negated else chance.choice(chars.ranges)
        # Mostly letters that a person writes, sometimes any.
        top = min(high, 0x17F) if low < 0x17F and chance.random() < 0.9 else high
        code = chance.randint(low, top)
        if chars.matches(code) and not 0xD800 <= code < 0xE000:
            return chr(code)
