"""What a grammar means: its shortest texts, and whether a rule would never be left."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping

from corral.chat.grammar.errors import GrammarError
from corral.chat.grammar.symbols import (
    LAST_CODE,
    SURROGATES,
    Chars,
    Ref,
    Repeat,
    Sequence_,
    Shortest,
    Symbol,
)

LONGEST = 64 * 1024
"""Characters of the shortest text of an alternative: no answer is so long."""


def shortest_texts(rules: dict[str, tuple[Sequence_, ...]]) -> dict[str, Shortest]:
    """The shortest text of every rule that has one; of all of them the shorter ones first.

    The texts themselves are not spelled here: one of a few rules may have more characters than any
    machine holds.
    """
    found: dict[str, Shortest] = {}
    lengths: list[int] = []
    missing: list[Counter[str]] = []
    places: list[tuple[str, Sequence_]] = []
    users: dict[str, list[int]] = {}
    ready: list[tuple[int, int]] = []
    for name, alternates in rules.items():
        for sequence in alternates:
            needs: Counter[str] = Counter()
            length = sum(_own(symbol, needs) for symbol in sequence)
            number = len(places)
            places.append((name, sequence))
            lengths.append(length)
            missing.append(needs)
            for rule in needs:
                users.setdefault(rule, []).append(number)
            if not needs:
                ready.append((length, number))
    heapq.heapify(ready)
    while ready:
        length, number = heapq.heappop(ready)
        name, sequence = places[number]
        if name in found:
            continue
        found[name] = Shortest(length, _straight(sequence, found))
        for user in users.get(name, ()):
            lengths[user] += missing[user].pop(name) * length
            if not missing[user]:
                heapq.heappush(ready, (lengths[user], user))
    return found


def _own(symbol: Symbol, needs: Counter[str]) -> int:
    """Characters that a symbol has of its own; what it needs of other rules is added up."""
    times = 1
    if isinstance(symbol, Repeat):
        symbol, times, _ = symbol
    if isinstance(symbol, Ref):
        if times:
            needs[symbol.rule] += times
        return 0
    return times


def _straight(sequence: Sequence_, known: Mapping[str, Shortest]) -> Sequence_:
    """What of some symbols has text; not through rules that only stand for another one."""
    kept = tuple(
        symbol.symbol if isinstance(symbol, Repeat) and symbol.least == 1 else symbol
        for symbol in sequence
        if length_of(symbol, known)
    )
    return known[kept[0].rule].symbols if len(kept) == 1 and isinstance(kept[0], Ref) else kept


def length_of(symbol: Symbol, known: Mapping[str, Shortest]) -> int:
    """Characters of the shortest text of a symbol."""
    if isinstance(symbol, Repeat):
        return symbol.least and symbol.least * length_of(symbol.symbol, known)
    return known[symbol.rule].length if isinstance(symbol, Ref) else 1


def shortest_of(symbols: Iterable[Symbol], known: Mapping[str, Shortest]) -> str:
    """The shortest text of some symbols."""
    parts: list[str] = []
    open_ = [*symbols]
    open_.reverse()
    while open_:
        symbol, times = open_.pop(), 1
        if isinstance(symbol, Repeat):
            symbol, times, _ = symbol
        if isinstance(symbol, Ref):
            open_ += [*reversed(known[symbol.rule].symbols)] * times
        elif times:
            parts.append(plainest(symbol) * times)
    return "".join(parts)


def refuse_endless(
    rules: dict[str, tuple[Sequence_, ...]], known: Mapping[str, Shortest], lines: dict[str, int]
) -> None:
    """What never ends matches nothing, and what was cut is closed by the shortest text there is."""
    for name in rules:
        if name not in known and "#" not in name:
            raise GrammarError(
                "It can never end, so it matches nothing", line=lines[name], where=f"rule {name}"
            )
    for name, alternates in rules.items():
        for sequence in alternates:
            if sum(length_of(symbol, known) for symbol in sequence) > LONGEST:
                raise GrammarError(
                    f"Its shortest text has more than {LONGEST} characters",
                    line=lines[name], where=f"rule {name.partition('#')[0]}")  # fmt: skip


def plainest(chars: Chars) -> str:
    """A character of a set: the first that can be seen; "" where there is none."""
    if not chars.negated:
        for low, high in chars.ranges:
            if high > 0x20:
                return chr(max(low, 0x21)) if max(low, 0x21) != 0x7F else chr(min(high, 0x80))
        return chr(chars.ranges[0][0])
    starts = [0x21, *(high + 1 for _, high in chars.ranges), SURROGATES[-1] + 1, 0]
    known = (code for code in starts if code <= LAST_CODE and code not in SURROGATES)
    return next((chr(code) for code in known if chars.matches(code)), "")


def refuse_left_recursion(
    rules: dict[str, tuple[Sequence_, ...]], known: Mapping[str, Shortest], lines: dict[str, int]
) -> None:
    """A rule that comes back to itself before any character was read would never be left."""
    empty = {name for name, shortest in known.items() if not shortest.length}
    for name, alternates in rules.items():
        _refuse_loops(alternates, empty, lines[name])
    first = {name: _firsts(alternates, empty) for name, alternates in rules.items()}
    done: set[str] = set()
    for start in rules:
        path: dict[str, None] = {}
        stack = [(start, iter(first[start]))]
        path[start] = None
        while stack:
            name, following = stack[-1]
            step = next((other for other in following if other not in done), None)
            if step is None:
                stack.pop()
                path.pop(name)
                done.add(name)
            elif step in path:
                shown = step.partition("#")[0]
                raise GrammarError("It begins with itself (left recursion)", line=lines[step],
                                   where=f"rule {shown}")  # fmt: skip
            else:
                path[step] = None
                stack.append((step, iter(first[step])))


def _refuse_loops(alternates: tuple[Sequence_, ...], empty: set[str], line: int) -> None:
    """Nothing, again and again, is a loop."""
    for sequence in alternates:
        for symbol in sequence:
            if (
                isinstance(symbol, Repeat)
                and symbol.most < 0
                and isinstance(symbol.symbol, Ref)
                and symbol.symbol.rule in empty
            ):
                raise GrammarError("Something that may be empty repeats without a limit", line=line)


def _firsts(alternates: tuple[Sequence_, ...], empty: set[str]) -> list[str]:
    """Rules that an alternative can begin with."""
    found: list[str] = []
    for sequence in alternates:
        for symbol in sequence:
            optional = False
            if isinstance(symbol, Repeat):
                symbol, least, _ = symbol
                optional = least == 0
            if isinstance(symbol, Ref):
                found.append(symbol.rule)
                optional |= symbol.rule in empty
            if not optional:
                break
    return found
