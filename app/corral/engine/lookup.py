"""Guesses from the text itself: where its last tokens stood before, what followed them there.

Most of an answer that edits, quotes or summarises a text is in the prompt already (known as prompt
lookup, or n-gram speculation). An index of all triples and pairs of tokens finds the place in some
microseconds, and a pointer follows it as long as it is right.

How often it is right is learned without any guess being decoded: the pointer says what it expects,
and the token that is sampled in the end shows whether it was so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

LONGEST = 32
"""Tokens compared to find out how well a place fits."""
PLACES = 12
"""Places looked at, from the last one backwards."""
LONG = 3
"""So many equal tokens are a copy: after a wrong one it probably goes on behind the next one."""

_LIMITS = (0, 1, 2, 3, 5, 8, 16)
"""Most tokens, of those before, of each kind of place; the last kind is above."""
_USUAL = (0.4, 0.4, 0.25, 0.35, 0.5, 0.7, 0.87, 0.95)
"""How often each kind is right before anything was seen."""
_KINDS = [sum(length > limit for limit in _LIMITS) for length in range(_LIMITS[-1] + 2)]


class Lookup:
    """The text so far, and a pointer to what should come next."""

    def __init__(self) -> None:
        self._right = list(_USUAL)
        self._seen = [0] * len(_USUAL)
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[int] = []
        self._triples: dict[tuple[int, int, int], int] = {}
        """Where the token behind a triple stands, the last time it occurred."""
        self._earlier: list[int] = []
        """For each position, the one behind the same triple before; -1 for none."""
        self._pairs: dict[tuple[int, int], int] = {}
        self._at = -1
        """Position of what should come next; -1 where nothing fits."""
        self._length = 0
        """How many tokens before it are equal to the last ones."""

    def begin(self, tokens: Sequence[int]) -> None:
        """A new text. Learns where its triples stand, but not how often they are right: a prompt
        repeats itself in other ways than an answer repeats the prompt. What earlier answers taught
        counts half."""
        self._clear()
        self._right = [(old + usual) / 2 for old, usual in zip(self._right, _USUAL, strict=True)]
        self._seen = [min(seen, 4) for seen in self._seen]
        self._tokens = known = list(tokens)
        triples, earlier = self._triples, self._earlier
        earlier.extend([-1] * min(3, len(known) + 1))
        for at, triple in enumerate(zip(known, known[1:], known[2:], strict=False), start=3):
            earlier.append(triples.get(triple, -1))
            triples[triple] = at
        self._pairs = {pair: at for at, pair in enumerate(pairwise(known), start=2)}
        if len(known) > 3:
            self._find(earlier[-1], -1)

    def follow(self, tokens: list[int]) -> None:
        """Learn what was added to the text since."""
        for token in tokens[len(self._tokens) :]:
            self._add(token)

    def _add(self, token: int) -> None:
        known = self._tokens
        at, length = self._at, self._length
        right = at >= 0 and known[at] == token
        if at >= 0:
            kind = _KINDS[length] if length < len(_KINDS) else -1
            seen = self._seen[kind] = self._seen[kind] + 1
            # The assumption counts as four observations; later ones fade after some twenty.
            self._right[kind] += max(1 / (4 + seen), 0.05) * (right - self._right[kind])
        known.append(token)
        end = len(known)
        place = pair = -1
        if end >= 3:
            triple = (known[-3], known[-2], token)
            place = self._triples.get(triple, -1)
            self._triples[triple] = end
        self._earlier.append(place)
        if end >= 2:
            two = (known[-2], token)
            pair = self._pairs.get(two, -1)
            self._pairs[two] = end
        if right:
            self._at, self._length = at + 1, length + 1
        else:
            self._find(place, pair)
            if length >= LONG and self._length < LONG:
                self._at, self._length = at + 1, 0

    def _find(self, place: int, pair: int) -> None:
        """Of the places behind the same triple, the one that fits best; else behind the pair."""
        known, end = self._tokens, len(self._tokens)
        self._at, self._length = (pair, 2) if pair >= 0 else (-1, 0)
        for _ in range(PLACES):
            if place < 0:
                break
            length = 3
            most = min(LONGEST, place)
            while length < most and known[place - 1 - length] == known[end - 1 - length]:
                length += 1
            if length > self._length:
                self._at, self._length = place, length
                if length == LONGEST:
                    break
            place = self._earlier[place]

    @property
    def found(self) -> bool:
        """Whether there is anything to guess."""
        return self._at >= 0

    def chance(self, index: int) -> float:
        """How likely guess ``index`` is right when all before it were."""
        length = self._length + index
        return self._right[_KINDS[length] if length < len(_KINDS) else -1]

    def guess(self, count: int) -> list[int]:
        """The next tokens at the pointer; where it reaches the end of the text, it goes round."""
        at = self._at
        guesses = self._tokens[at : at + count]
        while len(guesses) < count:
            guesses.append(guesses[at + len(guesses) - len(self._tokens)])
        return guesses
