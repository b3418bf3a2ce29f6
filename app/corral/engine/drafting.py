"""Guessing ahead: what comes next is often in the text already, or a small model says it.

A guess is decoded together with the token it follows, and sampling then shows whether it was right.
A step with guesses takes longer than a plain one, by how much depends on the machine; so the
:class:`Speculator` weighs, by what it measured, how likely a guess is right against what it costs,
and keeps a ledger, so that being wrong never costs more than a small part of an answer's time.

Everything here is plain Python without a clock of its own or native code. Times are seconds, costs
are in plain steps: 1.0 is the time of one token without guessing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from corral.engine.lookup import Lookup

COUNTS = (1, 3, 7, 15, 31)
"""Guesses of one step, or as many as there is room for: with the token they follow a power of two,
which is what kernels like."""
MOST_GUESSES = COUNTS[-1]

MARGIN = 1.03
"""How much faster than plain decoding a step must promise to be."""

START = 1.0
"""Plain steps that may be lost before anything was won."""
MORE_START = 10.0
"""The same with a draft model, whose worth shows after a few rounds only."""
MOST_SAVED = 16.0
"""Plain steps of what was won that may be lost again."""
DEEPEST = 2.0
"""Plain steps that a single step may lose beyond what could be afforded."""
EARNED = 0.008
"""What each plain step adds to that: guessing costs at most this part of an answer in the end."""
ALLOWANCE = 1.5
"""What each new answer adds to that."""

JUDGED = 24
"""Guesses of a draft model that are looked at before it is judged."""
TRIAL = 3
"""Guesses of one step until then."""
HOPED = 0.95
"""How many of them may be right, as far as one knows at first; the hope fades until then, and what
is too slow even so is not tried any longer."""
MOST_REST = 31
"""Answers that a draft model which does not pay is left alone for, at the most."""


class Drafter(Protocol):
    """What the answer loop asks for guesses."""

    drafted: int
    """Guesses made since the last :meth:`begin`."""
    accepted: int
    """How many of them were right."""

    def begin(self, tokens: Sequence[int]) -> None:
        """A prompt was evaluated."""

    def draft(self, tokens: list[int], room: int) -> list[int]:
        """What may follow ``tokens``, at most ``room`` guesses; none asks for a plain step.

        Args:
            tokens: the prompt and the answer with the last sampled token, not decoded yet. The
                same list that grows from call to call.
        """

    def note(self, drafted: int, accepted: int, seconds: float) -> None:
        """A step was made with so many of the guesses, or none; ``seconds`` of decoding."""

    def close(self) -> None:
        """The answer is done."""


class Guesser(Protocol):
    """A draft model; see :class:`corral.engine.llama.draft_model.DraftModel`."""

    def begin(self, tokens: Sequence[int]) -> None:
        """A prompt was evaluated."""

    def guess(self, tokens: list[int]) -> Iterator[tuple[int, float]]:
        """What may follow, one by one: a token and how sure the model is, 0.0 to 1.0."""

    def close(self) -> None:
        """Free everything."""


class Costs:
    """What a step costs by its rows, in plain steps; learned from what was measured.

    The cost of a row beyond the first is kept for several sizes of steps, because kernels differ.
    """

    _SIZES = (2, 4, 8, 16)
    _USUAL = 0.6
    """Cost of one row more, before anything was measured: a small model on a processor."""

    def __init__(self) -> None:
        self.plain = 0.0
        """Seconds of a step with one row; 0.0 before the first."""
        self._rows: list[float | None] = [None] * (len(self._SIZES) + 1)
        self._steps = 0

    def of(self, rows: int) -> float:
        """What a step with so many rows costs."""
        return 1.0 + (rows - 1) * self._more(rows)

    def note(self, rows: int, seconds: float) -> None:
        if rows == 1:
            self._note_plain(seconds)
        elif self.plain:
            more = max(0.0, seconds / self.plain - 1) / (rows - 1)
            size, known = self._size(rows), self._more(rows)
            # One slow step may be a neighbour's doing; and what looks slow is not tried again.
            more = min(more, 2 * known + 0.1)
            first = self._rows[size] is None
            weight = 0.5 if first else 0.4 if more < known else 0.15
            self._rows[size] = known + weight * (more - known)

    def _note_plain(self, seconds: float) -> None:
        self._steps += 1
        if not self.plain:
            self.plain = seconds
        else:
            seconds = min(seconds, 2 * self.plain)
            self.plain += max(0.1, 1 / self._steps) * (seconds - self.plain)
        # What was measured long ago may be wrong by now, and only guessing would show it.
        for size, known in enumerate(self._rows):
            if known is not None and known > self._USUAL:
                self._rows[size] = known + 0.001 * (self._USUAL - known)

    def _size(self, rows: int) -> int:
        return sum(rows > limit for limit in self._SIZES)

    def _more(self, rows: int) -> float:
        """For a size that was never tried, what the nearest one says."""
        size = self._size(rows)
        measured = [
            (abs(other - size), more) for other, more in enumerate(self._rows) if more is not None
        ]
        own = self._rows[size]
        return own if own is not None else min(measured, default=(0, self._USUAL))[1]


class Chances:
    """How often guesses of several kinds are right.

    Args:
        usual: what is assumed of each kind before it is known.
    """

    def __init__(self, usual: Sequence[float]) -> None:
        self._right = list(usual)
        self._count = [0] * len(usual)

    def of(self, kind: int) -> float:
        return self._right[kind]

    def note(self, kind: int, right: bool) -> None:
        self._count[kind] += 1
        # The assumption counts as four observations; later ones fade after some twenty.
        weight = max(1 / (4 + self._count[kind]), 0.05)
        self._right[kind] += weight * (right - self._right[kind])


class Ledger:
    """What guessing may still lose, in plain steps."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.left = start

    def begin(self) -> None:
        """A new answer: what an earlier one won does not pay for this one."""
        self.left = min(self._start, self.left + ALLOWANCE)

    def note(self, won: float) -> None:
        self.left = max(-1.0, min(MOST_SAVED, self.left + won))


class Speculator:
    """Guesses from the text and from a draft model, for one loaded model and all its answers.

    Args:
        guesser: the draft model; None has none.
        clock: seconds; what a draft model takes is measured with it.
    """

    def __init__(
        self,
        *,
        guesser: Guesser | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.drafted = 0
        self.accepted = 0
        self.lookup = True
        """Guess from the text itself; belongs to an answer, so it is set before :meth:`begin`."""
        self.costs = Costs()
        self.ledger = Ledger(START if guesser is None else MORE_START)
        self._text = Lookup()
        self._model = None if guesser is None else ModelGuesses(guesser, self.costs, clock)
        self._by_model = False
        self._guessing = 0.0
        """Seconds that the guesses of this step took."""

    def begin(self, tokens: Sequence[int]) -> None:
        self.drafted = self.accepted = 0
        self.ledger.begin()
        self._text.begin(tokens if self.lookup else ())
        if self._model is not None:
            self._model.begin(tokens)

    def draft(self, tokens: list[int], room: int) -> list[int]:
        self._guessing = 0.0
        if self.lookup:
            self._text.follow(tokens)
        room = min(room, MOST_GUESSES)
        if room < 1 or not self.costs.plain or self.ledger.left <= 0:
            return []
        count, rate = self._from_text(room)
        self._by_model = self._model is not None and self._model.promise(room) > rate
        if self._by_model and self._model is not None:
            guesses = self._model.guess(tokens, room)
            self._guessing = self._model.seconds
            return guesses
        return self._text.guess(count) if count else []

    def note(self, drafted: int, accepted: int, seconds: float) -> None:
        self.drafted += drafted
        self.accepted += accepted
        if self._by_model and self._model is not None:
            self._model.note(drafted, accepted)
            self._by_model = False
        self.costs.note(drafted + 1, seconds)
        if drafted and self.costs.plain:
            # Several times its usual cost is a hiccup of the machine, not the guesses' fault.
            cost = min(seconds / self.costs.plain, 2 * self.costs.of(drafted + 1))
            self.ledger.note(1 + accepted - cost - self._guessing / self.costs.plain)
        else:
            self.ledger.note(EARNED)

    def close(self) -> None:
        """Nothing to free: the draft model stays for the next answer."""

    def _from_text(self, room: int) -> tuple[int, float]:
        """How many guesses from the text are best, and how fast such a step would be: tokens
        per plain step. At least :data:`MARGIN` where there are any."""
        best, fastest = 0, 1.0
        if not self.lookup or not self._text.found:
            return best, fastest
        expected = reach = 1.0
        done = 0
        for count in (*(one for one in COUNTS if one < room), room):
            for index in range(done, count):
                reach *= self._text.chance(index)
                expected += reach
            done = count
            cost = self.costs.of(count + 1)
            lost = cost - 1
            if lost > self.ledger.left + DEEPEST or (1 - reach) * lost > self.ledger.left:
                break
            rate = expected / cost
            if rate > max(fastest, MARGIN):
                best, fastest = count, rate
        return best, fastest


class ModelGuesses:
    """Decides how long a draft model goes on guessing, and whether it is asked at all."""

    _SURE = (0.3, 0.5, 0.7, 0.85, 0.95)
    """Limits between the kinds of guesses, by how sure the draft model is."""

    def __init__(self, guesser: Guesser, costs: Costs, clock: Callable[[], float]) -> None:
        self.seconds = 0.0
        """What the last :meth:`guess` took."""
        self._guesser = guesser
        self._costs = costs
        self._clock = clock
        self._chances = Chances((0.2, 0.4, 0.6, 0.75, 0.9, 0.97))
        self._overall = Chances((0.7,))
        self._each = 0.0
        """Seconds of one guess; 0.0 before the first."""
        self._fresh = True
        """Nothing was guessed in this answer."""
        self._kinds: list[int] = []
        self._judged = 0
        self._rest = self._next_rest = 0

    def begin(self, tokens: Sequence[int]) -> None:
        if self._rest > 0:
            self._rest -= 1
            self._judged = 0
        self._fresh = True
        if not self._rest:
            self._guesser.begin(tokens)

    def promise(self, room: int) -> float:
        """How fast a step with its guesses should be: tokens per plain step; 0.0 is not at all."""
        if self._rest:
            return 0.0
        right, one, trial = self._overall.of(0), self._cost(), self._judged < JUDGED
        if trial:
            if not one:
                return MARGIN
            right = max(right, HOPED * (1 - self._judged / JUDGED))
        best, expected, reach = 0.0, 1.0, 1.0
        for count in range(1, room + 1):
            reach *= right
            expected += reach
            best = max(best, expected / (self._costs.of(count + 1) + count * one))
        if best >= MARGIN:
            self._next_rest = 0
            return MARGIN if trial else best
        self._rest = self._next_rest = min(MOST_REST, 2 * self._next_rest + 1)
        return 0.0

    def guess(self, tokens: list[int], room: int) -> list[int]:
        """Guesses as long as one more is worth its time."""
        before = first = self._clock()
        if self._judged < JUDGED:
            room = min(room, TRIAL)
        guesses: list[int] = []
        self._kinds = []
        expected = reach = 1.0
        right = self._overall.of(0)
        for token, sure in self._guesser.guess(tokens):
            if not guesses:
                first = self._clock()
            kind = sum(sure > limit for limit in self._SURE)
            rows = len(guesses) + 1
            cost = self._costs.of(rows) + rows * self._cost()
            more = self._costs.of(rows + 1) - self._costs.of(rows)
            reach *= self._chances.of(kind)
            # The guess is made: what decides is whether looking at it is worth one more row.
            if self._judged >= JUDGED and reach * cost < expected * more:
                break
            guesses.append(token)
            self._kinds.append(kind)
            expected += reach
            if rows == room:
                break
            if self._judged >= JUDGED and reach * right * cost < expected * (more + self._cost()):
                break
        self._measure(first - before, self._clock() - first, len(guesses))
        return guesses

    def _measure(self, first: float, others: float, count: int) -> None:
        """The first guess took so long, those behind it together so long."""
        if count > 1:
            each = others / (count - 1)
            self._each += (0.1 if self._each else 1.0) * (each - self._each)
        # Before its first guess it evaluates the prompt, which is no cost of guessing; and a hiccup
        # of the machine is not its fault.
        took = others + (min(first, self._each) if self._fresh else first)
        self.seconds = min(took, 3 * count * self._each) if self._each else took
        self._fresh = False

    def note(self, looked_at: int, accepted: int) -> None:
        """Of the last guesses so many were right; what follows the first wrong one says nothing."""
        for index, kind in enumerate(self._kinds[: min(looked_at, accepted + 1)]):
            self._chances.note(kind, index < accepted)
            self._overall.note(0, index < accepted)
            self._judged += 1
        self._kinds = []

    def _cost(self) -> float:
        return self._each / self._costs.plain if self._costs.plain else 0.0
